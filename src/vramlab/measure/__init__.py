"""Measuring: the largest batch, and a few steps one by one."""
