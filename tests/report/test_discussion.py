"""The sentences follow the numbers: other numbers, other sentences."""

import dataclasses
import re

from report.test_tables import is_profile, replaced

from vramlab.report import discussion, pareto
from vramlab.report.metrics import METRICS
from vramlab.report.superlatives import superlative
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.corpus import CorpusRecord
from vramlab.results.epoch import EpochRecord
from vramlab.results.profile import ProfileRecord
from vramlab.results.sequences import SequencesRecord
from vramlab.results.tokenizer import TokenizerRecord


def is_search(record, technique):
    return isinstance(record, BatchSizeRecord) and record.technique == technique


def test_largest_batch(results, two):
    assert discussion.largest_batch(results) == (
        "`chunked` fits the largest batch: 5,184 sequences, 7.12× the 728 of `fp32`."
    )
    assert "`bf16` fits the largest batch: 944 sequences, 1.30×" in discussion.largest_batch(two)


def test_largest_batch_of_the_baseline_and_of_two_alike(two):
    alike = replaced(two, lambda r: is_search(r, "bf16"), max_batch_size=728)
    assert discussion.largest_batch(alike) == (
        "No technique fits more than `fp32`: 728 sequences (`bf16` fits as much)."
    )
    worse = replaced(two, lambda r: is_search(r, "bf16"), max_batch_size=1)
    assert discussion.largest_batch(worse) == "No technique fits more than `fp32`: 728 sequences."


def test_a_bounded_search_is_a_lower_limit(two):
    bounded = replaced(two, lambda r: is_search(r, "bf16"), bounded_by="configuration")
    assert "at least 944 sequences" in discussion.largest_batch(bounded)


def test_least_memory(two):
    assert discussion.least_memory(two) == (
        "At the batch of `fp32` (728), the lowest peak is that of `bf16`: 31,596 MiB, 77% of the "
        "40,960 MiB of `fp32`."
    )


def test_a_metric_without_sentences_of_its_own_has_one(two):
    assert superlative("bits_per_byte")(two) == (
        "Bits/byte: the lowest is that of `fp32` and `bf16`, 2.22."
    )
    assert superlative("accumulation")(two).startswith(
        "Accumulation: the lowest is that of `fp32` and `bf16`, 1"
    )
    none = replaced(two, lambda r: is_profile(r, "bf16"), allocator_retries=0)
    some = replaced(none, lambda r: is_profile(r, "fp32"), allocator_retries=7)
    assert superlative("allocator_retries")(some) == (
        "Allocator retries: the lowest is that of `bf16`, 0; `fp32` has 7."
    )
    speed = superlative("tokens_per_second")(two)
    assert re.fullmatch(
        r"Tokens/s: the highest is that of `bf16`, [\d.]+M; `fp32` has [\d.]+M\.", speed
    )


def slower_steps(results, technique, factor, kind=ProfileRecord):
    """Results in which one technique's profile or training at the equal batch takes longer."""

    def changed(record):
        if kind is ProfileRecord:
            return {"step_seconds": [factor * seconds for seconds in record.step_seconds]}
        curve = [p.model_copy(update={"seconds": factor * p.seconds}) for p in record.loss_curve]
        return {"loss_curve": curve, "train_seconds": factor * record.train_seconds}

    def hit(record):
        return (
            isinstance(record, kind)
            and record.technique == technique
            and record.setting == "equal"
            and record.sequence_length == results.length
        )

    files = {
        path: record.model_copy(update=changed(record)) if hit(record) else record
        for path, record in results.files.items()
    }
    return dataclasses.replace(results, files=files)


def test_fastest_and_how_sure(two):
    text = discussion.fastest(two)
    assert "the fastest step is that of `bf16`: 51." in text
    assert text.endswith("2.55× as fast as `fp32`.")
    assert "0.1% here" in discussion.how_sure_of_speed(two)
    both = slower_steps(slower_steps(two, "bf16", 4), "bf16", 4, EpochRecord)
    assert "the fastest step is that of `fp32`" in discussion.fastest(both)


def test_a_lead_that_only_one_of_two_measurements_shows_is_not_claimed(two):
    """The kind of fault: a busy machine slowed one profile, and the report called it clear."""
    busy = slower_steps(two, "bf16", 4)
    assert "is that of `bf16`" not in discussion.fastest(busy)
    assert "for certain" in discussion.throughput(busy)
    text = discussion.contradictions(busy)
    assert text.startswith("Profile and training contradict each other on the speed of `bf16`")
    assert text in discussion.warnings(busy)
    assert discussion.contradictions(two) == ""


def test_a_speed_measured_once_is_not_certain(two):
    once = replaced(two, lambda r: isinstance(r, EpochRecord), loss_curve=[])
    assert discussion.how_sure_of_speed(once).startswith("Each speed was measured once")


