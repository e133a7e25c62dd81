"""Make untrusted text, such as a server's response or a file name, safe to show and store."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Escape codes, line breaks, bidirectional controls and lone surrogates."""
# The second form also matches a password that contains a slash, but not a port with a path.
_CREDENTIALS = re.compile(r"(?<=://)(?:[^\s/@]*@)+|(?<=://)[^\s/:@]*:(?!\d+/)[^\s@]*@")


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped: ESC becomes `\\x1b`."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def without_credentials(text: str) -> str:
    """`text` with user and password removed from URLs such as `http://user:word@host`."""
    return _CREDENTIALS.sub("", text)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, with the next one where it ends with a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):
        return f"{lines[0]} {lines[1]}"
    return lines[0] if lines else type(error).__name__
