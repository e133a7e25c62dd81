"""What a tokenizer.json says, and each way in which it can be none; no package is needed."""

import json
import subprocess
import sys

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers_for_tests import FILES, tokenizer_json

from vramlab.base.errors import ConfigError
from vramlab.config.tokenizer_file import files_of, read, vocabulary_of


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tokenizer.json of each kind."""
    base = tmp_path_factory.mktemp("files")
    return {kind: tokenizer_json(base / kind, kind) for kind in FILES}


@pytest.fixture
def path(files, tmp_path):
    """A byte-level one that a test may change."""
    copy = tmp_path / "tokenizer.json"
    copy.write_bytes(files["byte-level"].read_bytes())
    return copy


def change(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refused(path, *says, **keys):
    with pytest.raises(ConfigError) as error:
        read(path, **keys)
    sentence = str(error.value)
    assert all(part in sentence for part in (str(path), *says)), sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("kind", FILES)
def test_the_vocabulary_is_the_largest_id_and_one(files, kind):
    largest = max(Tokenizer.from_file(str(files[kind])).get_vocab().values())
    assert vocabulary_of(files[kind]) == read(files[kind]).vocab_size == largest + 1


def test_added_tokens_are_in_the_vocabulary(path):
    tokenizer = Tokenizer.from_file(str(path))
    before = vocabulary_of(path)
    tokenizer.add_special_tokens(["<|im_end|>"])
    tokenizer.add_tokens([AddedToken("zażółć")])
    tokenizer.save(str(path))
    assert vocabulary_of(path) == before + 2 == len(tokenizer.get_vocab())


@pytest.mark.parametrize(
    ("kind", "eos", "pad"),
    [
        ("byte-level", "<|endoftext|>", "<|endoftext|>"),
        ("WordPiece", "[SEP]", "[PAD]"),
        ("Unigram", "</s>", "<pad>"),
    ],
)
def test_usual_names_are_found(files, kind, eos, pad):
    known = Tokenizer.from_file(str(files[kind])).token_to_id
    found = read(files[kind])
    assert (found.eos, found.pad) == (known(eos), known(pad))


def test_the_end_of_a_document_goes_before_that_of_a_turn(path):
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(["<|im_end|>", "</s>"])
    tokenizer.save(str(path))
    assert read(path).eos == tokenizer.token_to_id("<|endoftext|>")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("form", [str, lambda text: {"content": text, "lstrip": False}])
def test_a_file_beside_it_names_the_special_tokens(files, tmp_path, name, form):
    path = tokenizer_json(tmp_path, "Unigram")
    special = {"eos_token": form("<s>"), "pad_token": form("<unk>"), "model_max_length": 5}
    (tmp_path / name).write_text(json.dumps(special))
    found = read(path)
    assert (found.eos, found.pad) == (1, 0)
    assert files_of(path) == [path, tmp_path / name]
    assert read(path, eos="</s>", pad="<pad>").eos == 2
    assert read(path, eos="</s>", pad="<pad>").pad == 3


def test_a_file_beside_it_that_names_none_changes_nothing(path):
    (path.parent / "tokenizer_config.json").write_text('{"eos_token": null, "pad_token": null}')
    assert read(path).eos == read(path).pad == 0


def test_an_ordinary_token_may_end_documents(path):
    token = next(iter(json.loads(path.read_text())["model"]["vocab"].items()))
    assert read(path, eos=token[0]).eos == token[1]


def test_a_missing_file(tmp_path):
    refused(tmp_path / "tokenizer.json", "cannot be read (No such file or directory); give a")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder; name the tokenizer.json in it")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is no JSON"),
        (b"\x0a\x80model", "is no JSON"),
        (b'{"model": ', "is no JSON"),
        (b"[" * 2000, "is no JSON"),
        (b"[1]", "is no JSON object"),
        (b"{}", "is no tokenizer of the package tokenizers"),
        (b'{"model": {"vocab": {}}}', "is no tokenizer of the package tokenizers"),
        (b'{"model": {"vocab": {"a": "0"}}}', "is no tokenizer of the package tokenizers"),
        (b'{"model": {"vocab": {"a": -1}}}', "is no tokenizer of the package tokenizers"),
        (b'{"model": {"vocab": [["a"]]}}', "is no tokenizer of the package tokenizers"),
        (b'{"model": {"vocab": "abc"}}', "is no tokenizer of the package tokenizers"),
        (b'{"model": {"vocab": {"a": 0}}, "added_tokens": [{}]}', "is no tokenizer of the pack"),
        (b'{"model_type": "llama", "vocab_size": 32000}', "is no tokenizer of the package"),
    ],
)
def test_a_file_that_is_no_tokenizer(tmp_path, content, says):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    refused(path, says, "give a tokenizer.json")


def test_a_tokenizer_without_an_end_of_text(tmp_path):
    path = tokenizer_json(tmp_path, eos="<|begin|>")
    refused(path, "says of no token that it ends a document; set tokenizer.eos", "'<|begin|>'")
    assert read(path, eos="<|begin|>").eos == 0


def test_a_tokenizer_without_added_tokens(path):
    change(path, lambda content: content.update(added_tokens=[]))
    refused(path, "set tokenizer.eos", "it has no added tokens; see its model.vocab")


@pytest.mark.parametrize("key", ["eos", "pad"])
def test_a_token_that_it_does_not_have(path, key):
    keys = {key: "<|endoftxt|>"}
    refused(path, f"tokenizer.{key} is '<|endoftxt|>'", "does not have", "'<|endoftext|>'", **keys)


def test_a_file_beside_it_that_names_a_token_it_does_not_have(path):
    beside = path.parent / "tokenizer_config.json"
    beside.write_text('{"eos_token": "<|im_end|>"}')
    refused(path, str(beside), "'<|im_end|>' as eos_token", "set tokenizer.eos")
    beside.write_text("{")
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json: is no JSON"):
        read(path)


def test_an_id_that_no_stream_holds(path):
    change(path, lambda content: content["added_tokens"][0].update(id=2**31))
    refused(path, f"has the token id {2**31}")


def test_many_added_tokens_are_not_all_listed(path):
    def many(content):
        one = content["added_tokens"][0]
        content["added_tokens"] = [one | {"content": f"<{i}>", "id": i} for i in range(300)]

    change(path, many)
    refused(path, "'<7>', ...")


def test_it_is_read_without_the_package(files):
    """An estimate needs the size of the vocabulary only."""
    code = (
        "import sys; sys.modules['tokenizers'] = None;"
        "from vramlab.config.tokenizer_file import read; print(read(sys.argv[1]).vocab_size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(files["byte-level"])],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) == vocabulary_of(files["byte-level"])