def test_a_busy_machine_is_said(two):
    assert discussion.busy_machine(two) == ""

    def with_load(**changes):
        load = two.run("bf16", "own").profile.host_load.model_copy(
            update={"load_average": 31.0, **changes}
        )
        return replaced(two, lambda r: is_profile(r, "bf16"), host_load=load)

    before_it_was_measured = {"run_seconds": None, "other_seconds": None}
    text = discussion.busy_machine(with_load(**before_it_was_measured))
    assert text.endswith("the spread between measurements.")
    # In 2 seconds, of which this process took 1.9 of the processor's.
    text = discussion.busy_machine(with_load(run_seconds=15.9, other_seconds=1.0))
    assert "other jobs of this run used 7.0 cores, and programs outside it 0.50: `--cores" in text
    text = discussion.busy_machine(with_load(run_seconds=2.9, other_seconds=20.0))
    assert "programs outside this run used 10 cores, and other jobs of it 0.50." in text
    assert discussion.busy_machine(with_load(run_seconds=1.9, other_seconds=0.2)) == ""
    text = discussion.busy_machine(with_load(run_seconds=1.9, other_seconds=20.0))
    assert text.startswith("The machine was busy in 2 of 6 measurements, most while `bf16` ran")
    assert "31 processes wanted its 16 cores" in text
    unknown = replaced(two, lambda r: isinstance(r, EpochRecord | ProfileRecord), host_load=None)
    assert discussion.busy_machine(unknown) == ""


def test_perplexity_says_how_sure(results, two):
    assert discussion.perplexity(results).startswith(
        "Trained at the batch of `fp32` (728), the lowest perplexity is that of `"
    )
    assert "up to 0.707" in discussion.how_sure_of_perplexity(results)
    assert "one seed only" in discussion.how_sure_of_perplexity(two)


def test_perplexities_that_look_alike_are_called_so(two):
    assert "the lowest perplexity is that of `fp32` and `bf16`: 476.8." in discussion.perplexity(
        two
    )
    better, alike = (
        replaced(
            two,
            lambda r: isinstance(r, EpochRecord) and r.technique == "bf16",
            validation=two.run("bf16", "own")
            .epochs[0]
            .validation.model_copy(update={"perplexity": value}),
        )
        for value in (450.0, 476.79)
    )
    assert discussion.perplexity(better).endswith("`bf16`: 450.0, against 476.8 of `fp32`.")
    assert discussion.perplexity(alike).endswith("that of `bf16` and `fp32`: 476.8.")


def test_steps_and_what_they_cost(results):
    assert discussion.fewest_steps(results) == (
        "At its own largest batch, `chunked` trains in 6 steps, `fp32` in 39; perplexity 925.9 "
        "against 477.3."
    )


def test_the_parts_of_the_peak_add_up(results):
    for setting in ("equal", "own"):
        for run in results.runs(setting):
            if run.memory:
                parts = discussion.peak_parts(run.memory)
                assert sum(parts.values()) == run.memory.peak.allocated
                assert min(parts.values()) >= 0
    assert "70% is what the forward pass keeps" in discussion.breakdown(results)


def test_what_holds_the_peak_is_named(results):
    text = discussion.largest_kind(results)
    assert text.startswith("At the peak of `fp32`, 59% is logits and loss")
    assert discussion.moment_of_peak(results) == (
        "`fp32` needs most after 50% of a step's operations."
    )


def test_undominated(results):
    text = discussion.undominated(results)
    assert text.startswith(
        "At the batch of `fp32` (728) only `sdpa` and `chunked` are worth weighing"
    )
    front = pareto.front(pareto.points(results, "equal"))  # the figure's, under this headline
    assert {point.run.technique for point in front} == {"sdpa", "chunked"}


def test_failures_are_grouped_by_reason(results):
    assert discussion.not_run(results) == [
        "`math`: out of memory at the batch of `fp32` (728): a batch of 728 does not fit: CUDA "
        "out of memory.",
        "`flash`: skipped: the package flash-attn is not installed; install it, or use attention "
        "sdpa.",
        "`tf32`: diverged at its own largest batch: the loss became NaN in step 3.",
    ]


def test_energy_only_where_it_is_known(results, two):
    assert "that of `sdpa`: " in discussion.energy(results)
    assert discussion.energy(two) == ""


def test_runs_that_give_memory_back_in_each_step_are_named(two):
    assert discussion.memory_pressure(two) == ""  # as on a CPU, where nothing counts it
    steps = len(two.run("bf16", "own").profile.step_seconds)
    now_and_then = replaced(two, lambda r: is_profile(r, "bf16"), allocator_retries=steps - 1)
    assert discussion.memory_pressure(now_and_then) == ""
    each = replaced(
        two,
        lambda r: is_profile(r, "bf16") and r.setting == "own",
        allocator_retries=steps,
    )
    batch = f"{two.run('bf16', 'own').search.max_batch_size:,}"
    assert (
        f"in each step of `bf16` (batch {batch}), torch's allocator"
        in discussion.memory_pressure(each)
    )
    both = replaced(two, lambda r: is_profile(r, "fp32"), allocator_retries=steps)
    text = discussion.memory_pressure(both)
    assert text.count("`fp32`") == 1  # its own batch is the equal one


