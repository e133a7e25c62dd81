"""The command `vramlab`: what it calls, and what it says where it cannot."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from pipeline import ROOT, TINY

from vramlab.command import main as command
from vramlab.command import workflow
from vramlab.config import experiment
from vramlab.config.command_line import values, with_sections


class _Became(Exception):
    pass


@pytest.fixture
def called(monkeypatch, tmp_path):
    """A function that runs the command, and returns the arguments that Snakemake would get."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(TINY))

    def become(line):
        raise _Became(line)

    monkeypatch.setattr(workflow, "become", become)

    def run(*arguments):
        with pytest.raises(_Became) as caught:
            command.main(arguments)
        python, *line = caught.value.args[0]
        assert python == sys.executable
        assert line[:4] == ["-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        return line[4:]

    return run


def test_run_and_report_pass_everything_on(called):
    assert called("run", "-n", "--cores", "2") == ["-n", "--cores", "2"]
    assert called("run", "--configfile", "t.yaml", "estimate") == [
        *("estimate", "--configfile", "t.yaml")
    ]
    assert called("report", "--configfile", "t.yaml", "-n") == [
        *("report", "-n", "--configfile", "t.yaml")
    ]


def test_another_snakefile_is_left_to_the_user(called, monkeypatch):
    with pytest.raises(_Became) as caught:
        command.main(["run", "-s", "Other", "-n"])
    assert caught.value.args[0][1:] == ["-m", "snakemake", "-s", "Other", "-n"]


def configured(line):
    """The configuration that a call of `vramlab estimate` leads to."""
    files = line[line.index("--configfile") + 1 : line.index("--config")]
    given = values(line[line.index("--config") + 1 :])
    raw = {}
    for file in files:
        raw |= yaml.safe_load(Path(file).read_text("utf-8"))
    raw |= given
    return experiment.parse(with_sections(raw, given))


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "models" / 'My model {1.5} "x"'
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 1234}))
    return str(folder)


def test_estimate_asks_the_question_of_the_options(called, model):
    line = called("estimate", "--model", model, "--length", "4096", "--card", "24", "-n")
    assert line[0] == "estimate"
    assert "-n" in line
    config = configured(line)
    assert config.model.path == model
    assert config.model.vocabulary == "own"
    assert config.vocab_size == 1234
    assert config.sequence_length == 4096
    assert config.estimate.cards == (24,)
    assert config.experiment.startswith("estimate-My-model")
    assert {"bf16", "checkpointing", "lora", "qlora"} <= set(config.techniques)
    assert experiment.check_files(config) == 1234


def test_estimate_takes_the_techniques_of_a_file(called, model):
    config = configured(called("estimate", "--model", model, "--configfile", "t.yaml"))
    assert config.experiment == "tiny"
    assert set(config.techniques) == set(TINY["techniques"])
    assert config.model.path == model
    config = configured(called("estimate", "--card", "8", "--card", "16", "--configfile", "t.yaml"))
    assert config.model.d_model == 16
    assert config.estimate.cards == (8, 16)


def test_a_model_asks_for_nothing_that_it_says_itself(called, model, tmp_path):
    """Neither for a corpus nor for a vocabulary, of which the file's is larger than its own."""
    (tmp_path / "few.yaml").write_text("tokenizer: {vocab_size: 5000}\ntechniques: {fp32: {}}\n")
    config = configured(called("estimate", "--model", model, "--configfile", "few.yaml"))
    assert experiment.check_files(config) == 1234
    assert set(config.techniques) == {"fp32"}
    assert config.experiment.startswith("estimate-My-model")
    (tmp_path / "few.yaml").write_text("tokenizer: {source: file, path: none.json}\n")
    config = configured(called("estimate", "--model", model, "--configfile", "few.yaml"))
    assert experiment.check_files(config) == 1234
    assert {"bf16", "qlora"} <= set(config.techniques)
    assert config.baseline == "fp32"


def test_code_that_makes_a_model_takes_the_vocabulary_of_a_file(called, tmp_path):
    (tmp_path / "mine.py").write_text("def make_model(tokens): ...")
    (tmp_path / "few.yaml").write_text("tokenizer: {vocab_size: 5000}\n")
    config = configured(called("estimate", "--model", "mine.py", "--configfile", "few.yaml"))
    assert config.vocab_size == 5000


def test_a_tokenizer_of_the_command_line_holds(called, model):
    given = ("--config", "tokenizer={source: sentencepiece, vocab_size: 99}")
    assert configured(called("estimate", "--model", model, *given)).vocab_size == 99


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_without_a_command_there_is_help(capsys, arguments):
    assert command.main(arguments) == 0
    said = capsys.readouterr()
    assert all(f"\n{name} " in said.out for name in command.COMMANDS)
    assert not said.err


