"""Take over one corpus from local files."""

from vramlab.stages import local
from vramlab.stages.frame import stage


def main(snakemake):
    with stage(snakemake):
        params = dict(snakemake.params.items())
        local.run(params, snakemake.output.corpus, snakemake.output.record)


if __name__ == "__main__":
    main(snakemake)
