"""The result files: small JSON, one record each, the only thing that the report reads."""
