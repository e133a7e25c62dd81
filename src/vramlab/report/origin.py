"""Where the numbers come from: hardware, software and files, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vramlab.base.cards import card_of
from vramlab.base.provenance import Provenance
from vramlab.report.catalog import Entry
from vramlab.report.language import say, say_count
from vramlab.report.load import KINDS, Results
from vramlab.report.metrics import peak_of, plain
from vramlab.report.wording import listing, memory
from vramlab.results.batch_size import BatchSizeRecord
from vramlab.results.longest_sequence import LongestSequenceRecord
from vramlab.results.profile import ProfileRecord
from vramlab.results.run import RunRecord


def hardware_and_software(results: Results) -> list[tuple[str, str]]:
    """What the numbers were measured on and with; several values where records differ."""
    measured = _measured(results)
    every = [record.provenance for record in results.files.values()]
    devices = [origin.device for origin in measured if origin.device]
    limits = sorted({search.memory_limit for search in results.searches.values()})
    rows = [
        (say("Device"), _values(device.name for device in devices)),
        (say("Memory of the device"), _values(memory(d.memory_bytes) for d in devices)),
        (say("Memory allowed"), listing(map(memory, limits)) if limits else ""),
        (say("Compute capability"), _values(device.capability for device in devices)),
        ("CUDA", _values(device.cuda for device in devices)),
        (say("Peak of the device"), _peaks(results)),
        (say("Driver"), _values(device.driver for device in devices)),
        (say("Operating system"), _values(origin.platform for origin in measured or every)),
        ("Python", _values(origin.python for origin in measured or every)),
        ("vramlab", _values(origin.vramlab for origin in every)),
        (say("Commit"), _values(_commit(origin) for origin in every)),
    ]
    packages = dict.fromkeys(name for origin in measured or every for name in origin.packages)
    rows += [(name, _values(o.packages.get(name) for o in measured or every)) for name in packages]
    rows.append((say("Measured"), _days(measured or every)))
    return [(name, value) for name, value in rows if value]


def _peaks(results: Results) -> str:
    """The peaks that MFU and HFU are shares of; why there are none where they are not known."""
    profiles = [p for p in results.records(ProfileRecord) if p.status == "ok"]
    peaks = {p.axes.computes_in.products: peak_of(p) for p in profiles}
    known = [f"{kind} {plain(peak)} TFLOP/s" for kind, peak in peaks.items() if peak is not None]
    if not known:
        devices = dict.fromkeys(p.provenance.device for p in profiles if p.provenance.device)
        if any(device.kind == "cpu" for device in devices):
            return say("not known of a CPU, so there is no MFU; measure.peak_tflops can give it")
        return say("not in the table of cards, so there is no MFU; measure.peak_tflops can give it")
    if any(p.peak_tflops is not None for p in profiles):
        return say("{peaks}, by measure.peak_tflops", peaks=listing(known))
    cards = [card_of(p.provenance.device.name) for p in profiles if p.provenance.device]
    sources = dict.fromkeys(card.source for card in cards if card)
    return say("{peaks} ({source})", peaks=listing(known), source=listing(sources))


def headroom(results: Results) -> str:
    """What the searches left free of the memory allowed, and on which device."""
    records: list[BatchSizeRecord | LongestSequenceRecord] = [
        *results.searches.values(),
        *results.longest_sequences.values(),
    ]
    found = dict.fromkeys(
        (record.headroom, record.memory_limit, device.kind, device.name)
        for record in records
        if (device := record.provenance.device) and record.status == "ok"
    )
    return " ".join(_left_free(*values) for values in found)


def _left_free(free: int, limit: int, kind: str, name: str) -> str:
    if free:
        return say(
            "The headroom on {device} was {free} of {limit}.",
            device=name,
            free=memory(free),
            limit=memory(limit),
        )
    if kind == "cpu":
        return say(
            "On {device}, a CPU, there was no headroom: only live tensors count there, and nothing "
            "is lost between them.",
            device=name,
        )
    return say("There was no headroom on {device}.", device=name)


def differences(results: Results) -> list[str]:
    """What does not compare: with a GPU, or since it differs between the measured records."""
    measured = _measured(results)
    found: list[str] = []
    if any(origin.device.kind == "cpu" for origin in measured if origin.device):
        found.append(
            say(
                "These numbers are of a CPU: memory is what live tensors take, and the speeds say "
                "nothing about a GPU."
            )
        )
    devices = dict.fromkeys(origin.device.name for origin in measured if origin.device)
    if len(devices) > 1:
        found.append(
            say(
                "The numbers come from different devices, {devices}, so they do not compare; the "
                "table of provenance tells which is from which.",
                devices=listing(devices),
            )
        )
    elif len({origin.device for origin in measured if origin.device}) > 1:
        found.append(
            say(
                "The device's memory, driver or CUDA version differs between the records; the "
                "table of provenance tells which is from which."
            )
        )
    versions: dict[str, set[str]] = {}
    for name, value in (item for origin in measured for item in software(origin).items()):
        versions.setdefault(name, set()).add(value)
    found += [
        say(
            "The numbers were measured with different versions of {name}: {versions}.",
            name=name,
            versions=listing(sorted(values)),
        )
        for name, values in versions.items()
        if len(values) > 1
    ]
    commits = dict.fromkeys(commit for origin in measured if (commit := _commit(origin)))
    if len(commits) > 1:
        found.append(
            say(
                "The numbers were measured at different commits of vramlab: {commits}.",
                commits=listing(commits),
            )
        )
    return found


def software(origin: Provenance) -> dict[str, str]:
    """The versions of what a number was measured with."""
    return {"vramlab": origin.vramlab, "Python": origin.python, **origin.packages}


def source(entry: Entry, results: Results) -> str:
    """The records that a table or figure was made from: how many, which, when, at which commit."""
    kinds = tuple(KINDS[name] for name in entry.records)
    records = {p: r for p, r in results.files.items() if isinstance(r, kinds)}
    if not records:
        return ""
    folders = dict.fromkeys(name for p in records for name in Path(p).parts if name in KINDS)
    origins = [record.provenance for record in records.values()]
    commits = dict.fromkeys(commit for origin in origins if (commit := _commit(origin)))
    text = say_count(
        "Source: {count} file in {folders}, {days}",
        "Source: {count} files in {folders}, {days}",
        len(records),
        folders=listing(f"`{folder}/`" for folder in folders),
        days=_days(origins),
    )
    if commits:
        text += say_count(
            "; commit {commits}", "; commits {commits}", len(commits), commits=listing(commits)
        )
    return text + "."


def _measured(results: Results) -> list[Provenance]:
    """The origins of what was measured on the device, in the order of the files."""
    return [r.provenance for r in results.files.values() if isinstance(r, RunRecord)]


def _commit(origin: Provenance) -> str | None:
    """Twelve digits, and whether the tree had changes."""
    if origin.commit is None:
        return None
    commit, dash, dirty = origin.commit.partition("-")
    return commit[:12] + dash + dirty


def _values(found: Iterable[str | None]) -> str:
    return " / ".join(dict.fromkeys(value for value in found if value))


def _days(origins: list[Provenance]) -> str:
    days = sorted({origin.finished.date().isoformat() for origin in origins})
    if not days:
        return ""
    return days[0] if len(days) == 1 else say("{first} to {last}", first=days[0], last=days[-1])