@pytest.mark.parametrize("name", ["run", "report"])
def test_a_command_explains_itself(capsys, name):
    assert command.main([name, "-n", "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: vramlab {name}")
    assert "--configfile FILE" in said


def test_a_target_of_any_other_name_is_snakemakes(called, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").touch()
    assert called("run", "results/a.json", "estimate", "--cores", "1") == [
        *("results/a.json", "estimate", "--cores", "1")
    ]


def test_what_the_user_gives_holds(called, model):
    line = called("estimate", "--model", model, "--config", "experiment=mine", "--quiet", "rules")
    assert configured(line).experiment == "mine"
    assert line.count("--quiet") == 1


def test_estimate_shows_its_progress_and_its_plan_as_run_does(called, model):
    assert "--quiet" not in called("estimate", "--model", model, "-n")


@pytest.mark.parametrize(
    ("model", "source"), [("gpt2", "transformers"), ("Qwen/Qwen2.5-0.5B", "transformers")]
)
def test_a_name_on_the_hub(called, model, source):
    config = configured(called("estimate", "--model", model))
    assert (config.model.source, config.model.path) == (source, model)


def test_a_configuration_that_is_named_by_itself_stands_for_its_folder(called, model):
    config = configured(called("estimate", "--model", f"{model}/config.json"))
    assert config.model.path == model
    assert config.experiment == configured(called("estimate", "--model", model)).experiment


def test_a_python_file(called, tmp_path):
    (tmp_path / "mine.py").write_text("def make_model(tokens): ...")
    config = configured(called("estimate", "--model", "mine.py"))
    assert (config.model.source, config.model.path) == ("python", "mine.py")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--configfile", "none.yaml"], "none.yaml: cannot be read (No such file"),
        (["estimate", "--configfile", "none.yaml"], "none.yaml: cannot be read (No such file"),
        (["report", "--configfile", "bad.yaml"], "bad.yaml: holds a value that is none"),
        (["check", "--configfile", "none.yaml"], "none.yaml: cannot be read (No such file"),
        (["check"], "config/config.yaml: cannot be read (No such file"),
        (["estimate", "--model", "./none"], "model.path none: there is no such folder"),
        (["estimate", "--model", "none.py"], "model.path none.py: there is no such file"),
        (["estimate", "--model", ""], "--model ''"),
        (["run", "t.yaml", "-n"], "t.yaml: stands by itself; write --configfile before it"),
        (["check", "t.yaml"], "t.yaml: stands by itself; write --configfile before it"),
        (["report", "-n", "none.yml"], "none.yml: stands by itself; write --configfile before"),
        (["t.yaml"], "t.yaml: stands by itself; write --configfile before it"),
        (["estimate", "M"], "M: stands by itself; write --model before it"),
        (["run", "--configfile"], "--configfile: no file stands behind it"),
        (["run", "--cores"], "argument --cores/-c: expected one argument"),
        (["run", "--cores", "x"], "Error parsing number of cores"),
        (["run", "--confgfile", "t.yaml"], "there is no option '--confgfile'; did you mean '--con"),
        (["run", "-Z"], "there is no option '-Z'; leave it out"),
        (["run", "--config", "a=1"], "--config 'a=1': is no KEY=VALUE"),
        (["run", "--rerun-triggers", "x"], "argument --rerun-triggers: invalid choice: 'x'"),
        (["check", "--confg"], "there is no option '--confg'; did you mean '--config'?"),
        (["check", "--confgfile", "t.yaml"], "there is no option '--confgfile'; did you mean '--c"),
        (["check", "--confgfile=t.yaml"], "there is no option '--confgfile'; did you mean '--con"),
        (["estimate", "--confgfile", "t.yaml"], "there is no option '--confgfile'; did you mean"),
        (
            ["estimate", "--modle", "M"],
            "there is no option '--modle'; did you mean '--mode' or '--",
        ),
        (["report", "--confgfile=t.yaml"], "there is no option '--confgfile'; did you mean '--co"),
        (["run", "--configfile", "empty.yaml", "-n"], "empty.yaml: holds no mapping of keys to"),
        (["run", "--configfile", "list.yaml"], "list.yaml: holds no mapping of keys to values"),
        (["estimate", "--model", "{"], "--model: path '{' is no folder, and no name that the hub"),
        (["check", "all"], "all: nothing takes such an argument here"),
        (["estimate", "--model"], "argument --model: expected one argument"),
        (["estimate", "--length", "4k"], "argument --length: invalid int value: '4k'"),
        (
            ["estimate", "--card", "24", "--card", "0"],
            "--card 0 should be greater than or equal to 2;",
        ),
        (["estimate", "--card", "nan"], "--card nan should be a finite number; change it"),
        (["estimate", "--length", "0"], "--length 0 should be greater than or equal to 2; change"),
        (["estimate", "--lenght", "5"], "there is no option '--lenght'; did you mean '--length'?"),
        (["rum"], "there is no command 'rum'; did you mean 'run'?"),
        (["-n", "run"], "-n: a command belongs before it, as in `vramlab run -n run`"),
    ],
)
def test_what_is_missing_is_one_sentence(called, capsys, tmp_path, arguments, says):
    (tmp_path / "bad.yaml").write_text("a: 2026-13-45")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "M").mkdir()
    (tmp_path / "M" / "config.json").write_text("{}")
    assert command.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"vramlab: {says}")
    assert said.count("\n") == 1
