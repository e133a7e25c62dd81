"""Peak memory of a training step without running it.

The code of the step runs on torch's fake tensors, which have a shape and a type but no values, and
so take almost no memory or time at any batch size. A dispatch mode counts their bytes as
vramlab.memory.meter counts those of real tensors. docs/estimate.md lists what is modelled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from vramlab.base.errors import VramlabError
from vramlab.base.text import first_line
from vramlab.config.axes import ATTENTION_VALUES
from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.config.technique import Technique
from vramlab.config.workload import Workload
from vramlab.data.batches import RESIDENT_BYTES, Batch, resident
from vramlab.data.sequences import Sequences
from vramlab.memory.counter import Counter
from vramlab.model.attention import causal_mask
from vramlab.model.language_model import OutputEmbedding, UnsuitableModel
from vramlab.model.optimizers import InBackward
from vramlab.model.positions import check_length, most_positions
from vramlab.model.sources import make_model
from vramlab.model.without_values import to_fake, without_tracebacks
from vramlab.predict.cuda import CudaCounter, adapt_to_cuda, cuda_optimizer, emulate_cuda
from vramlab.predict.few_chunks import few_chunks
from vramlab.predict.segments import DEEPER, SHALLOW, SegmentPeaks, alike, of_depth, only
from vramlab.predict.step_mode import StepMode
from vramlab.results.longest_sequence import UNIT, units_within
from vramlab.training.foreign_code import explained
from vramlab.training.learner import Learner, build, parameter_count
from vramlab.training.step import Phase, train_step, warm_up

if TYPE_CHECKING:
    from vramlab.predict.regions import Regions

log = logging.getLogger(__name__)

NEEDS_VALUES = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
    GuardOnDataDependentSymNode,
)
"""What torch raises where a tensor without values is asked for one."""
_ATEN = torch.ops.aten
_WHOLE = frozenset({torch.int64, torch.int32})
AS_IF_NOT_COMPILED = "compiled code is counted as if it were not; the compiler chooses what to keep"
AS_TORCHS_FLASH = "flash-attn in compiled code is counted as torch's flash kernel"
"""Caveats of compiled code."""
DEEP = 8
"""Blocks above which a step runs with a few of them only."""
CONFIRMED = 2**18
"""Bytes by which the peak of a few blocks may be off from that of all."""
CONFIRM_AGAIN = 16
"""Times as many tokens as were confirmed, from which on all blocks run once more."""
_CHEAP, _TRIED = 2**27, 2048
"""Parameters up to which a model that fails is made with values, 512 MiB in 32 bits; and the tokens
of the sequence that is tried then."""
_META, _CPU = torch.device("meta"), torch.device("cpu")


class FakeRun:
    """Training steps of a technique on fake tensors; all of them use one model and optimizer."""

    def __init__(
        self,
        workload: Workload,
        cuda: bool,
        micro_batches: int = 1,
    ) -> None:
        """Build the model, and create the optimizer's state by a first step.

        Args:
            workload: on a CPU, compiled code is counted as if it were not compiled.
            cuda: predict for a CUDA device instead of a CPU.
            micro_batches: per step.
        """
        self.caveats: list[str] = []
        """What the prediction ignores because of this workload, in sentences without a stop."""
        self._micro_batches = micro_batches
        self._cuda = cuda
        self._counter: Counter = CudaCounter() if cuda else Counter(sys.maxsize)
        self._mode: FakeTensorMode = StepMode()
        self._regions: Regions | None = None
        if isinstance(self._counter, CudaCounter) and workload.technique.compile != "none":
            from vramlab.predict.regions import Regions  # noqa: PLC0415  slow: the compiler

            # The compiler knows no other mode. An operation that it cannot do without values is not
            # to be computed: at the sizes here that would take minutes.
            self._mode = FakeTensorMode(allow_fallback_kernels=False, allow_non_fake_inputs=True)
            self._regions = Regions(self._counter, _keeps_no_scores(workload.technique))
        workload = _eager(workload) if self._regions is None else _without_graphs(workload)
        self._learner = _learner(workload, self._mode, self._regions)
        if self._regions is not None:
            self._regions.longest = self.positions
        if cuda:
            adapt_to_cuda(self._learner)
        dtype = np.min_scalar_type(workload.vocab_size - 1)
        count = max(RESIDENT_BYTES // dtype.itemsize, 2 * workload.length + 1)
        self._sequences = Sequences.of(np.zeros(count, dtype), workload.length)
        self._peaks = functools.cache(self._step)
        self._lengths = functools.cache(self._step_of_length)
        self._blocks = self._learner.model.block_list()
        if self._blocks is not None and (
            self._is_planned or len(self._blocks) <= DEEP or not alike(list(self._blocks))
        ):
            self._blocks = None
        self._confirmed_at = 0
        self._buffers = [
            (module, name, buffer)
            for module in self._learner.model.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        causal_mask.cache_clear()  # it may contain real tensors, or those of another FakeRun
        with self._counting():
            updated = self._with_gradients()
            self._optimizer = self._new_optimizer()
            _first_update(self._optimizer, updated)
        self._counter.include(self.weights())
        if isinstance(self._counter, CudaCounter):
            self._counter.leave_out(_host_scalars(self._optimizer))

    @classmethod
    @contextlib.contextmanager
    def of(
        cls,
        workload: Workload,
        cuda: bool,
        micro_batches: int = 1,
        lengths_at: int | None = None,
    ) -> Iterator[FakeRun]:
        """A run for the block, after which real steps may follow.

        Args:
            workload: see `__init__`, as for the next two.
            cuda: for a CUDA device.
            micro_batches: per step.
            lengths_at: the batch at which lengths are asked for; None if batches are, or both.

        Raises:
            UnsuitableModel: the model, or what is done in the block, needs values.
            ModelError: the model fails, with values too.
        """
        try:
            check_length(workload)
            run = cls(workload, cuda, micro_batches)
            if run._regions is not None:
                run = run._unless_it_cannot_compile(workload, lengths_at)
            yield run
        except NEEDS_VALUES as error:
            raise UnsuitableModel(
                "its memory depends on the values of tensors, so it cannot be predicted by a step "
                f"without values ({type(error).__name__}); the search for the largest batch "
                "measures it"
            ) from None
        except VramlabError:
            raise
        except Exception as error:
            failed = explained(error, workload.model, workload.length)
            known = failed is not None or isinstance(error, RuntimeError)
            if isinstance(workload.model, DecoderConfig) or not known:
                raise
            if failed is not None:
                _try_with_values(workload)
            # The code of others may refuse a step without values in its own words.
            raise UnsuitableModel(
                f"a step without values fails in its code ({first_line(error)}), so its "
                "memory cannot be predicted; the search for the largest batch measures it"
            ) from None
        finally:
            cls.close()

    @staticmethod
    def close() -> None:
        """Remove fake tensors from caches that real steps use."""
        causal_mask.cache_clear()

    def _unless_it_cannot_compile(self, workload: Workload, lengths_at: int | None) -> FakeRun:
        """This run, or one without compiled code where the compiler fails on the technique.

        What is compiled to see that is a batch, or a length, that is asked for anyway.
        """
        from vramlab.predict.regions import COMPILED_TOKENS  # noqa: PLC0415  slow

        tokens = COMPILED_TOKENS[-1]
        try:
            if lengths_at is None:
                self.peak(max(tokens // self.length, 1))
            elif most := units_within(self.positions):
                units = max(tokens // UNIT // lengths_at, 1)
                self.peak_of_length(UNIT * min(units, most), lengths_at)
            if self._regions and not self._regions.graphs:
                raise UnsuitableModel("it leaves all code as it is")
        except Exception as error:  # noqa: BLE001  each part of the compiler fails in its own way
            log.info("the compiler fails without a GPU: %s", first_line(error))
            run = FakeRun(_eager(workload), self._cuda, self._micro_batches)
            run.caveats.append(AS_IF_NOT_COMPILED)
            return run
        if workload.technique.attention == "flash" and not isinstance(
            workload.model, DecoderConfig
        ):
            self.caveats.append(AS_TORCHS_FLASH)
        return self

    def _with_gradients(self) -> list[nn.Parameter]:
        """The parameters that a step updates.

        A step on text leaves out what a model has for pictures, and such parameters have neither
        gradients nor an optimizer's state. Of blocks that are alike, the first one speaks for all.
        """
        model, trained = self._learner.model, list(self._learner.trained_parameters())
        if isinstance(self._learner.workload.model, DecoderConfig):
            return trained  # it has no others
        blocks = [] if self._blocks is None else list(self._blocks)
        shortened = contextlib.nullcontext() if self._blocks is None else only(self._blocks, 1)
        tokens = torch.zeros((1, self.length), dtype=torch.int64)
        with shortened:
            self._learner.eager_loss_sum(tokens, tokens).backward()
        missing = {id(p) for p in trained if p.grad is None}
        if blocks:
            first = dict(blocks[0].named_parameters())
            missing -= {id(p) for block in blocks[1:] for p in block.parameters()}
            missing |= {
                id(parameter)
                for block in blocks[1:]
                for name, parameter in block.named_parameters()
                if id(first[name]) in missing
            }
        model.zero_grad(set_to_none=True)
        return [p for p in trained if id(p) not in missing]

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return (cuda_optimizer if self._cuda else Learner.optimizer)(self._learner, 1e-3)

    @property
    def technique(self) -> Technique:
        """The technique that runs, without what is not modelled."""
        return self._learner.technique

    @property
    def _is_planned(self) -> bool:
        """Whether the compiler plans all blocks together, for each batch anew: to a budget."""
        return self._regions is not None and self.technique.checkpointing_budget is not None

    def look_closer(self, tokens: int) -> bool:
        """Compile for a batch of very many tokens, if its peak is off the line between others.

        Returns:
            Whether the peaks of batches around it are others now.
        """
        if self._regions is None or not self._is_planned or tokens in self._regions.closely:
            return False
        self._regions.closely.add(tokens)
        self._peaks.cache_clear()
        self._lengths.cache_clear()
        return True

    @property
    def length(self) -> int:
        """Tokens of a sequence."""
        return self._sequences.length

    @property
    def positions(self) -> int | None:
        """The most tokens of a sequence that the model takes; None for no bound."""
        return most_positions(self._learner.workload, self._learner.model)

    def peak_of_length(self, length: int, batch_size: int = 1) -> int:
        """Peak bytes of a training step of sequences of `length` tokens."""
        return max(self._lengths(length, batch_size)) + self._workspaces()

    def _step_of_length(self, length: int, batch_size: int) -> tuple[int, ...]:
        """The peaks of a step of sequences of a length, by its segments."""
        before = self._sequences
        self._sequences = Sequences.of(
            before.stream[: max(2 * length + 1, len(before.stream))], length
        )
        self._forget_length()
        by_length = contextlib.nullcontext() if self._regions is None else self._regions.by_length()
        try:
            with by_length:
                return self._step(batch_size)
        finally:
            self._sequences = before
            self._forget_length()

    def _forget_length(self) -> None:
        """Free what the model made for sequences of one length, such as positions and masks."""
        causal_mask.cache_clear()
        for module, name, buffer in self._buffers:
            module._buffers[name] = buffer

    def _workspaces(self) -> int:
        """Bytes of the workspaces that libraries keep, on CUDA."""
        return self._counter.workspaces() if isinstance(self._counter, CudaCounter) else 0

    def peak(self, batch_size: int) -> int:
        """Peak bytes of a training step, including the model and the optimizer's state."""
        return max(self._peaks(batch_size)) + self._workspaces()

    def _step(self, batch_size: int) -> tuple[int, ...]:
        """The peaks of one step by its segments; of a deep model, from steps of a few blocks."""
        if self._blocks is None:
            return self._run(batch_size)
        shallow, deeper = (self._run(batch_size, count) for count in (SHALLOW, DEEPER))
        found = of_depth(shallow, deeper, len(self._blocks))
        if self._regions:  # all blocks would take minutes to compile
            return found
        tokens = batch_size * self._sequences.length
        if tokens < CONFIRM_AGAIN * self._confirmed_at:
            return found
        exact = self._run(batch_size)
        self._confirmed_at = tokens
        if abs(max(exact) - max(found)) > CONFIRMED:
            self._blocks = None
        return exact

    def _run(self, batch_size: int, count: int | None = None) -> tuple[int, ...]:
        """The peaks of one step of `count` blocks, or of all."""
        shortened: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
        if count is not None and self._blocks is not None:
            shortened = only(self._blocks, count)
        with shortened, self._counting():
            # What is compiled is one operation, and has no segments.
            blocks = [] if self._regions else self._learner.model.running_blocks()
            segments = SegmentPeaks(self._counter, blocks)
            compiled = self._learner.compiled
            own_head = self._learner.loss_head if compiled is None else compiled[1]

            def head(hidden: Tensor, output: OutputEmbedding, targets: Tensor) -> Tensor:
                segments.enter("head forward")
                hidden.register_hook(lambda _: segments.enter("norm backward"))
                return own_head(hidden, output, targets)

            def on_phase(phase: Phase) -> None:
                following = {"after_forward": "head backward", "after_backward": "optimizer"}
                if phase in following:
                    segments.enter(following[phase])

            learner = dataclasses.replace(
                self._learner,
                loss_head=head,
                compiled=None if compiled is None else (compiled[0], head),
            )
            feed = self._batches(batch_size, self._micro_batches)
            micro_batches = [next(feed) for _ in range(self._micro_batches)]
            with segments.watching():
                train_step(learner, self._optimizer, micro_batches, on_phase)
        return segments.peaks()

    @contextlib.contextmanager
    def counted_by(self, counter: Counter) -> Iterator[None]:
        """Count by another counter in the block, which begins with no optimizer's state."""
        before = self._counter, self._optimizer
        self._counter = counter
        self._optimizer = self._new_optimizer()
        try:
            yield
        finally:
            self._learner.model.zero_grad(set_to_none=True)
            self._counter, self._optimizer = before

    def weights(self) -> list[Tensor]:
        """What the model consists of."""
        return [*self._learner.model.parameters(), *self._learner.model.buffers()]

    def warm_up(self) -> None:
        """Run the tiny step that loads libraries, as a trial does."""
        with self._counting():
            warm_up(self._learner)

    def whole_steps(self, batch_size: int, steps: int) -> None:
        """Run steps of all blocks, one after another."""
        with self._counting():
            feed = self._batches(batch_size, steps * self._micro_batches)
            for _ in range(steps):
                micro_batches = [next(feed) for _ in range(self._micro_batches)]
                train_step(self._learner, self._optimizer, micro_batches)

    def _batches(self, batch_size: int, count: int) -> Iterator[Batch]:
        """Micro-batches as in training: on CUDA, their indices are live too."""
        parts = [np.zeros(batch_size, np.int64)] * count
        if self._cuda:
            yield from resident(self._sequences, parts, _CPU)
            return
        shape = batch_size, self._sequences.length
        for _ in parts:
            yield torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64)

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        functions = emulate_cuda() if self._cuda else contextlib.nullcontext()
        scalars = _Scalars()
        chunks = few_chunks(self._cuda)
        quiet = without_tracebacks()
        with self._mode, scalars, self._counter, functions, chunks, quiet, _as_if_real():
            yield


