"""Train one technique for whole epochs at one batch size, then validate it."""

from vramlab.stages.epoch import main

if __name__ == "__main__":
    main(snakemake)
