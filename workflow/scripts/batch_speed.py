"""Measure how fast one technique is at several batch sizes."""

from vramlab.stages.batch_speed import main

if __name__ == "__main__":
    main(snakemake)
