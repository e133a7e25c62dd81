"""The page and the terminal begin with what to take, and say only what is certain."""

import pytest
import yaml
from report import made_up
from report.test_pareto import slowed
from report.test_tables import replaced

from vramlab.base.provenance import Device
from vramlab.report import answer, language
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.epoch import EpochRecord


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answer")
    return made_up.make_results(folder, made_up.experiment(), failures={})


def test_each_need_has_a_sentence_with_its_cost(found):
    memory, speed = answer.answers(found)
    assert memory.text == (
        "Take `chunked`: 7.12× the batch (5,184 sequences instead of 728); at the same batch "
        "0.405× the time of a step, perplexity unchanged within 1% (479.8 against 476.8)."
    )
    assert yaml.safe_load(memory.entry) == {
        "chunked": {"precision": "bf16", "loss_head": "chunked"}
    }
    assert speed.text.startswith("For speed `sdpa`: 2.82× the tokens a second of `fp32`, at ")
    assert yaml.safe_load(speed.entry) == {"sdpa": {"precision": "bf16", "attention": "sdpa"}}


def test_the_conditions_name_card_memory_and_length(found):
    assert answer.conditions(found) == (
        "Measured on NVIDIA H200 with 40,960 MiB allowed, at 256 tokens:"
    )


def test_the_first_line_says_that_a_cpu_is_no_gpu(tmp_path):
    """Of the page and of the terminal; a warning further down was not seen."""
    results = made_up.make_results(tmp_path, made_up.experiment(["fp32", "bf16"]), failures={})
    cpu = Device(kind="cpu", name="A processor", memory_bytes=2**35)
    measured = replaced(
        results,
        lambda r: isinstance(r, BatchSizeRecord),
        provenance=made_up.provenance(cpu),
    )
    assert answer.conditions(measured) == (
        "Measured on a CPU (A processor), which is no answer for a GPU, with 40,960 MiB allowed, "
        "at 256 tokens:"
    )
    assert answer.in_terminal(measured).startswith("Measured on a CPU (A processor), which is no")


def test_a_noisy_machine_withholds_the_fastest(found):
    noisy = slowed(found, {"fp32": 0.3, "bf16": 2.5, "sdpa": 0.6, "flash": 3.0, "chunked": 1.8})
    memory, speed = answer.answers(noisy)[:2]
    assert "7.12× the batch" in memory.text
    assert "the time of a step not certain here (" in memory.text
    assert speed.text.startswith("For speed: no technique is faster than `fp32` for certain.")
    assert speed.entry == ""


def test_speeds_measured_once_are_said_to_be(found):
    once = replaced(found, lambda r: isinstance(r, EpochRecord), loss_curve=[])
    texts = [part.text for part in answer.answers(once)]
    assert any(text.startswith("For speed: not known.") for text in texts)
    assert "0.405× the time of a step, measured once, perplexity" in texts[0]


def test_one_technique_alone_is_compared_with_nothing(tmp_path):
    results = made_up.make_results(tmp_path, made_up.experiment(["fp32"]), failures={})
    texts = [part.text for part in answer.answers(results)]
    assert texts == ["Only `fp32` was measured: there is no other to compare it with."]


def test_a_baseline_that_nothing_beats_is_said_to_be_best(tmp_path):
    config = made_up.experiment(["sdpa", "chunked"], baseline="sdpa")
    results = made_up.make_results(tmp_path, config, failures={})
    texts = [part.text for part in answer.answers(results)]
    assert texts[0].startswith("Take `chunked`: ")
    assert texts[1] == "For speed `sdpa` itself: all others are slower."


def test_a_baseline_that_fits_the_most_is_said_to(tmp_path):
    config = made_up.experiment(["bf16", "fp32"], baseline="bf16")
    results = made_up.make_results(tmp_path, config, failures={})
    texts = [part.text for part in answer.answers(results)]
    assert texts == ["No technique that trains as good a model fits a larger batch than `bf16`."]


def test_one_technique_for_both_needs_is_said_once(tmp_path):
    results = made_up.make_results(tmp_path, made_up.experiment(["fp32", "bf16"]), failures={})
    [only] = answer.answers(results)
    assert only.text.startswith("Take `bf16`, for memory as for speed: 1.30× the batch (944 ")


def test_nothing_that_ran_is_no_recommendation(tmp_path):
    failures = {("fp32", "*"): ("out_of_memory", "not even one sequence fits")}
    config = made_up.experiment(["fp32"])
    results = made_up.make_results(tmp_path, config, failures=failures)
    [only] = answer.answers(results)
    assert only.text.startswith("No technique gave numbers to choose by; see “Not run” below.")
    assert only.entry == ""
    assert answer.in_terminal(results).splitlines()[1:] == [
        "No technique gave numbers to choose by.",
        "Not run, or not to the end:",
        "  fp32: out of memory: not even one sequence fits.",
    ]


def test_the_terminal_tells_why_techniques_gave_no_numbers(tmp_path):
    no_place = "checkpointing block works block by block, and the model names no list of blocks"
    failures = {
        ("bf16", "*"): ("diverged", "the loss is nan at step 3; lower training.learning_rate"),
        ("checkpointing", "*"): ("skipped", no_place),
        ("chunked", "*"): ("skipped", no_place),
    }
    names = ["fp32", "bf16", "checkpointing", "chunked"]
    results = made_up.make_results(tmp_path, made_up.experiment(names), failures=failures)
    lines = answer.in_terminal(results).splitlines()
    assert lines[1].startswith("No technique that trains as good a model fits a larger batch")
    text = " ".join(" ".join(lines[lines.index("Not run, or not to the end:") + 1 :]).split())
    assert "the loss is nan at step 3; lower training.learning_rate." in text
    assert f"checkpointing, chunked: skipped: {no_place}." in text.replace(" and ", ", ", 1)
    assert max(map(len, lines)) <= 98


def test_a_lower_limit_and_a_lower_perplexity_are_told(found):
    same = replaced(found, lambda r: isinstance(r, BatchSizeRecord), max_batch_size=728)
    epoch = same.run("checkpointing", "equal").epochs[0]
    better = epoch.validation.model_copy(update={"perplexity": 300.0})
    found = replaced(same, lambda r: r is epoch, validation=better)
    facts = [part.text for part in answer.answers(found)]
    assert "the same largest batch (728)" in facts[0]


def test_in_the_terminal_it_is_plain_text(found):
    text = answer.in_terminal(found)
    lines = text.splitlines()
    assert lines[0] == "Measured on NVIDIA H200 with 40,960 MiB allowed, at 256 tokens:"
    assert "    chunked: {precision: bf16, loss_head: chunked}" in lines
    assert "`" not in text
    assert max(map(len, lines)) <= 98


def test_every_case_has_an_answer_in_both_languages(case):
    _, results = case
    for code in ("en", "pl"):
        with language.use(code):
            for part in answer.answers(results):
                assert part.text.endswith(".")
                assert not {"nan", "None", "inf"} & set(part.text.replace(",", " ").split())


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((1.2, 1.03, 1.4), "1.20× (1.03 to 1.40)"),
        ((0.8, 0.61, 0.99), "0.80× (0.61 to 0.99)"),
        ((2, 1.9, 2.1), "2.0× (1.9 to 2.1)"),
        ((2, 1.99, 2.01), "2.00×"),
    ],
)
def test_a_range_beside_1_does_not_read_as_if_it_held_1(ends, text):
    assert answer._range(*ends) == text
