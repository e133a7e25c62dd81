"""Utilities for all modules: errors, files, progress, provenance."""
