"""What plain `snakemake` is given with --configfile, before it reads it."""

import pytest

from vramlab.command import given_files


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("t.yaml", "u.yaml", "no_ending", "results/mine/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"a": 1}\n')
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    (tmp_path / "date.yaml").write_text("a: 2026-13-45\n")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff\n")
    (tmp_path / "deep.yaml").write_text("[" * 20_000 + "]" * 20_000)
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "folder.yaml").mkdir()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("--configfile missing.yaml", "missing.yaml: cannot be read (No such file or directory)"),
        ("-n --configfiles missing.yaml -c1", "missing.yaml: cannot be read"),
        ("--configfile=missing.yaml all", "missing.yaml: cannot be read"),
        ("--configfile t.yaml missing.yaml", "missing.yaml: cannot be read"),
        ("--configfile broken.yaml", "broken.yaml: is no valid YAML (line 2, column 1"),
        ("--configfile date.yaml", "date.yaml: "),
        ("--configfile bytes.yaml", "bytes.yaml: is not in UTF-8 (byte 3)"),
        ("--configfile deep.yaml", "deep.yaml: is nested too deep"),
        ("--configfile list.yaml", "list.yaml: holds no mapping"),
        ("--configfile folder.yaml", "folder.yaml: cannot be read (Is a directory)"),
        (
            "--configfile t.yaml estimate -n",
            "estimate: is read as a file behind --configfile, which takes all names that follow it;"
            " write it first, as in `snakemake estimate --configfile t.yaml`, or use `vramlab run`",
        ),
        ("--configfile t.yaml u.yaml estimate report", "estimate and report: are read as files"),
        # What has been made is a target all the same.
        ("--configfile t.yaml results/mine/a.json", "results/mine/a.json: is read as a file"),
        ("--configfile t.yaml results", "results: is read as a file"),
        ("--configfile t.yaml --config a=1 --configfile missing.yaml", "missing.yaml: cannot"),
    ],
)
def test_what_snakemake_would_end_in_a_traceback_over_is_one_sentence(given, says):
    with pytest.raises(SystemExit) as ended:
        given_files.refuse(given.split())
    text = str(ended.value.code)
    assert text.startswith(f"vramlab: {says}")
    assert "\n" not in text


@pytest.mark.parametrize(
    "given",
    [
        "",
        "-n --cores 2 estimate",
        "estimate --configfile t.yaml",
        "--configfile t.yaml u.yaml no_ending -n",
        "--configfile=t.yaml estimate",
        "--config a=1 --configfile t.yaml -- estimate",
        "--configfile t.yaml -n -- missing.yaml",
        "--configfile missing.yaml --configfile t.yaml",  # the last one holds
    ],
)
def test_what_snakemake_can_read_is_left_to_it(given):
    given_files.refuse(given.split())
