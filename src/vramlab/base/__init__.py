"""What every module may use: errors, files, progress, provenance."""
