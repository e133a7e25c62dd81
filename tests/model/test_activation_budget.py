"""What a budget keeps of a block: never more than it says, and what is costly to compute again."""

import itertools

import pytest
import torch
from families import LENGTH, VOCABULARY, configuration
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from workloads import workload

from vramlab.config.model import DecoderConfig, TransformersConfig
from vramlab.memory.counter import Counter
from vramlab.memory.meter import meter
from vramlab.model.activation_budget import Operation, choose, observe
from vramlab.training import learner as learner_module
from vramlab.training.learner import build

CPU = torch.device("cpu")
MODEL = DecoderConfig(d_model=64, layers=3, heads=2, d_ff=256, dropout=0.1)
TOKENS = torch.randint(0, 500, (4, 64), generator=torch.Generator().manual_seed(1))


def learner(budget, compiler=torch.compile, **axes):
    if budget is not None:
        axes["checkpointing"] = {"budget": budget}
    return build(workload(axes, MODEL, 500, 64), CPU, compiler)


def gradients(trained):
    torch.manual_seed(1)  # of dropout
    trained.loss_sum(TOKENS, TOKENS).backward()
    return [parameter.grad for parameter in trained.trained_parameters()]


@pytest.mark.parametrize("budget", [0, 0.3, 0.7, 1])
@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"precision": "bf16", "attention": "sdpa"},
        {"precision": "pure-bf16", "attention": "math", "loss_head": "fused"},
    ],
    ids=["plain", "bf16", "pure-bf16"],
)
def test_gradients_are_bit_equal_at_each_budget(budget, axes):
    for found, expected in zip(
        gradients(learner(budget, **axes)), gradients(learner(None, **axes)), strict=True
    ):
        assert torch.equal(found, expected)


def kept(budget, precision):
    """Bytes that the forward pass leaves to the backward pass."""
    trained = learner(budget, attention="sdpa", precision=precision)
    trained.loss_sum(TOKENS, TOKENS)  # which makes the plan
    with meter(CPU, None) as memory:
        trained.loss_sum(TOKENS, TOKENS)
        before = memory.point().allocated
        loss = trained.loss_sum(TOKENS, TOKENS)
        left = memory.point().allocated - before
    del loss
    return left


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_kept_is_within_the_budget_and_nearly_all_of_it(precision):
    least, everything = kept(0, precision), kept(None, precision)
    for budget in (0.25, 0.5, 0.75):
        found = kept(budget, precision)
        # A block's input is kept at each budget, and by the block before it without one.
        inputs = MODEL.layers * TOKENS.numel() * MODEL.d_model * 4
        assert least < found <= least + budget * (everything - least) + inputs
        assert found > least + (budget - 0.15) * (everything - least - inputs)
    assert kept(1, precision) == everything


def test_a_freed_result_is_not_taken_for_a_tensor_at_its_address():
    """A copy of a weight is no result, and nothing of it counts, wherever it lies."""
    weight = torch.nn.Parameter(torch.ones(8, 8))

    def block(x):
        for _ in range(50):
            _ = x.detach().exp()  # freed at once
            x = x @ weight.to(torch.bfloat16)
        return x

    x = torch.ones(8, 8, dtype=torch.bfloat16, requires_grad=True)
    _, saved = observe(block, (x,), {})
    assert saved == 49 * 8 * 8 * 2  # the inputs of all products but the first


class Calls(Counter):
    """Counts memory, and how often it is called to."""

    calls = 0

    def __torch_dispatch__(self, *args):
        self.calls += 1
        return super().__torch_dispatch__(*args)


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        (lambda: Calls(2**40), lambda mode: mode.calls),
        (lambda: FlopCounterMode(display=False), lambda mode: mode.get_total_flops()),
    ],
    ids=["bytes", "operations"],
)
def test_planning_is_no_part_of_a_counted_step(mode, found):
    def counted():
        with mode() as counter:
            trained.loss_sum(TOKENS, TOKENS).backward()
        trained.model.zero_grad(set_to_none=True)
        return found(counter)

    trained = learner(0.5, attention="sdpa", precision="bf16")
    trained.loss_sum(TOKENS[:1], TOKENS[:1]).backward()
    trained.model.zero_grad(set_to_none=True)
    planned, known = counted(), counted()
    assert planned == known


def test_a_plan_is_not_that_of_a_pass_without_gradients():
    def kept_bytes(first):
        trained = learner(0.5, attention="sdpa")
        with torch.set_grad_enabled(first != "no gradients"):
            trained.model.train(first != "evaluation")
            trained.loss_sum(TOKENS, TOKENS)
        trained.model.train()
        with meter(CPU, None) as memory:
            loss = trained.loss_sum(TOKENS, TOKENS)
            left = memory.point().allocated
        del loss
        return left

    assert kept_bytes("no gradients") == kept_bytes("evaluation") == kept_bytes("training")


@given(
    items=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 99)), max_size=9),
    limit=st.integers(0, 120),
)
def test_the_choice_avoids_most_cost(items, limit):
    operations = [Operation((i, 0), size, cost, False) for i, (size, cost) in enumerate(items)]
    chosen = [o for o in operations if o.key in choose(operations, limit)]
    assert sum(o.size for o in chosen) <= limit
    subsets = itertools.chain.from_iterable(
        itertools.combinations([o for o in operations if o.size], n)
        for n in range(len(operations) + 1)
    )
    best = max(
        sum(o.cost for o in subset) for subset in subsets if sum(o.size for o in subset) <= limit
    )
    assert sum(o.cost for o in chosen) == best


def test_all_that_is_random_is_kept_or_nothing():
    """Else the second run would draw other numbers than the first one."""
    masks = [Operation(("mask", i), 10, 50, True) for i in range(2)]
    other = Operation(("product", 0), 10, 60, False)
    assert choose([*masks, other], 10) == {other.key}
    assert choose([*masks, other], 20) == {mask.key for mask in masks}
    assert choose([*masks, other], 30) == {other.key, *(mask.key for mask in masks)}
    changed = Operation(("mask", 2), 0, 0, True, keepable=False)
    assert choose([*masks, changed, other], 30) == {other.key}


def test_what_an_operation_changes_in_place_is_computed_again():
    def block(x):
        made = x.exp()
        made.mul_(2)
        return made.sin()

    operations, saved = observe(block, (torch.ones(4, requires_grad=True),), {})
    assert [o.keepable for o in operations] == [False, False, True]
    assert saved == 16  # one storage, though exp and sin both keep it


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_blocks_of_transformers_keep_to_a_budget_too(family):
    losses, grads = [], []
    for axes in ({}, {"checkpointing": {"budget": 0.4}}):
        model = TransformersConfig(source="transformers", config=configuration(family))
        trained = build(workload({"attention": "sdpa", **axes}, model, VOCABULARY, LENGTH), CPU)
        tokens = TOKENS[:2, :LENGTH] % VOCABULARY
        torch.manual_seed(1)
        loss = trained.loss_sum(tokens, tokens)
        loss.backward()
        losses.append(loss.item())
        grads.append([p.grad for p in trained.trained_parameters()])
    assert losses[0] == losses[1]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_the_compiler_is_told_the_budget():
    seen = []

    def compiled(model, **_):
        def run(*args):
            seen.append(learner_module.functorch.activation_memory_budget)
            return model(*args)

        return run

    trained = learner(0.4, compiled, compile="default")
    before = learner_module.functorch.activation_memory_budget
    trained.loss_sum(TOKENS, TOKENS)
    # Of the model; the loss head, which is compiled for itself, has no blocks.
    assert (seen, learner_module.functorch.activation_memory_budget) == ([0.4, before], before)
