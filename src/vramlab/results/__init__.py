"""The result files: small JSON files with one record each; the report reads nothing else."""
