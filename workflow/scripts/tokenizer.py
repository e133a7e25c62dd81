"""Train the tokenizer on the training corpus."""

from pathlib import Path

from vramlab.base.provenance import write_with_provenance
from vramlab.config.tokenizer import TokenizerConfig
from vramlab.data import tokenizer
from vramlab.data.corpus.documents import read_documents
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        tokenizer.train(
            read_documents(Path(snakemake.input.train)),
            TokenizerConfig.model_validate(snakemake.params.tokenizer),
            Path(snakemake.output[0]),
        )
        write_with_provenance(snakemake.output.record, dict(snakemake.params))


if __name__ == "__main__":
    main(snakemake)
