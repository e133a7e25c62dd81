"""The command `vramlab`: calls Snakemake with the right flags, and checks beforehand."""
