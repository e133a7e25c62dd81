"""Only what changed runs again: edit, then ask Snakemake what it would do."""

import copy
import shutil

import pytest
import yaml

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

COMMENT = "\n# edited\n"


def stages(files):
    """The first folder of each file, which names its stage."""
    return {file.split("/")[0] for file in files}


def edited(checkout, **sections):
    config = yaml.safe_load((checkout.root / "test.yaml").read_text())
    for section, values in sections.items():
        target = config.setdefault(section, {})
        target.update(copy.deepcopy(values))
    checkout.configure(config)


def test_nothing_changed_nothing_to_do(checkout):
    assert checkout.planned() == set()
    assert "Nothing to be done" in checkout.run()


def test_results_are_there(finished):
    results = finished.root / "results" / "tiny"
    for technique, settings in {"fp32": ["own"], "bf16": ["equal", "own"]}.items():
        for setting in settings:
            assert (results / f"profile/16/{technique}/{setting}.json").stat().st_size > 0
            assert (results / f"epoch/16/{technique}/{setting}/seed9.json").stat().st_size > 0
    assert not (results / "profile/16/fp32/equal.json").exists()


def test_a_technique_reruns_itself_and_the_report(checkout):
    edited(checkout, techniques={"bf16": {"precision": "bf16", "loss_head": "chunked"}})
    planned = checkout.planned()
    assert {f for f in planned if not f.startswith(("report/", "estimate/"))} == {
        "batch_size/16/bf16.json",
        "profile/16/bf16/equal.json",
        "profile/16/bf16/own.json",
        "epoch/16/bf16/equal/seed9.json",
        "epoch/16/bf16/own/seed9.json",
    }
    assert "report" in stages(planned)


def test_a_new_technique_runs_only_itself_and_the_report(checkout):
    edited(checkout, techniques={"sdpa": {"attention": "sdpa"}})
    planned = checkout.planned()
    together = ("report/", "estimate/")  # of all techniques at once, in seconds
    others = {f for f in planned if "/sdpa" not in f and not f.startswith(together)}
    assert others == set()
    assert {"batch_size/16/sdpa.json", "epoch/16/sdpa/own/seed9.json"} <= planned


def test_the_title_reruns_the_report_only(checkout):
    edited(checkout, report={"title": "Another title"})
    assert stages(checkout.planned()) == {"report"}


def test_a_title_is_text_in_both_reports(checkout):
    """Snakemake reads braces in params as wildcards, and its report puts params into a script."""
    edited(checkout, report={"title": "{2} .. include:: </script><script>alert(1)</script>"})
    assert {"tables", "figures"}.isdisjoint(file.split("/")[1] for file in checkout.planned())
    checkout.run()
    checkout.run("--report", "report.html")
    for name in ("results/tiny/report/index.html", "report.html"):
        text = (checkout.root / name).read_text()
        assert "{2} .. include:: &lt;/script&gt;&lt;script&gt;alert(1)" in text
        assert "<script>alert(1)" not in text


def test_the_language_reruns_the_report_only(checkout):
    edited(checkout, report={"language": "pl"})
    assert stages(checkout.planned()) == {"report"}
    checkout.run()
    page = (checkout.root / "results/tiny/report/index.html").read_text()
    assert '<html lang="pl">' in page
    assert "Sprzęt i oprogramowanie" in page
    checkout.run("--report", "report.html")
    assert "Wszystkie techniki obok siebie" in (checkout.root / "report.html").read_text()


def test_an_earlier_run_to_compare_with_reruns_the_report_only(checkout):
    results = checkout.root / "results"
    for stage in ("batch_size", "profile", "epoch"):
        shutil.copytree(results / "tiny" / stage, results / "before" / stage)
    edited(checkout, report={"compare": ["results/before"]})
    assert stages(checkout.planned()) == {"report"}
    checkout.run()
    table = (results / "tiny/report/tables/earlier.md").read_text()
    assert "largest batch" in table
    assert "made otherwise" not in table
    edited(checkout, report={"compare": ["results/nowhere"]})
    refused = checkout.snakemake("--dry-run")
    assert refused.returncode != 0
    assert "report.compare: results/nowhere is no folder; give" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_translation_reruns_the_report_of_its_language_only(checkout):
    checkout.append("src/vramlab/report/locale/pl.po", "\n# edited\n")
    assert checkout.planned() == set()


def test_the_number_of_profile_steps_reruns_profiles_but_no_search(checkout):
    edited(checkout, measure={"profile_steps": 4})
    assert stages(checkout.planned()) == {"profile", "report"}


def test_attention_reruns_the_model_stages_but_no_data_stage(checkout):
    checkout.append("src/vramlab/model/attention.py", COMMENT)
    assert stages(checkout.planned()) == {"estimate", "batch_size", "profile", "epoch", "report"}


def test_the_tokenizer_reruns_itself_and_what_follows_from_it(checkout):
    checkout.append("src/vramlab/data/tokenizer.py", COMMENT)
    planned = stages(checkout.planned())
    assert {"tokenizer", "sequences", "profile", "epoch", "report"} <= planned
    assert "corpus" not in planned
    assert "batch_size" not in planned  # the search runs on random tokens


def test_the_quality_filter_does_not_download_again(checkout):
    checkout.append("src/vramlab/data/corpus/quality.py", COMMENT)
    planned = checkout.planned()
    assert "corpus/train.jsonl.zst" in planned
    assert not {f for f in planned if f.startswith("corpus/download/")}


def test_the_overlap_policy_reruns_no_quality_filter(checkout):
    edited(checkout, corpus={"overlap": "near"})
    planned = checkout.planned()
    assert {f for f in planned if f.startswith("corpus/")} == {
        "corpus/train.jsonl.zst",
        "corpus/validation.jsonl.zst",
        "corpus/overlap.json",
    }
    assert "tokenizer" in stages(planned)
    assert "batch_size" not in stages(planned)


def test_the_overlap_measurement_reruns_no_quality_filter(checkout):
    checkout.append("src/vramlab/data/corpus/ngrams.py", COMMENT)
    planned = checkout.planned()
    assert "corpus/overlap.json" in planned
    assert not {f for f in planned if f.startswith(("corpus/quality/", "corpus/download/"))}


def test_a_figure_reruns_the_report_only(checkout):
    checkout.append("src/vramlab/report/figures.py", COMMENT)
    assert stages(checkout.planned()) == {"report"}


def test_touching_a_file_reruns_nothing(checkout):
    (checkout.root / "src/vramlab/model/attention.py").touch()
    assert checkout.planned() == set()


def test_a_lost_result_is_made_again_when_asked_for(checkout):
    name = "results/tiny/profile/16/bf16/own.json"
    before = (checkout.root / name).read_bytes()
    (checkout.root / name).unlink()
    checkout.run(name)
    assert (checkout.root / name).read_bytes() != before  # measured anew
