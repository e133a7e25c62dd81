"""Search the largest batch of one technique."""

from vramlab.stages.batch_size import main

if __name__ == "__main__":
    main(snakemake)
