"""Predict the memory of one technique, without a GPU."""

from vramlab.stages.estimates import main

if __name__ == "__main__":
    main(snakemake)
