"""The comparison with an earlier run finds what was changed, and nothing else."""

import orjson
import pytest
from report import made_up

from vramlab.base.errors import ConfigError
from vramlab.report.comparison import changes, differing_origins, same_axes
from vramlab.report.earlier import load_earlier, record_files
from vramlab.report.load import KINDS
from vramlab.results.base import write


@pytest.fixture
def two(tmp_path):
    config = made_up.experiment(["fp32", "bf16", "chunked"])
    now = made_up.make_results(tmp_path / "now", config, failures={})
    made_up.make_results(tmp_path / "then", config, failures={})
    return now, tmp_path / "then"


def edit(path, change):
    content = orjson.loads(path.read_bytes())
    change(content)
    kind = next(KINDS[part] for part in reversed(path.parts) if part in KINDS)
    write(kind.model_validate(content), path)


def test_a_run_does_not_differ_from_itself(two):
    now, then = two
    found = list(changes(now, load_earlier(then, now)))
    metrics = {c.metric.name for c in found}
    assert metrics == {
        "max_batch_size", "peak_mib", "step_ms", "tokens_per_second", "train_seconds", "perplexity",
    }  # fmt: skip
    assert all(c.percent == 0 and not c.beyond_spread and same_axes(c) for c in found)
    assert differing_origins(now, load_earlier(then, now)) == {}


def test_a_slower_step_and_a_smaller_batch_are_found(two):
    now, then = two

    def slower(record):
        record["step_seconds"] = [2 * s for s in record["step_seconds"]]
        record["provenance"]["packages"]["torch"] = "2.8.0"

    edit(then / "profile/256/bf16/equal.json", slower)
    edit(then / "batch_size/256/chunked.json", lambda r: r.update(max_batch_size=1000))
    earlier = load_earlier(then, now)
    found = {(c.now.technique, c.now.setting, c.metric.name): c for c in changes(now, earlier)}
    step = found["bf16", "equal", "step_ms"]
    assert step.percent == pytest.approx(-50)
    assert step.beyond_spread
    assert found["bf16", "equal", "tokens_per_second"].percent == pytest.approx(100)
    batch = found["chunked", "equal", "max_batch_size"]  # once, at whichever comes first
    assert (batch.before, batch.beyond_spread) == (1000, None)
    assert batch.after == now.max_batch_size("chunked")
    unchanged = [c for k, c in found.items() if k[0] == "fp32"]
    assert unchanged
    assert all(c.percent == 0 for c in unchanged)
    assert differing_origins(now, earlier) == {"torch": ("2.11.0 / 2.8.0", "2.11.0")}


def test_techniques_and_runs_that_one_of_them_lacks_are_left_out(two):
    now, then = two
    for path in (then / "batch_size/256/chunked.json", then / "profile/256/bf16/own.json"):
        path.unlink()
    found = {(c.now.technique, c.now.setting) for c in changes(now, load_earlier(then, now))}
    assert found == {("fp32", "own"), ("bf16", "equal")}


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_a_folder_without_results_is_refused(kind, tmp_path):
    folder = tmp_path / "earlier"
    if kind == "empty":
        (folder / "corpus").mkdir(parents=True)
    with pytest.raises(ConfigError, match="give the results folder of an earlier run"):
        record_files(folder)


def test_a_file_that_is_not_vramlabs_is_named_and_not_to_be_deleted(two):
    now, then = two
    path = then / "profile/256/bf16/own.json"
    path.write_text('{"foreign": true}')
    with pytest.raises(ConfigError, match=r"^report.compare: .*own.json: .* take .* out of") as e:
        load_earlier(then, now)
    assert "delete" not in str(e.value)


def test_runs_under_other_conditions_are_noted(two):
    now, then = two
    edit(then / "profile/256/bf16/own.json", lambda r: r.update(processes=2))
    edit(then / "epoch/256/bf16/own/seed9.json", lambda r: r.update(learning_rate=0.5, tokens=7))
    found = {(c.now.technique, c.metric.name): c for c in changes(now, load_earlier(then, now))}
    assert found["bf16", "step_ms"].differing == {"processes": (2, 1)}
    assert set(found["bf16", "perplexity"].differing) == {
        "processes", "learning rate", "training tokens",
    }  # fmt: skip
    assert found["bf16", "max_batch_size"].differing == {}
    assert all(c.differing == {} for (name, _), c in found.items() if name != "bf16")
