"""Write the synthetic corpora in the layout of SpeakLeash."""

from pathlib import Path

from vramlab.base.provenance import write_with_provenance
from vramlab.config.corpus import SyntheticSource
from vramlab.data.corpus.synthetic import write_layout
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        sources = {
            split: SyntheticSource.model_validate(source)
            for split, source in snakemake.params.sources.items()
        }
        write_layout(sources, Path(snakemake.output.index).parent)
        write_with_provenance(snakemake.output.record, dict(snakemake.params))


if __name__ == "__main__":
    main(snakemake)