def test_steps_that_were_taken_again_are_told(two):
    assert discussion.retried(two) == ""
    again = replaced(two, lambda r: is_profile(r, "fp32"), retried_steps=1)
    batch = f"{two.max_batch_size('fp32'):,}"
    assert discussion.retried(again).startswith(f"Steps of `fp32` (batch {batch}) ran out of")
    epoch = replaced(
        two, lambda r: isinstance(r, EpochRecord) and r.technique == "bf16", retried_steps=2
    )
    assert discussion.retried(epoch).count("`bf16`") == 2  # at either batch


def test_a_validation_text_that_the_tokenizer_does_not_know_is_told(two):
    assert discussion.unknown_characters(two) == ""
    coverage = {"train": 0.5, "validation": 0.8765}
    foreign = replaced(two, lambda r: isinstance(r, TokenizerRecord), coverage=coverage)
    text = discussion.unknown_characters(foreign)
    assert text.startswith("Of the validation characters, 12.4% are unknown to the tokenizer")
    assert text in discussion.summary(foreign)


def test_a_share_that_is_not_the_wanted_one_is_said(two):
    assert discussion.held_out(two) == ""
    kept = replaced(two, lambda r: isinstance(r, CorpusRecord), held_out=0.61, held_out_wanted=0.05)
    text = discussion.held_out(kept)
    assert text.startswith("For validation 61.0% of the documents are held out instead of 5.0%")
    assert text in discussion.summary(kept)
    by_bytes = replaced(kept, lambda r: isinstance(r, CorpusRecord), held_out_by="bytes")
    assert "61.0% of the bytes are held out" in discussion.held_out(by_bytes)


def test_a_batch_larger_than_the_corpus_is_said(two):
    assert discussion.beyond_the_corpus(two) == ""
    per_step = {run.technique: run.profile.batch_size for run in two.runs("own")}
    count = sorted(per_step.values())[-1] - 1
    small = replaced(
        two,
        lambda r: isinstance(r, SequencesRecord) and r.split == "train",
        sequences={two.lengths[0]: count},
    )
    text = discussion.beyond_the_corpus(small)
    assert text.startswith(f"The training corpus has only {count:,} sequences, fewer than")
    assert [name for name, taken in per_step.items() if taken > count] == [
        name for name in per_step if f"`{name}`" in text
    ]
    assert text in discussion.summary(small)


def test_every_case_has_a_summary_without_holes(case):
    _, results = case
    sentences = discussion.summary(results)
    assert sentences
    for text in [*sentences, *(discussion.headline(f, results) for f in _drawn(results))]:
        assert text.endswith(".")
        assert text[0].isupper() or text[0] == "`"
        assert not {"nan", "None", "inf"} & set(text.replace(",", " ").split())


def _drawn(results):
    swept = len(results.lengths) > 1
    return [name for name in discussion.HEADLINES if swept or "_by_length" not in name]


def test_what_does_not_repeat_is_named(two):
    assert discussion.repeatability(two) == ""
    same = replaced(two, lambda r: isinstance(r, ProfileRecord), repeatable=True)
    assert discussion.repeatability(same).startswith("Every technique that ran repeats bit for bit")
    one = replaced(same, lambda r: is_profile(r, "bf16"), repeatable=False)
    assert discussion.repeatability(one).startswith("From the same seed, `bf16` does not repeat")


def test_the_lengths_of_a_sweep_count_as_well(results):
    same = replaced(results, lambda r: isinstance(r, ProfileRecord), repeatable=True)
    long = replaced(
        same,
        lambda r: is_profile(r, "sdpa") and r.sequence_length == 2048,
        repeatable=False,
        allocator_retries=1000,
    )
    batch = f"{long.max_batch_size('sdpa', 2048):,}"
    assert discussion.repeatability(long).startswith("From the same seed, `sdpa` does not repeat")
    assert f"`sdpa` (batch {batch})" in discussion.memory_pressure(long)


def test_a_technique_that_lost_a_seed_is_in_no_comparison_of_means(results):
    perplexity = METRICS["perplexity"].value
    best = min(results.runs("equal"), key=lambda r: perplexity(r) or 1e9).technique
    assert f"the lowest perplexity is that of `{best}`" in discussion.perplexity(results)
    lost = replaced(
        results,
        lambda r: isinstance(r, EpochRecord) and r.technique == best and r.seed == 10,
        status="diverged",
        reason="the loss became NaN in step 3",
        validation=None,
    )
    assert perplexity(lost.run(best, "equal"))
    for text in (discussion.perplexity(lost), discussion.shortest_training(lost)):
        assert f"that of `{best}`" not in text


def test_what_is_left_of_a_kind_is_said_of_the_peak(results):
    assert "at that of `" in discussion.largest_kind(results)
