"""Print a table."""

from pathlib import Path


def main(snakemake):
    print(Path(snakemake.input.table).read_text("utf-8"))


if __name__ == "__main__":
    main(snakemake)