@contextlib.contextmanager
def _as_if_real() -> Iterator[None]:
    """Keep transformers from making the dense masks that it makes for tensors of a traced graph."""
    utilities: Any = sys.modules.get("transformers.utils.import_utils")
    if utilities is None:
        yield
        return
    before = utilities.is_fake_tensor
    utilities.is_fake_tensor = lambda _: False
    try:
        yield
    finally:
        utilities.is_fake_tensor = before


class _Scalars(TorchDispatchMode):
    """Returns 1 for `item()` and the like, because a fake tensor has no value.

    But 0 for whether one number is below another: that is how a model asks whether a random number
    is below its rate of leaving out a block, and a step that leaves out blocks takes too little.
    A whole number is as a rule the size of something, such as that of the part of the tokens that
    an expert gets, so that no answer would do.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._below: Any = WeakTensorKeyDictionary()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: a predicted step is never compiled."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _ATEN._local_scalar_dense.default:
            if args[0].dtype in _WHOLE:
                raise DataDependentOutputException(func)
            return 0.0 if args[0] in self._below else 1.0
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket is _ATEN.lt and result.dim() == 0:
            self._below[result] = True
        return result


def _try_with_values(workload: Workload) -> None:
    """Run a forward pass on a CPU, of a model that is small enough.

    A step on fake tensors may fail where one with values does not, and a model that can be trained
    must not be refused for that.

    Raises:
        FailedInModel: it fails with values as well.
    """
    plain: dict[str, Any] = {"technique": Technique(), "length": min(workload.length, _TRIED)}
    if isinstance(workload.model, TransformersConfig):
        plain["model"] = workload.model.model_copy(update={"weights": "random"})
    workload = workload.model_copy(update=plain)
    if parameter_count(make_model(workload, _META)) > _CHEAP:
        return
    try:
        with torch.no_grad():
            make_model(workload, _CPU)(torch.zeros(1, workload.length, dtype=torch.int64))
    except Exception as error:
        if (failed := explained(error, workload.model, workload.length)) is None:
            raise
        raise failed from error


def _keeps_no_scores(technique: Technique) -> bool:
    """Whether what attention keeps is linear in the length of the sequences for certain.

    In 32 bits torch computes grouped heads by plain products, which keep all scores.
    """
    if technique.attention == "sdpa":
        return technique.computes_in.sixteen_bits
    return ATTENTION_VALUES[technique.attention].predicted_as_flash


def _eager(workload: Workload) -> Workload:
    """The same workload without compilation."""
    return _with_axes(_without_graphs(workload), compile="none")


def _without_graphs(workload: Workload) -> Workload:
    """The same workload without CUDA graphs."""
    return _with_axes(workload, cuda_graphs=False)


def _with_axes(workload: Workload, **axes: Any) -> Workload:
    technique = workload.technique.model_copy(update=axes)
    return workload.model_copy(update={"technique": technique})


def _learner(workload: Workload, mode: FakeTensorMode, regions: Regions | None) -> Learner:
    """A learner whose parameters are fake tensors on a CPU."""
    compiler = torch.compile if regions is None else regions.compile
    with _META:  # no time for random values
        learner = build(workload, _META, compiler)
    to_fake(learner.model, mode)
    return dataclasses.replace(learner, device=_CPU)


def _first_update(optimizer: torch.optim.Optimizer, updated: Sequence[nn.Parameter]) -> None:
    """Create the optimizer's state of the parameters that steps update, as the first one does."""
    for parameter in updated:
        parameter.grad = torch.empty_like(parameter)
        if isinstance(optimizer, InBackward):
            optimizer.update(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _host_scalars(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """The step counters that optimizers keep on the host, unless they are fused; and the rates."""
    steps = [
        state["step"]
        for group in optimizer.param_groups
        for state in (optimizer.state[parameter] for parameter in group["params"])
        if not group.get("fused") and isinstance(state.get("step"), Tensor)
    ]
    return steps + [g["lr"] for g in optimizer.param_groups if isinstance(g["lr"], Tensor)]
