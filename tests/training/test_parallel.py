"""Several processes train the model that one process trains, and go on where they were stopped."""

import importlib.util
import math

import in_ranks
import pytest
import torch

from vramlab.stages.launch import RankError, launch
from vramlab.training.epoch import Interrupted

KINDS = {"ddp": 2, "fsdp": 2}
"""Processes."""
CASES = {
    "plain": {"axes": {}, "batch_size": 5},
    "rows_for_one_process_only": {"axes": {}, "batch_size": 37},
    "micro_batches": {"axes": {}, "batch_size": 5, "effective_batch_size": 13},
    "checkpointing": {"axes": {"checkpointing": "block", "loss_head": "chunked"}, "batch_size": 5},
    "selective": {
        "axes": {"checkpointing": "selective", "loss_head": "fused", "attention": "sdpa"},
        "batch_size": 5,
    },
    "recomputed": {"axes": {"feed_forward": "recomputed"}, "batch_size": 5},
    "tiled": {"axes": {"feed_forward": "tiled", "checkpointing": "block"}, "batch_size": 5},
    "clipped": {
        "axes": {},
        "batch_size": 5,
        "effective_batch_size": 13,
        "update": {"gradient_clipping": 0.05, "weight_decay": 0.1},
        "warmup_steps": 2,
    },
    "fused_adam": {"axes": {"optimizer": "fused"}, "batch_size": 5},
    "muon": {"axes": {"optimizer": "muon"}, "batch_size": 5, "double": False},
    "bf16_stochastic": {
        "axes": {"optimizer": "bf16-stochastic"},
        "batch_size": 5,
        "double": False,
    },
    "fp32": {"axes": {}, "batch_size": 5, "double": False},
    "bf16": {"axes": {"precision": "bf16"}, "batch_size": 5, "double": False},
    "pure_bf16": {"axes": {"precision": "pure-bf16"}, "batch_size": 5, "double": False},
}
if not hasattr(torch.optim, "Muon"):
    del CASES["muon"]
OF_FSDP = {"in_backward": {"axes": {"optimizer": "in-backward"}, "batch_size": 5}}
STEPS = {"rows_for_one_process_only": 2, "micro_batches": 3, "clipped": 3}
BOUNDS = {"muon": 1e-4, "bf16_stochastic": 1e-4, "fp32": 1e-6, "bf16": 2e-3, "pure_bf16": 2e-3}
"""Relative errors of the losses; of float64, 1e-13."""


def cases_of(kind):
    return CASES | (OF_FSDP if kind == "fsdp" else {})


def axes(kind, **others):
    return {"parallel": kind, "processes": KINDS[kind], **others}


def in_all(kind, function, /, **arguments):
    return launch(in_ranks.on_one_core, function, arguments, processes=KINDS[kind], cuda=False)


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def found(kind):
    """All cases in one launch."""
    spread = {
        name: case | {"axes": case["axes"] | axes(kind)} for name, case in cases_of(kind).items()
    }
    return in_all(kind, in_ranks.all_of, function=in_ranks.trained, cases=spread)


@pytest.fixture(scope="module")
def expected(kind):
    return in_ranks.all_of(in_ranks.trained, cases_of(kind))


def test_they_train_the_model_that_one_process_trains(kind, found, expected):
    for name in cases_of(kind):
        losses, weights, validation, tokens = expected[name]
        its_losses, its_weights, its_validation, its_tokens = found[name]
        bound = BOUNDS.get(name, 1e-13)
        assert len(losses) == STEPS.get(name, 8)
        assert its_losses == pytest.approx(losses, rel=bound), name
        assert its_tokens == tokens == in_ranks.SEQUENCES.tokens
        assert its_validation.nats == pytest.approx(validation.nats, rel=bound), name
        assert math.log(its_validation.perplexity) * 299 == pytest.approx(its_validation.nats)
        if name not in BOUNDS:  # Adam makes large steps of the rounding of gradients that are zero
            for weight in weights:
                torch.testing.assert_close(
                    its_weights[weight], weights[weight], rtol=0, atol=1e-10, msg=weight
                )


@pytest.fixture(scope="module")
def undisturbed(kind, tmp_path_factory):
    """What a run with dropout gives that nothing stops."""
    return in_all(kind, in_ranks.resumed, axes=axes(kind), folder=tmp_path_factory.mktemp("whole"))


def assert_goes_on_as(undisturbed, kind, folder):
    losses, shares, draws, interruptions = in_all(
        kind, in_ranks.resumed, axes=axes(kind), folder=folder, seed=1
    )
    assert interruptions == 1
    assert losses == undisturbed[0]
    assert draws == undisturbed[2]
    assert len(losses) == 15
    for one, other in zip(shares, undisturbed[1], strict=True):
        assert all((a == b).all() for a, b in zip(one, other, strict=True))


def test_a_signal_to_one_process_saves_all_and_the_rest_is_bit_equal(kind, tmp_path, undisturbed):
    with pytest.raises(Interrupted, match="after step 7, which is saved in"):
        in_all(kind, in_ranks.resumed, axes=axes(kind), folder=tmp_path, stop_at=7)
    assert len(list(tmp_path.glob("newest*.pt"))) == KINDS[kind]
    assert_goes_on_as(undisturbed, kind, tmp_path)


def test_after_a_kill_all_go_on_from_the_newest_step_that_each_has_whole(
    kind, tmp_path, undisturbed
):
    last = KINDS[kind] - 1
    with pytest.raises(RankError, match=f"process {last} of {last + 1} was ended by SIGKILL"):
        in_all(
            *(kind, in_ranks.resumed),
            **{"axes": axes(kind), "folder": tmp_path, "kill_at": 7, "every_step": True},
        )
    newest = tmp_path / f"newest-{last}.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert_goes_on_as(undisturbed, kind, tmp_path)


def test_the_state_of_each_optimizer_goes_on_as_if_never_stopped(kind, tmp_path):
    optimizers = ["bf16-stochastic"]
    if hasattr(torch.optim, "Muon"):
        optimizers.append("muon")
    if kind == "ddp" and importlib.util.find_spec("torchao") is not None:
        optimizers.append("ao-8bit")
    wide = in_ranks.MODEL.model_copy(update={"d_model": 64, "d_ff": 128})
    cases = {name: {"axes": axes(kind, optimizer=name), "model": wide} for name in optimizers}
    found = in_all(kind, in_ranks.resumed_as_if_never_stopped, folder=tmp_path, **cases)
    assert found == dict.fromkeys(optimizers, True)


def test_the_processes_have_dropout_masks_of_their_own(kind, undisturbed):
    assert len(set(undisturbed[2])) == KINDS[kind]


def test_three_processes_have_shares_of_unequal_sizes():
    names = ("plain", "rows_for_one_process_only")
    three = {"parallel": "fsdp", "processes": 3}
    spread = {name: CASES[name] | {"axes": three} for name in names}
    arguments = {"function": in_ranks.trained, "cases": spread}
    found = launch(in_ranks.on_one_core, in_ranks.all_of, arguments, processes=3, cuda=False)
    for name in names:
        losses, _, validation, _ = in_ranks.trained(**CASES[name])
        assert found[name][0] == pytest.approx(losses, rel=1e-13)
        assert found[name][2].nats == pytest.approx(validation.nats, rel=1e-13)
