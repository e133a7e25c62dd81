"""Looks for mistakes before anything runs: in a second, and with torch only to make a model."""
