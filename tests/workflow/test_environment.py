"""What surrounds a run: a password, limits of the system, folders that are missing, its files."""

import base64
import contextlib
import os
import resource
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from marks import some
from pipeline import ROOT, TINY
from snakemake.settings.types import ConfigSettings

from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.synthetic import write_layout

pytestmark = pytest.mark.workflow

CORPUS = "results/tiny/corpus"
SECRET = "s3cret-word"


def run(checkout, *arguments, limits=None, **environment):
    command = [sys.executable, "-m", "snakemake", "--configfile", "test.yaml", "--cores", "2"]
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [*command, *arguments],
        cwd=checkout.root,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limits,
    )


@contextlib.contextmanager
def guarded(folder):
    """The address of a server that wants a password."""
    wanted = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self):
            if self.headers["Authorization"] == wanted:
                return super().do_GET()
            self.send_response(401)
            self.send_header("Content-Length", "0")
            return self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_password_reaches_the_server_and_no_file(fresh, tmp_path):
    write_layout({"books": SyntheticSource(source="synthetic", documents=5)}, tmp_path / "served")
    with guarded(tmp_path / "served") as address:
        source = {"source": "speakleash", "name": "books", "base": f"http://me:{SECRET}@{address}"}
        corpus = {"train": source, "validation": {"source": "split", "share": 0.2}}
        fresh.configure({**TINY, "corpus": corpus})
        done = run(fresh, f"{CORPUS}/download/train.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    (fresh.root / "test.yaml").unlink()
    files = [path for path in fresh.root.rglob("*") if path.is_file()]
    assert any(path.parent.name == "metadata" for path in files)  # of Snakemake
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_limit_on_the_size_of_files_is_one_sentence(fresh):
    def limits():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))

    large = {"source": "synthetic", "documents": 2000, "words": 100, "seed": 1}
    fresh.configure({**TINY, "corpus": {**TINY["corpus"], "train": large}})
    done = run(fresh, f"{CORPUS}/download/train.jsonl.zst", limits=limits)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "raise the limit of the size of files (ulimit -f)" in said
    assert "Traceback" not in said
    assert not list((fresh.root / CORPUS).rglob("*.jsonl.zst"))


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_temporary_folder_that_cannot_be_used_is_not_needed(fresh, tmp_path, kind):
    place = tmp_path / "tmp"
    if kind == "a file":
        place.touch()
    fresh.configure(TINY)
    done = run(fresh, f"{CORPUS}/download/train.json", TMPDIR=str(place))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"experiment: \xff\n", "is not in UTF-8"),
        (b"[" * 20_000 + b"]" * 20_000, "nested too deep"),
        (None, "Is a directory"),
    ],
    ids=["not UTF-8", "deep", "folder"],
)
def test_the_configuration_of_the_checkout_is_read_with_care(fresh, content, said):
    place = fresh.root / "config/config.yaml"
    place.unlink()
    if content is None:
        place.mkdir()
    else:
        place.write_bytes(content)
    command = [sys.executable, "-m", "snakemake", "-n", "--cores", "1"]
    done = subprocess.run(command, cwd=fresh.root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"a: \xff\n", UnicodeDecodeError),
        (b"[" * 20_000 + b"]" * 20_000, RecursionError),
        (None, IsADirectoryError),
        (b"a: 2026-13-45", ValueError),
        ("missing", FileNotFoundError),
    ],
    ids=["not UTF-8", "deep", "folder", "no date", "missing"],
)
def test_snakemake_reads_another_configuration_before_the_snakefile(tmp_path, content, error):
    """Why the profiles look first: where this fails, Snakemake says it by now."""
    place = tmp_path / "mine.yaml"
    if content is None:
        place.mkdir()
    elif isinstance(content, bytes):
        place.write_bytes(content)
    with pytest.raises(error):
        ConfigSettings(configfiles=[place])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--configfile", "missing.yaml"), "missing.yaml: cannot be read (No such file"),
        (("-n", "--configfile", "broken.yaml"), "broken.yaml: is no valid YAML (line 2"),
        (("--configfile", "test.yaml", "estimate"), "estimate: is read as a file behind"),
        (("--profile", "slurm", "--configfile", "none.yaml"), "none.yaml: cannot"),
        (("--workflow-profile", "demo", "--configfile", "none.yaml"), "none.yaml: cannot"),
    ],
    ids=["missing", "broken", "target", "slurm", "demo"],
)
@pytest.mark.parametrize("folder", some(["checkout", "elsewhere"], shown={"checkout"}))
def test_what_is_given_with_configfile_is_looked_at_before_snakemake_reads_it(
    fresh, tmp_path, arguments, says, folder
):
    """By the template in the profile, which needs no package that is installed."""
    place = fresh.root if folder == "checkout" else tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / "broken.yaml").write_text("a: [1\n")
    (place / "test.yaml").write_text((fresh.root / "test.yaml").read_text())
    named = () if folder == "checkout" else ("--snakefile", str(fresh.root / "Snakefile"))
    profile = {name: str(fresh.root / "profiles" / name) for name in ("slurm", "demo")}
    done = plain(place, *named, *(profile.get(argument, argument) for argument in arguments))
    assert done.returncode == 1
    said = [s for s in done.stderr.splitlines() if not s.startswith("Using ")]
    assert len(said) == 1
    assert said[0].startswith(f"vramlab: {says}")
    assert done.stdout == ""


def test_the_profiles_look_at_configurations_alike():
    default, demo = (
        yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())
        for name in ("default", "demo")
    )
    keys = ("__use_yte__", "__definitions__")
    assert [default[key] for key in keys] == [demo[key] for key in keys]


def test_another_workflow_keeps_its_own_configurations(fresh, tmp_path):
    """Though it takes this profile: what its files hold is not vramlab's to judge."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "Snakefile").write_text("rule all:\n    localrule: True\n")
    (other / "twice.yaml").write_text("a: 1\na: 2\n")
    profile = ("--workflow-profile", str(fresh.root / "profiles/default"))
    done = plain(other, *profile, "-n", "--configfile", "twice.yaml")
    assert done.returncode == 0, done.stderr
    done = plain(other, *profile, "-n", "--configfile", "missing.yaml")
    assert done.returncode == 1
    assert "vramlab" not in done.stderr.replace(str(fresh.root), "")


def test_where_the_look_at_configurations_cannot_be_imported_snakemake_goes_on(fresh):
    code = fresh.root / "src/vramlab/command/given_files.py"
    code.write_text("import no_such_package\n")
    assert run(fresh, "-n").returncode == 0


def plain(folder, *arguments):
    """Snakemake where the package vramlab is not installed."""
    hidden = (
        "import sys; sys.path = [p for p in sys.path if not p.endswith('/src')];"
        "import importlib.util as u; assert u.find_spec('vramlab') is None;"
        "from snakemake.cli import main; main()"
    )
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-c", hidden, *arguments],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_report_before_any_run_is_one_sentence(fresh):
    done = run(fresh, "--report", "r.html")
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("vramlab:")]
    [sentence] = said
    assert "the experiment has not been run; run the same command without --report" in sentence
    assert "marked for report" not in done.stdout + done.stderr


@pytest.mark.parametrize("package", ["grimp", "orjson", "babel"])
def test_a_package_that_is_missing_where_snakemake_runs_is_one_sentence(package, fresh, tmp_path):
    (tmp_path / f"{package}.py").write_text(
        f"raise ModuleNotFoundError('none', name={package!r})\n"
    )
    fresh.configure({**TINY, "report": {"language": "pl"}})
    done = run(fresh, "-n", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert f"vramlab: the package {package} is not installed where Snakemake runs" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
