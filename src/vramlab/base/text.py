"""Text of others, such as a server's answer or a file's name, as it may be shown and kept."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Escape codes, line breaks, changes of the writing direction, and what is no Unicode."""
# With the second form a password that holds a slash is found too; a port and a path are none.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^\s/@]*@)+|(?<=://)[^\s/:@]*:(?!\d+/)[^\s@]*@")


def printable(text: str) -> str:
    """`text` on one line, without anything that a terminal would obey: `\\x1b` for an escape."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def without_credentials(text: str) -> str:
    """`text` whose addresses name no user and no password: `http://user:word@host` loses both."""
    return _CREDENTIALS.sub("", text)
