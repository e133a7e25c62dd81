"""Python imports this at its start: a process stops just before a rename that the test names.

PAUSE_AT is a pattern of the new name, PAUSE_COUNT which of the renames that match it is meant, and
PAUSE_FILE a file that is created then, with the process's id; the process goes on once it is gone.
"""

import fnmatch
import itertools
import os
import sys
import time
from pathlib import Path

_matches = itertools.count(1)


def _pause(event, arguments):
    if event != "os.rename" or not fnmatch.fnmatch(os.fspath(arguments[1]), os.environ["PAUSE_AT"]):
        return
    if next(_matches) == int(os.environ["PAUSE_COUNT"]):
        path = Path(os.environ["PAUSE_FILE"])
        whole = path.with_suffix(".new")
        whole.write_text(str(os.getpid()))
        path.hardlink_to(whole)
        while path.exists():
            time.sleep(0.05)


if "PAUSE_AT" in os.environ:
    sys.addaudithook(_pause)
