"""Lines in a log where there is no terminal."""

import logging

from vramlab import progress as module
from vramlab.progress import progress


def test_a_log_gets_the_last_line_with_amount_and_note(caplog):
    with (
        caplog.at_level(logging.INFO),
        progress("download train", total=2 * 2**20, unit="B") as advance,
    ):
        advance(2**20)
        advance(2**20, note="done")
    assert [record.message.split(" after")[0] for record in caplog.records] == [
        "download train: 2.0 MiB of 2.0 MiB (100%)"
    ]
    assert caplog.records[0].message.endswith(", done")


def test_lines_come_now_and_then(caplog, monkeypatch):
    clock = iter([0.0, 1.0, 11.0, 12.0, 22.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), progress("filter", total=None, unit="documents") as advance:
        for _ in range(4):
            advance()
    assert [record.message.split(" after")[0] for record in caplog.records] == [
        "filter: 2 documents",
        "filter: 4 documents",
    ]
