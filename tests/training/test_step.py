"""A step is the gradient of the mean over all tokens, however the batch is cut."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from vramlab.config.targets import IGNORED
from vramlab.config.training import TrainingConfig
from vramlab.data.batches import batches, order, split
from vramlab.memory.meter import meter
from vramlab.memory.out_of_memory import OutOfMemory
from vramlab.training.checkpoint import Checkpoints
from vramlab.training.epoch import Diverged, Schedule, learning_rate, plan, train_epochs
from vramlab.training.evaluate import evaluate
from vramlab.training.parallel import LossModule
from vramlab.training.step import retrying_step, train_step

CPU = torch.device("cpu")


def gradients_after(learner, micro_batches):
    kept = {}

    def keep(phase):
        if phase == "after_backward":
            kept.update({n: p.grad.clone() for n, p in learner.model.named_parameters()})

    loss = train_step(learner, learner.optimizer(1e-3), micro_batches, keep)
    return loss, kept


def test_accumulated_gradients_are_those_of_the_whole_batch(make_learner, sequences):
    everything = np.arange(len(sequences))  # the last row is padded: its tokens weigh the same
    whole = list(batches(sequences, [everything], CPU))
    parts = list(batches(sequences, split(everything, 7), CPU))
    loss, expected = gradients_after(make_learner(dropout=0.0), whole)
    other, found = gradients_after(make_learner(dropout=0.0), parts)
    torch.testing.assert_close(other, loss)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-7)


def test_the_loss_is_the_mean_per_token(make_learner, sequences):
    learner = make_learner(dropout=0.0)
    [(inputs, targets)] = batches(sequences, [np.arange(len(sequences))], CPU)
    expected = learner.loss_sum(inputs, targets).item() / (targets != IGNORED).sum().item()
    assert train_step(
        learner, learner.optimizer(1e-3), [(inputs, targets)]
    ).item() == pytest.approx(expected)


def test_the_phases_come_in_order_and_gradients_are_freed(make_learner, sequences):
    learner, phases = make_learner(), []
    train_step(
        learner,
        learner.optimizer(1e-3),
        list(batches(sequences, [np.arange(2), np.arange(2)], CPU)),
        phases.append,
    )
    assert phases == [
        "before",
        "after_forward",
        "after_forward",
        "after_backward",
        "after_optimizer",
    ]
    assert all(p.grad is None for p in learner.model.parameters())


def test_the_order_is_a_permutation_and_a_pure_function():
    assert sorted(order(9, 0, 100)) == list(range(100))
    assert order(9, 0, 100).tolist() == order(9, 0, 100).tolist()
    assert order(9, 0, 100).tolist() != order(9, 1, 100).tolist() != order(8, 0, 100).tolist()


def test_batches_are_those_of_the_sequences(sequences):
    parts = list(split(order(1, 0, len(sequences)), 5))
    found = list(batches(sequences, parts, CPU))
    assert len(found) == len(parts)
    for part, (inputs, targets) in zip(parts, found, strict=True):
        expected = sequences.arrays(part)
        assert np.array_equal(inputs.numpy(), expected[0])
        assert np.array_equal(targets.numpy(), expected[1])


def test_no_batches_of_nothing(sequences):
    assert list(batches(sequences, [], CPU)) == []


@pytest.mark.parametrize(
    ("effective", "batch_size", "sequences", "expected"),
    [
        (None, 8, 100, (8, 8)),
        (None, 200, 100, (100, 100)),
        (32, 8, 100, (32, 8)),
        (30, 8, 100, (30, 8)),
        (33, 8, 100, (33, 7)),
        (4, 8, 100, (4, 4)),
        (500, 8, 100, (100, 8)),
    ],
)
def test_micro_batches_are_equal_and_no_larger_than_fits(
    effective, batch_size, sequences, expected
):
    config = TrainingConfig(effective_batch_size=effective)
    assert plan(config, batch_size, sequences) == expected


def test_clipped_gradients_have_the_norm_of_the_configuration_and_their_direction(
    make_learner, sequences
):
    pairs = list(batches(sequences, [np.arange(5), np.arange(5, 9)], CPU))
    _, gradients = gradients_after(make_learner(dropout=0.0), pairs)
    norm = math.sqrt(sum(g.double().pow(2).sum().item() for g in gradients.values()))
    for largest in (norm / 3, norm * 3):
        learner = make_learner(dropout=0.0, update={"gradient_clipping": largest})
        optimizer, found = learner.optimizer(1e-3), {}
        optimizer.register_step_pre_hook(
            lambda *_, found=found, learner=learner: found.update(
                {n: p.grad.clone() for n, p in learner.model.named_parameters()}
            )
        )
        train_step(learner, optimizer, pairs)
        factor = min(largest / norm, 1.0)
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[name], gradient * factor, rtol=1e-5, atol=1e-9)


def test_the_learning_rate_rises_linearly_to_its_value():
    schedule = Schedule(TrainingConfig(warmup_steps=4), 8, 0.1)
    found = [schedule.learning_rate_of(step) for step in range(1, 7)]
    assert found == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])
    assert Schedule(TrainingConfig(), 8, 0.1).learning_rate_of(1) == 0.1


@pytest.mark.parametrize("name", ["adam", "in-backward"])
def test_each_step_of_an_epoch_has_the_rate_of_the_schedule(
    make_learner, sequences, tmp_path, name
):
    learner, rates = make_learner(optimizer=name), []
    make = type(learner).optimizer

    class Noting(type(learner)):
        def optimizer(self, rate):
            optimizer = make(self, rate)
            optimizer.param_groups[0]["params"][0].register_hook(
                lambda _: rates.append(optimizer.param_groups[0]["lr"])
            )
            return optimizer

    config = TrainingConfig(warmup_steps=5)
    noting = Noting(**vars(learner))
    train_epochs(noting, sequences, Schedule(config, 4, 0.1), Checkpoints(tmp_path, "a"))
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, *[0.1] * 6])


@pytest.mark.parametrize(
    ("scaling", "expected"), [("none", 1e-3), ("sqrt", 2e-3), ("linear", 4e-3)]
)
def test_the_learning_rate_follows_the_batch(scaling, expected):
    config = TrainingConfig(lr_scaling=scaling)
    assert learning_rate(config, 64, 16) == pytest.approx(expected)
    assert learning_rate(config, 16, 16) == pytest.approx(1e-3)


def test_perplexity_does_not_depend_on_the_batch_size(make_learner, sequences):
    learner = make_learner(dropout=0.5)
    results = [evaluate(learner, sequences, size, utf8_bytes=1000) for size in (1, 7, 38, 1000)]
    assert {result.tokens for result in results} == {299}
    for result in results:
        assert result.perplexity == pytest.approx(results[0].perplexity, rel=1e-6)
        assert result.perplexity == pytest.approx(np.exp(result.nats / 299))
        assert result.bits_per_byte == pytest.approx(result.nats / np.log(2) / 1000)
    assert learner.model.training


def test_validation_out_of_memory_is_retried_with_half_the_batch(make_learner, sequences):
    learner = make_learner()
    sizes, head = [], learner.loss_head

    def tight(hidden, weight, targets):
        sizes.append(len(hidden))
        if len(hidden) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return head(hidden, weight, targets)

    found = evaluate(dataclasses.replace(learner, loss_head=tight), sequences, 16, 1000)
    assert sizes[:3] == [16, 8, 4]
    assert max(sizes[2:]) == 4
    assert found.nats == pytest.approx(evaluate(learner, sequences, 16, 1000).nats, rel=1e-6)
    with pytest.raises(RuntimeError, match="of another kind"):
        evaluate(dataclasses.replace(learner, loss_head=broken), sequences, 16, 1000)


def broken(hidden, weight, targets):
    raise RuntimeError("of another kind")


def test_a_model_that_the_last_update_broke_has_diverged(make_learner, sequences):
    learner = make_learner()
    with torch.no_grad():
        learner.model.embedding.weight.fill_(float("nan"))
    with pytest.raises(Diverged, match="validation loss is nan"):
        evaluate(learner, sequences, 16, 1000)


def out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 132.00 MiB.")


def failing(learner, times):
    """Let the model's last `times` norms run out of memory, half-way through a step."""
    left = [times]

    def hook(*_):
        if left[0]:
            left[0] -= 1
            out_of_memory()

    learner.model.norm.register_forward_hook(hook)


