"""Two real Polish corpora, fetched over HTTP by the shipped configuration."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from pipeline import ROOT
from servers import FaultyServer

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CORPORA = ROOT.parent / "shared" / "speakleash"


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the real corpora are not beside the checkout")
def test_the_shipped_configuration_on_real_corpora(fresh):
    config = yaml.safe_load((fresh.root / "config/config.yaml").read_text())
    experiment = config["experiment"]
    with FaultyServer(CORPORA) as server:
        for split, name in [
            ("train", "eltec_pol_wolnelektury"),
            ("validation", "eltec_pol_other"),
        ]:
            config["corpus"][split] |= {"name": name, "base": server.base}
        fresh.configure(config)
        results = Path("results", experiment)
        fresh.run(str(results / "tokenizer/tokenizer.json"))
    folder = fresh.root / results

    def record(name):
        return json.loads((folder / name).read_text())

    assert record("corpus/train.json")["kept"] == 37
    assert record("corpus/validation.json")["kept"] == 43
    tokenizer = record("tokenizer/tokenizer.json")
    assert tokenizer["vocab_size"] == 12_000
    assert min(tokenizer["coverage"].values()) > 0.998
    for split, expected in {"train": 28_000, "validation": 25_000}.items():
        sequences = record(f"sequences/{split}.json")
        assert sequences["sequences"]["256"] == pytest.approx(expected, rel=0.1)
        stream = np.load(folder / f"sequences/{split}.npy", mmap_mode="r")
        assert len(stream) == sequences["tokens"]
        assert stream.dtype == np.uint16
        assert (stream == 2).sum() == sequences["documents"] + 1  # the separators and no more
        assert not (stream == 3).any()
        assert stream.max() < 12_000
