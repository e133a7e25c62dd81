"""Targets of the loss."""

from __future__ import annotations

IGNORED = -100
"""The target of a position that adds nothing to the loss, such as padding.

It is the `ignore_index` that torch's losses have by default, and no token id: a tokenizer may have
no padding token, or pad with one that also ends documents.
"""
