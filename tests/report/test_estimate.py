"""Predictions beside measurements, computed as a person would with pen and paper."""

import pytest
from report import made_up
from report.test_tables import replaced

from vramlab.config.measure import Headroom
from vramlab.config.technique import Technique
from vramlab.report.estimate import (
    answer,
    answers,
    at_card,
    comparison,
    predictions,
)
from vramlab.results.base import write
from vramlab.results.batch_size import BatchSizeRecord, Trial
from vramlab.results.estimate import Estimate, EstimateRecord
from vramlab.stages.estimate_tables import write_predictions


def rows(frame):
    return {(r["technique"], r["sequence_length"]): r for r in frame.to_dict("records")}


def test_predicted_beside_measured(results):
    found = rows(comparison(results))
    bf16 = found["bf16", 256]
    assert (bf16["batch_size"], bf16["max_batch_size"]) == (728, 944)
    assert bf16["predicted_batch_size"] == 944
    assert bf16["batch_error_percent"] == 0
    assert bf16["predicted_peak_mib"] == pytest.approx(bf16["peak_mib"], abs=1e-6)
    assert bf16["note"] == ""
    assert ("sdpa", 2048) in found
    assert ("flash", 256) not in found  # it did not run


def test_an_error_above_the_tolerance_says_why(results):
    found = rows(comparison(results))["checkpointing", 256]
    state, rest = made_up.STATE, (made_up.LIMIT - made_up.STATE) * 728 / 1072
    assert found["peak_error_percent"] == pytest.approx(10 * rest / (state + rest), abs=1e-2)
    assert found["batch_error_percent"] == pytest.approx(100 * (974 / 1072 - 1), abs=1e-2)
    assert found["note"] == "its scratch space is not known"


@pytest.mark.parametrize(
    ("largest", "missing", "note"),
    [
        (
            900,
            300,
            "the tensors take what was predicted; at a batch of 901 the allocator lost 2,164 MiB "
            "or more to gaps between them, where 0 were expected",
        ),
        (
            990,
            0,
            "the tensors take what was predicted; the allocator lost less than the 0 MiB to gaps "
            "between them that were expected",
        ),
    ],
)
def test_gaps_between_tensors_are_named(largest, missing, note, results):
    """A batch that fits by the sizes of all tensors, and yet did not."""
    per_sequence = (made_up.LIMIT - made_up.STATE) / 944

    def trial(batch_size, error=0.0, **values):
        peak = round((made_up.STATE + per_sequence * batch_size) * (1 + error))
        return Trial(
            batch_size=batch_size, seconds=1, peak_allocated=peak, peak_reserved=peak, **values
        )

    def found(error=0.0):
        trials = [
            trial(largest, error, fits=True),
            trial(largest + 1, fits=False, missing=missing * 2**20),
        ]
        changed = replaced(
            results,
            lambda r: isinstance(r, BatchSizeRecord) and r.technique == "bf16",
            max_batch_size=largest,
            trials=trials,
        )
        return rows(comparison(changed))["bf16", 256]["note"]

    assert found() == note
    assert found(error=0.02).startswith("not explained")  # its tensors take something else


def test_where_no_step_was_profiled_the_search_is_compared(results):
    found = rows(comparison(results))["math", 256]
    assert found["batch_size"] == 800  # its own largest, of the search; not 728, of the baseline
    assert abs(found["peak_error_percent"]) < 0.01


def test_predictions_alone(results):
    records = results.records(EstimateRecord)
    table = predictions(records)
    found = rows(table)["bf16", 256]
    assert (found["device"], found["batch_size"]) == ("GPU", 32)
    assert (found["batch_on_8_GiB"], found["batch_on_40_GiB"]) == (236, 944)
    (bf16,) = next(r.estimates for r in records if r.place() == "estimate/256/bf16.json")
    assert found["peak_mib"] == bf16.peaks[32] / 2**20
    assert list(table)[-1] == "note"


def test_nothing_measured(tmp_path):
    config = made_up.experiment(["fp32"])
    failures = {("fp32", "*"): ("out_of_memory", "not even one sequence fits")}
    results = made_up.make_results(tmp_path, config, failures=failures)
    assert list(comparison(results)["technique"]) == ["nothing that was predicted was measured"]


def estimate(name, batches, least=1.0, **axes):
    """A prediction for cards of 8, 24 and 80 GiB."""
    return Estimate(
        technique=name,
        axes=Technique(**axes),
        sequence_length=2048,
        device="cuda",
        status="ok",
        peaks={1: 2**30, 2: 2**31},
        cards=batches,
        longest=[2048 * batch for batch in batches],
        least_card=least,
    )


def records(*estimates, cards=(8, 24, 80)):
    """A record for each technique."""
    return [
        EstimateRecord(
            provenance=made_up.provenance(None),
            technique=found.technique,
            sequence_length=found.sequence_length,
            memory_limit_gib=None,
            cards=list(cards),
            estimates=[found],
        )
        for found in estimates
    ]


