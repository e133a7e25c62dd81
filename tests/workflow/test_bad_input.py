"""Bad input through the whole workflow: one clear sentence, a non-zero exit, nothing half-made."""

import copy
import json

import pytest
import torch
from backports import zstd
from pipeline import TINY

from vramlab.base.files import sha256
from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.synthetic import write_layout

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

TRAIN = "results/tiny/corpus/train.jsonl.zst"


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """A folder in the layout of SpeakLeash with one small data set, `books`."""
    folder = tmp_path_factory.mktemp("layout")
    write_layout({"books": SyntheticSource(source="synthetic", documents=30, words=40)}, folder)
    return folder


@pytest.fixture
def copied(layout, tmp_path):
    """A copy of the layout that a test may damage."""
    folder = tmp_path / "layout"
    folder.mkdir()
    for path in layout.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def config(folder=None, **changes):
    result = copy.deepcopy(TINY)
    if folder is not None:
        source = {"source": "speakleash", "name": "books", "base": folder.as_uri()}
        result["corpus"] = {"train": dict(source), "validation": dict(source)}
    for dotted, value in changes.items():
        section = result
        *parents, key = dotted.split("__")
        for parent in parents:
            section = section.setdefault(parent, {})
        section[key] = value
    return result


def rewrite(folder, change):
    """Apply `change` to the lines of the data set, and keep what the manifest says true."""
    path = folder / "books.jsonl.zst"
    lines = zstd.decompress(path.read_bytes()).splitlines()
    damaged = b"\n".join(change(lines)) + b"\n"
    path.write_bytes(zstd.compress(damaged))
    resize(folder)


def resize(folder):
    manifest = folder / "books.manifest"
    content = json.loads(manifest.read_text())
    content["file_size"] = (folder / "books.jsonl.zst").stat().st_size
    content["sha256"] = sha256(folder / "books.jsonl.zst")
    manifest.write_text(json.dumps(content))


def refused(checkout, target, *says):
    done = checkout.snakemake(target)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    sentence = [line for line in output.splitlines() if all(part in line for part in says)]
    assert sentence, output
    assert "Traceback" not in output
    assert not (checkout.root / target).exists()
    return sentence[0]


def test_a_mistyped_key(fresh):
    fresh.configure(config(tokenzier={}))
    refused(fresh, TRAIN, "test.yaml", "'tokenzier'", "'tokenizer'")


def test_an_unknown_data_set(fresh, layout):
    fresh.configure(config(layout, corpus__train__name="boks"))
    refused(fresh, TRAIN, "boks", "books")


def test_a_wrong_checksum(fresh, layout):
    fresh.configure(config(layout, corpus__train__sha256="0" * 64))
    refused(fresh, TRAIN, "sha256", "0" * 8)


def test_a_corrupt_archive(fresh, copied):
    path = copied / "books.jsonl.zst"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    fresh.configure(config(copied))
    refused(fresh, TRAIN, "books.jsonl.zst", "has the SHA-256", "as its manifest says")


def test_a_bad_json_line(fresh, copied):
    rewrite(copied, lambda lines: [*lines[:4], b'{"text": ', *lines[5:]])
    fresh.configure(config(copied))
    refused(fresh, TRAIN, "line 5", "JSON")


def test_no_document_of_the_wanted_quality(fresh, copied):
    rewrite(copied, lambda lines: [line.replace(b'"HIGH"', b'"LOW"') for line in lines])
    fresh.configure(config(copied))
    refused(fresh, TRAIN, "HIGH", "LOW")


def test_a_vocabulary_too_large_for_the_corpus(fresh, layout):
    fresh.configure(config(layout, tokenizer__vocab_size=100_000))
    refused(fresh, "results/tiny/tokenizer/tokenizer.model", "100000", "vocab_size")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_gpu(fresh):
    fresh.configure(config(measure__device="cuda"))
    refused(fresh, "results/tiny/batch_size/16/fp32.json", "CUDA", "measure.device")


def test_a_cap_under_one_sequence_is_a_result_with_its_reason(fresh):
    fresh.configure(config(measure__memory_limit_gib=0.0001))
    target = "results/tiny/batch_size/16/fp32.json"
    fresh.run(target)
    record = json.loads((fresh.root / target).read_text())
    assert record["status"] == "out_of_memory"
    assert "memory_limit_gib" in record["reason"]
