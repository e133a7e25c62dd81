"""Profile a few steps of one technique at one batch size."""

from vramlab.stages.profile import main

if __name__ == "__main__":
    main(snakemake)
