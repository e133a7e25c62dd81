"""The workflow as a part of another: a module, with a prefix, of a repository; an included file."""

import json
import os
import random
import subprocess
import sys

import pytest
import yaml
from pipeline import TINY, make_checkout

pytestmark = [pytest.mark.workflow]

CONFIGFILE = 'configfile: "config.yaml"\n'
MODULE = (
    CONFIGFILE
    + """
module vramlab:
    snakefile: {snakefile}
    config: config
"""
)
AS = "\nuse rule * from vramlab as vramlab_*\n"
PREFIX = '    prefix: "sub"\n'
HOSTED = 'github("someone/vramlab", path="workflow/Snakefile", tag="v1")'
USES = {
    "module": MODULE + AS,
    "prefix": MODULE + PREFIX + AS,
    "inside": MODULE + PREFIX + AS,  # of a checkout in the folder of the other workflow
    "github": MODULE + AS,
    "include": CONFIGFILE + "include: {snakefile}\n",
}
LETTERS = "aąbcćdeęfghijklłmnńoóprsśtuwyzźż"


class Other:
    """A folder with a workflow that uses this one, and a local corpus."""

    def __init__(self, folder, use="module", more="", config=TINY):
        self.folder = folder / "other"
        self.use = use
        root = self.folder / "vramlab" if use == "inside" else folder / "vramlab"
        make_checkout(root)
        snakefile = repr(str(root / "workflow/Snakefile"))
        self.environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if use == "include":
            snakefile = repr(str(root / "Snakefile"))
        if use == "inside":
            snakefile = repr("vramlab/workflow/Snakefile")
        if use == "github":
            self.host(root)
            snakefile = HOSTED
        self.folder.mkdir(exist_ok=True)
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        (self.folder / "Snakefile").write_text(more + USES[use].format(snakefile=snakefile))
        prefixed = use in {"prefix", "inside"}
        self.results = self.folder / ("sub/results" if prefixed else "results")

    def host(self, root):
        """Let the tag v1 of a repository on GitHub be this checkout."""
        self.root = root
        for words in ("init -q -b main", "add .", "commit -qm All", "tag v1"):
            self.git(*words.split())
        self.environment |= {
            "XDG_CACHE_HOME": str(root.parent / "cache"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{root}.insteadOf",
            "GIT_CONFIG_VALUE_0": "https://github.com/someone/vramlab",
        }

    def git(self, *words):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", "-C", str(self.root), *who, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def snakemake(self, *arguments):
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *arguments):
        done = self.snakemake(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.mark.parametrize("use", USES)
def test_another_workflow_plans_all_jobs(use, tmp_path):
    # Snakemake takes no default target from an included file.
    plan = Other(tmp_path, use).run("-n", *(["all"] if use == "include" else []))
    name = "" if use == "include" else "vramlab_"
    for stage in ("tokenizer", "batch_size", "profile", "epoch", "tables", "page", "all"):
        assert f"\n{name}{stage} " in plan, plan


def test_a_module_that_is_given_its_config_needs_no_file(tmp_path):
    """Not even where the other workflow has a config/config.yaml that is not for this one."""
    other = Other(tmp_path)
    (other.folder / "config").mkdir()
    (other.folder / "config/config.yaml").write_text("a: 1\na: 2\n")
    text = (other.folder / "Snakefile").read_text().removeprefix(CONFIGFILE)
    (other.folder / "Snakefile").write_text(text.replace("config: config", f"config: {TINY!r}"))
    other.run("-n")


@pytest.mark.slow
@pytest.mark.parametrize("use", ["inside", "github", "include"])
def test_another_workflow_runs_the_jobs_in_its_own_folder(use, tmp_path):
    """With a local corpus, whose path is the same with a prefix and without."""
    local = {"source": "local", "path": "books"}
    corpus = {"train": local, "validation": {"source": "split", "share": 0.2}}
    other = Other(tmp_path, use, config={**TINY, "corpus": corpus})
    (other.folder / "books").mkdir()
    draw = random.Random(1)
    for number in range(40):
        words = ["".join(draw.choices(LETTERS, k=draw.randint(2, 9))) for _ in range(60)]
        (other.folder / f"books/{number}.txt").write_text(" ".join(words))
    record = other.results / "tiny/tokenizer/tokenizer.json"
    wanted = str(record.relative_to(other.folder))
    other.run(wanted)
    found = json.loads(record.read_text())
    assert found["vocab_size"] == 300
    if use == "github":
        assert found["provenance"]["commit"] == other.git("rev-parse", "HEAD")
    assert "Nothing to be done" in other.run("-n", wanted)


def test_snakemakes_report_finds_the_captions_under_a_prefix(tmp_path):
    other = Other(tmp_path, "prefix", config={**TINY, "report": {"title": "Of the prefix"}})
    caption = "sub/results/tiny/report/captions/page/overview.rst"
    other.run(caption)
    other.run(caption, "--report", "report.html")
    assert "Of the prefix" in (other.folder / "report.html").read_text()


def test_a_checkpoint_is_under_the_prefix(tmp_path):
    """Two modules with a prefix each may have the same experiment."""
    other = Other(tmp_path, "prefix")
    with (other.folder / "Snakefile").open("a") as stream:
        stream.write("\nprint(rules.vramlab_epoch.params.checkpoint)\n")
    assert "\nsub/results/tiny/checkpoints/" in "\n" + other.run("-n")


@pytest.mark.slow
def test_a_new_commit_of_a_branch_reruns_what_depends_on_it(tmp_path):
    other = Other(tmp_path, "github")
    text = (other.folder / "Snakefile").read_text()
    (other.folder / "Snakefile").write_text(text.replace('tag="v1"', 'branch="main"'))
    other.run("results/tiny/corpus/train.json")
    with (tmp_path / "vramlab/src/vramlab/stages/quality.py").open("a") as stream:
        stream.write("# changed\n")
    other.git("commit", "-qam", "Change")
    plan = other.run("-n", "results/tiny/corpus/train.json")
    assert "\nvramlab_quality " in plan
    assert "\nvramlab_synthetic " not in plan


OWN_RULES = """
rule first:
    output:
        "mine.txt",
    params:
        checkpoint="precious",
    script:
        "mine.py"

"""


def test_the_jobs_of_the_other_workflow_are_left_alone(tmp_path):
    """The first rule is its own; a folder that it calls checkpoint is not deleted."""
    other = Other(tmp_path, more=OWN_RULES)
    (other.folder / "mine.py").write_text("open(snakemake.output[0], 'w').close()\n")
    (other.folder / "precious").mkdir()
    (other.folder / "precious/weights").write_text("1")
    assert "vramlab_page" not in other.run()
    assert (other.folder / "precious/weights").exists()
    # Snakemake itself trusts an output whose notes are lost.
    (other.folder / ".snakemake").rename(other.folder / "lost")
    assert "Nothing to be done" in other.run("-n", "mine.txt")


def test_one_sentence_says_what_a_module_cannot_be_used_from(tmp_path):
    other = Other(tmp_path, "github")
    text = (other.folder / "Snakefile").read_text()
    (other.folder / "Snakefile").write_text(text.replace("workflow/Snakefile", "Snakefile"))
    done = other.snakemake("-n")
    assert done.returncode == 1
    assert "name the file workflow/Snakefile of the repository" in done.stderr
    assert "Traceback" not in done.stderr