@pytest.fixture
def pair(sequences):
    """One batch: inputs and targets."""
    [pair] = batches(sequences, [np.arange(3)], CPU)
    return pair


def test_a_step_out_of_memory_is_retried_and_computes_the_same(make_learner, sequences, caplog):
    ends = []
    for failures in (0, 1):
        learner = make_learner(dropout=0.1)
        optimizer = learner.optimizer(1e-3)
        pairs = list(batches(sequences, [np.arange(3), np.arange(3, 6)], CPU))
        losses = [retrying_step(learner, optimizer, pairs)]
        failing(learner, failures)
        again = []
        more = {"on_retry": lambda again=again: again.append(1)}
        losses += [retrying_step(learner, optimizer, pairs, **more) for _ in range(2)]
        assert len(again) == failures
        ends.append((losses, [p.detach().clone() for p in learner.model.parameters()]))
    (losses, weights), (others_losses, others) = ends
    assert caplog.text.count("is retried") == 1
    assert torch.equal(torch.stack(others_losses), torch.stack(losses))
    assert all(map(torch.equal, others, weights))


def test_a_step_is_retried_only_once(make_learner, pair):
    learner = make_learner()
    failing(learner, 2)
    with pytest.raises(torch.OutOfMemoryError):
        retrying_step(learner, learner.optimizer(1e-3), [pair])


