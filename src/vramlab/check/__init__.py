"""Looks for mistakes before anything runs, in about a second and without torch."""
