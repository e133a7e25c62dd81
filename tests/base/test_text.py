"""What may be shown of texts of others."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramlab.base.errors import ConfigError
from vramlab.base.progress import PlainFormatter
from vramlab.base.text import printable, without_credentials


@given(st.text())
def test_what_is_printable_has_no_control_character(text):
    shown = printable(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown)
    assert printable(shown) == shown
    shown.encode()


def test_letters_of_all_scripts_stay():
    assert printable("zażółć 日本語 العربية 🙂") == "zażółć 日本語 العربية 🙂"
    assert printable("\x1b[2J\n\x9b1m\u202e") == r"\x1b[2J\n\x9b1m\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pw@host/a", "http://host/a"),
        ("https://token@host", "https://host"),
        ("http://u:p@ss@host/a: gone", "http://host/a: gone"),
        ("http://u:p/w@host/a", "http://host/a"),
        ("http://host:8080/a@b", "http://host:8080/a@b"),
        ("http://host/a@b", "http://host/a@b"),
        ("me@example.org", "me@example.org"),
        ("http://u:pw@a/ and http://v:pw@b/", "http://a/ and http://b/"),
    ],
)
def test_passwords_are_cut_out(text, shown):
    assert without_credentials(text) == shown


def test_an_error_is_one_line_without_codes_and_passwords():
    error = ConfigError("http://u:secret@host/: \x1b[2J\nfailed")
    assert str(error) == r"http://host/: \x1b[2J\nfailed"


def test_a_log_keeps_its_lines_and_has_no_codes():
    record = logging.makeLogRecord({"msg": "a\x1b[1m\nftp://u:secret@b"})
    assert PlainFormatter("%(message)s").format(record) == "a\\x1b[1m\nftp://b"
