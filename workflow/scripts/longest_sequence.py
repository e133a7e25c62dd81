"""Search for the longest sequence of one technique."""

from vramlab.stages.longest_sequence import main

if __name__ == "__main__":
    main(snakemake)
