"""Predict the memory of all techniques, without a GPU."""

from vramlab.stages.estimates import main

if __name__ == "__main__":
    main(snakemake)