SOURCE = "transformers"
FP32 = estimate("fp32", [0, 2, 9], 20.1)
BF16 = estimate("bf16", [0, 2, 12], 17.5, precision="bf16")
LESS = estimate("less", [0, 31, 200], 9.3, precision="bf16", checkpointing="block")
ADAPTER = (
    "With an adapter, which leaves the model's own weights as they are, `lora` has room for 40 "
    "sequences."
)
LORA = estimate("lora", [4, 40, 300], 3.2, precision="bf16", adapter="lora")


@pytest.mark.parametrize(
    ("estimates", "card", "says"),
    [
        (
            [FP32, BF16, LESS, LORA],
            24,
            "Yes: on a card of 24 GiB at 2,048 tokens, `fp32` has room for 2 and changes least; "
            "for the largest batch take `less`, which has room for 31 sequences. " + ADAPTER,
        ),
        (
            [FP32, BF16, LORA],
            24,
            "Yes: on a card of 24 GiB at 2,048 tokens, take `fp32`, which has room for 2 "
            "sequences; no other that trains all weights has more. " + ADAPTER,
        ),
        (
            [FP32, BF16, LESS, LORA],
            8,
            "With adapters only: on a card of 8 GiB at 2,048 tokens, take `lora`, which has room "
            "for 4 sequences. To train all weights, `less` needs a card of 9.3 GiB.",
        ),
        (
            [FP32, BF16],
            8,
            "No: on a card of 8 GiB not one sequence of 2,048 tokens fits. To train all weights, "
            "`bf16` needs a card of 17.5 GiB.",
        ),
        (
            [estimate("lora", [0, 1, 2], 12.0, adapter="lora")],
            8,
            "No: on a card of 8 GiB not one sequence of 2,048 tokens fits. The least need has "
            "`lora`, a card of 12 GiB.",
        ),
        (
            [FP32.model_copy(update={"status": "skipped"})],
            8,
            "Nothing could be predicted at 2,048 tokens; the notes say why.",
        ),
    ],
)
def test_the_answer_for_a_card(estimates, card, says):
    assert answer(records(*estimates), card, 2048) == says
    assert says in answers(records(*estimates))


@pytest.mark.parametrize(
    ("headroom", "says"),
    [
        ({"gib": 6}, " Of each card, 6 GiB are left free (`measure.headroom`)."),
        ({"share": 0.125}, " Of each card, 12.5% are left free (`measure.headroom`)."),
        ({}, "`bf16` needs a card of 17.5 GiB."),
    ],
)
def test_a_headroom_that_was_asked_for_is_named_where_nothing_fits(headroom, says):
    found = [
        record.model_copy(update={"headroom": Headroom(**headroom)})
        for record in records(FP32, BF16)
    ]
    assert answer(found, 8, 2048).endswith(says)
    assert "left free" not in answer(found, 24, 2048)


def test_the_table_at_a_card_is_of_that_card():
    skipped = FP32.model_copy(
        update={"technique": "x", "status": "skipped", "cards": [], "longest": [], "peaks": {}}
        | {"least_card": None, "reason": "no such package"}
    )
    on_cpu = FP32.model_copy(update={"device": "cpu", "cards": [], "longest": []})
    found = rows(at_card(records(LESS, on_cpu, skipped), 24))
    assert set(found) == {("less", 2048), ("x", 2048)}
    less = found["less", 2048]
    assert (less["largest_batch"], less["longest_sequence"]) == (31, 31 * 2048)
    assert (less["fits"], less["least_card_gib"]) == ("yes", 9.3)
    assert less["peak_of_one_sequence_mib"] == 1024
    assert "bf16" in less["axes"].lower()
    assert found["x", 2048]["note"] == "no such package"
    assert found["x", 2048]["fits"] is None
    assert rows(at_card(records(LESS), 8))["less", 2048]["fits"] == "no"


@pytest.mark.parametrize("cards", [(24,), (8, 24)])
def test_the_files_for_people_have_the_answer_in_their_language(tmp_path, cards):
    source, target = tmp_path / "estimate.json", tmp_path / "estimate.md"
    batches = [LESS.cards[(8, 24).index(card)] for card in cards]
    longest = [2048 * batch for batch in batches]
    told = {"cards": batches, "longest": longest, "trained_range": 1024}
    found = LESS.model_copy(update=told)
    [only] = records(found, cards=cards)
    write(only, source)
    for language, says in (("en", "has room for"), ("pl", "mieści")):
        outputs = [str(target), str(tmp_path / "estimate.csv")]
        write_predictions([str(source)], outputs, {"path": "a_b", "source": SOURCE}, 8, language)
        text = target.read_text("utf-8")
        assert text.startswith("| Tech")
        assert says in text
        assert "| less" in text
        assert ("Yes:" in text) is (language == "en")
        beyond = {"en": "The model is made for 1,024 tokens", "pl": "Model jest przeznaczony do"}
        assert beyond[language] in text
        assert "Model: a_b" in text if language == "pl" else "The model: a_b." in text
