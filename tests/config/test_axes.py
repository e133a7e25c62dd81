"""What is said of the values of an axis, and the code that runs them, have the same keys."""

import pytest

from vramlab.config.axes import ATTENTION_VALUES, LOSS_HEAD_VALUES, OPTIMIZER_VALUES
from vramlab.config.technique import Technique
from vramlab.model.attention import ATTENTION
from vramlab.model.loss_heads import LOSS_HEADS
from vramlab.model.optimizers import OPTIMIZERS


@pytest.mark.parametrize(
    ("said", "run"),
    [(ATTENTION_VALUES, ATTENTION), (OPTIMIZER_VALUES, OPTIMIZERS), (LOSS_HEAD_VALUES, LOSS_HEADS)],
)
def test_what_is_said_has_its_code(said, run):
    assert set(said) == set(run)


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("attention", ATTENTION_VALUES),
        ("optimizer", OPTIMIZER_VALUES),
        ("loss_head", LOSS_HEAD_VALUES),
    ],
)
def test_the_schema_of_the_configuration_names_and_explains_each_value(axis, said):
    schema = Technique.model_json_schema()["properties"][axis]
    assert schema["enum"] == list(said)
    assert all(f"{name}: {value.what}" in schema["description"] for name, value in said.items())