def test_a_step_that_may_have_changed_weights_is_not_retried(make_learner, pair):
    learner = make_learner()
    optimizer = learner.optimizer(1e-3)
    optimizer.step = out_of_memory
    calls = []
    with pytest.raises(torch.OutOfMemoryError):
        retrying_step(learner, optimizer, [pair], calls.append)
    assert calls.count("before") == 1
    learner = make_learner(optimizer="in-backward")  # the backward pass changes them
    optimizer = learner.optimizer(1e-3)
    learner.model.embedding.weight.register_hook(out_of_memory)  # the last one
    with pytest.raises(torch.OutOfMemoryError):
        retrying_step(learner, optimizer, [pair])
    assert optimizer.updates > 0
    learner = make_learner(optimizer="in-backward")
    failing(learner, 1)  # in the forward pass, which changes none
    assert retrying_step(learner, learner.optimizer(1e-3), [pair]) > 0


def test_an_unfinished_step_of_ddp_or_fsdp_is_not_retried(make_learner, pair):
    learner = make_learner()  # one process alone has such a module too, and it keeps its state
    spread = dataclasses.replace(learner, wrapped=LossModule(learner.model, learner.eager_loss_sum))
    failing(learner, 1)
    with pytest.raises(torch.OutOfMemoryError):
        retrying_step(spread, learner.optimizer(1e-3), [pair])


def test_a_limit_on_live_bytes_alone_is_not_retried(make_learner, sequences):
    learner = make_learner()
    [pair] = batches(sequences, [np.arange(30)], CPU)
    again = []
    with meter(CPU, 2**16), pytest.raises(OutOfMemory):
        optimizer = learner.optimizer(1e-3)
        retrying_step(learner, optimizer, [pair], on_retry=lambda: again.append(1))
    assert not again


def test_other_errors_are_raised_at_once(make_learner, pair):
    learner = make_learner()
    calls = []

    def hook(*_):
        calls.append(1)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    learner.model.norm.register_forward_hook(hook)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        retrying_step(learner, learner.optimizer(1e-3), [pair])
    assert len(calls) == 1
