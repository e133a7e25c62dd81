"""Data sets on servers: what their manifests say.

All are asked at once, each by one attempt, while the other checks go on. A server that does not
answer now may do so when the download begins, which tries again: that is a warning.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

from vramlab.base.errors import CorpusError
from vramlab.base.text import without_credentials
from vramlab.check.finding import Finding, error, warning
from vramlab.config.corpus import SpeakLeashSource
from vramlab.data.corpus.fetch import Manifest, describe
from vramlab.data.corpus.location import Unreachable

ANSWER_SECONDS = 1.0
"""How long servers may take to answer, all together."""


class Answers:
    """What servers say of data sets."""

    def __init__(self, sources: Iterable[SpeakLeashSource]) -> None:
        """Ask for each, and go on at once."""
        self._got: dict[SpeakLeashSource, Manifest | CorpusError] = {}
        self._end = time.monotonic() + ANSWER_SECONDS
        self._asking = {source: self._begin(source) for source in dict.fromkeys(sources)}

    def manifest(self, source: SpeakLeashSource) -> Manifest | None:
        """What the manifest of a data set says, once it is there; None where there is none."""
        if source not in self._asking:
            return None
        left = max(self._end - time.monotonic(), 0)
        self._asking[source].join(None if source.base.startswith("file:") else left)
        got = self._got.get(source)
        return got if isinstance(got, Manifest) else None

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the data sets; a sentence for all that one server did not answer."""
        silent: dict[tuple[str, str], list[str]] = {}
        for source in self._asking:
            if self.manifest(source) is not None:
                continue
            got = self._got.get(source)
            if got is not None and not isinstance(got, Unreachable):
                yield error(str(got))
                continue
            base = without_credentials(source.base)
            why = f"{base}: did not answer within {ANSWER_SECONDS:g} seconds; see whether the "
            why = f"{why}download works" if got is None else str(got)
            silent.setdefault((base, why), []).append(source.name)
        for (_, why), names in silent.items():
            yield warning(f"{', '.join(names)}: nothing is said of the text, since {why}")

    def _begin(self, source: SpeakLeashSource) -> threading.Thread:
        def ask() -> None:
            try:
                self._got[source] = describe(source)
            except CorpusError as refused:
                self._got[source] = refused

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        return thread
