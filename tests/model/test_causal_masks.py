"""Compiled code of transformers masks what code that is not compiled masks, and no more."""

import pytest
import torch
from families import FAMILIES, LENGTH, VOCABULARY, WINDOW, configuration
from torch.nn import functional
from workloads import workload

from vramlab.config.model import TransformersConfig
from vramlab.model import causal_masks
from vramlab.training.learner import build
from vramlab.training.step import warm_up

masks = pytest.importorskip("transformers.masking_utils")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch):
    monkeypatch.setattr(causal_masks._Seen, "plain", {})


def compiled(family, graphs):
    """A learner whose compiled code is kept as graphs, and runs as they say."""

    def compiler(function, **options):
        def backend(graph, _):
            graphs.append(graph)
            return graph.forward

        return torch.compile(function, backend=backend, dynamic=False)

    torch.compiler.reset()
    axes = {"attention": "sdpa", "compile": "default"}
    model = TransformersConfig(source="transformers", config=configuration(family))
    learner = build(workload(axes, model, VOCABULARY, LENGTH), CPU, compiler)
    learner.model.train()
    return learner


def masks_of(graphs):
    """The mask, or None, of each call of attention."""
    return [
        node.kwargs.get("attn_mask")
        for graph in graphs
        for node in graph.graph.nodes
        if node.target is functional.scaled_dot_product_attention
    ]


@pytest.mark.parametrize(
    ("family", "masked"),
    [("llama", []), ("gpt2", []), ("olmo2", []), ("mistral", [0, 1]), ("gemma2", [0])],
)
def test_layers_without_a_window_have_no_mask_and_the_loss_is_the_same(family, masked):
    assert FAMILIES[family].get("sliding_window", WINDOW) < LENGTH
    learner, tokens = compiled(family, graphs := []), torch.arange(2 * LENGTH).view(2, LENGTH)
    warm_up(learner)
    loss = learner.loss_sum(tokens, tokens)
    found = masks_of(graphs)
    assert [number for number, mask in enumerate(found) if mask is not None] == masked
    assert len(found) == 2
    assert loss.item() == pytest.approx(learner.eager_loss_sum(tokens, tokens).item(), rel=1e-6)


def test_without_a_pass_before_it_compiled_code_has_masks():
    learner, tokens = compiled("llama", graphs := []), torch.arange(LENGTH)[None]
    learner.loss_sum(tokens, tokens)
    assert None not in masks_of(graphs)


def test_a_model_that_is_made_again_has_none_at_once():
    """As where a profile asks whether its steps repeat: with a mask they may not fit any more."""
    warm_up(compiled("llama", []))
    learner, tokens = compiled("llama", graphs := []), torch.arange(LENGTH)[None]
    learner.loss_sum(tokens, tokens)
    assert masks_of(graphs) == [None, None]


def test_positions_of_several_sequences_keep_their_mask():
    compiled("llama", [])
    plain, packed = torch.arange(6)[None], torch.tensor([[0, 1, 2, 0, 1, 2]])
    assert masks.find_packed_sequence_indices(plain) is None
    expected = masks.find_packed_sequence_indices(packed)
    assert expected.tolist() == [[0, 0, 0, 1, 1, 1]]
    asked = torch.compile(masks.find_packed_sequence_indices, backend="eager")
    assert torch.equal(asked(packed), expected)
