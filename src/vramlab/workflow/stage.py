"""The frame of a script that Snakemake runs: its log, and errors as one sentence."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vramlab.errors import VramlabError
from vramlab.files import remove_leftovers
from vramlab.workflow.alone import alone

log = logging.getLogger(__name__)


@contextmanager
def stage(snakemake: Any) -> Iterator[None]:
    """Run the block with its log in the rule's `log:` file and on the terminal, one at a time.

    A mistake that the user can mend ends the script with its one sentence and exit status 1; any
    other exception leaves its traceback in the log as well.
    """
    path = Path(snakemake.log[0])
    logging.basicConfig(level=logging.INFO, handlers=[_terminal(snakemake.rule)], force=True)
    logging.captureWarnings(capture=True)
    with alone(path.with_name(f"{path.name}.lock")):
        logging.root.addHandler(_file(path))  # only now: it may have been another process's
        for output in snakemake.output:
            remove_leftovers(output)
        try:
            yield
        except VramlabError as error:
            log.error("%s", error)
            sys.exit(1)
        except Exception:
            log.exception("unexpected error in the rule %s; please report it", snakemake.rule)
            sys.exit(2)


def _file(path: Path) -> logging.Handler:
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    )
    return handler


def _terminal(rule: str) -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{rule}: %(message)s"))
    return handler
