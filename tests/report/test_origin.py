"""What the numbers were measured on is told, and what differs is flagged."""

import dataclasses
import datetime

from report import made_up
from report.test_metrics import of_profiles
from report.test_tables import replaced

from vramlab.base.provenance import Device
from vramlab.report import catalog, origin, tables
from vramlab.report.page import page
from vramlab.results.batch_size import BatchSizeRecord


def changed(results, **fields):
    """The results with the provenance of the last record changed."""
    path, record = list(results.files.items())[-1]
    provenance = record.provenance.model_copy(update=fields)
    moved = record.model_copy(update={"provenance": provenance})
    return dataclasses.replace(results, files={**results.files, path: moved})


def device(results):
    return list(results.files.values())[-1].provenance.device


def test_nothing_is_flagged_where_nothing_differs(two):
    assert origin.differences(two) == []
    facts = dict(origin.hardware_and_software(two))
    assert facts["Device"] == "NVIDIA H200"
    assert facts["torch"] == "2.11.0"
    assert facts["Measured"] == "2026-11-23"


def test_another_device_is_flagged(two):
    other = changed(two, device=device(two).model_copy(update={"name": "NVIDIA A100"}))
    [flag] = origin.differences(other)
    assert "NVIDIA H200 and NVIDIA A100" in flag
    assert "do not compare" in flag
    assert dict(origin.hardware_and_software(other))["Device"] == "NVIDIA H200 / NVIDIA A100"


def test_another_driver_version_or_commit_is_flagged(two):
    [driver] = origin.differences(
        changed(two, device=device(two).model_copy(update={"driver": "1"}))
    )
    assert "driver" in driver
    [torch] = origin.differences(changed(two, packages={"torch": "2.8.0", "numpy": "2.4.6"}))
    assert torch.endswith("versions of torch: 2.11.0 and 2.8.0.")
    [commit] = origin.differences(changed(two, commit="feedfacefeedface-dirty"))
    assert "0123456789ab and feedfacefeed-dirty" in commit


def test_a_table_names_its_records(two):
    entry = next(entry for entry in catalog.FIGURES if entry.name == "loss")
    later = changed(two, finished=datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC))
    assert origin.source(entry, later) == (
        "Source: 3 files in `epoch/`, 2026-11-23 to 2026-11-25; commit 0123456789ab."
    )


def test_numbers_of_a_cpu_say_so(two):
    cpu = changed(two, device=device(two).model_copy(update={"kind": "cpu"}))
    assert any("say nothing about a GPU" in flag for flag in origin.differences(cpu))


def test_the_peak_of_the_device_is_named_with_its_source(two):
    def peak(results):
        return dict(origin.hardware_and_software(results))["Peak of the device"]

    assert peak(two) == (
        "fp32 67 TFLOP/s and bf16 990 TFLOP/s (NVIDIA H200 Tensor Core GPU Datasheet)"
    )
    unknown = made_up.provenance(device(two).model_copy(update={"name": "NVIDIA H20"}))
    other = replaced(two, of_profiles, provenance=unknown)
    assert "not in the table of cards, so there is no MFU" in peak(other)
    assert peak(replaced(other, of_profiles, peak_tflops=148.0)).endswith("by measure.peak_tflops")
    cpu = made_up.provenance(device(two).model_copy(update={"kind": "cpu"}))
    assert "not known of a CPU" in peak(replaced(two, of_profiles, provenance=cpu))


def of_searches(record):
    return isinstance(record, BatchSizeRecord)


def on_cpu(results):
    """The same results, of a CPU."""
    files = {
        path: record.model_copy(
            update={
                "provenance": record.provenance.model_copy(
                    update={"device": Device(kind="cpu", name="A CPU", memory_bytes=2**34)}
                )
            }
        )
        for path, record in results.files.items()
    }
    return dataclasses.replace(results, files=files)


def test_the_headroom_is_what_the_search_left_free(two):
    assert origin.headroom(two) == "There was no headroom on NVIDIA H200."
    left = replaced(two, of_searches, headroom=2 * 2**30)
    assert origin.headroom(left) == "The headroom on NVIDIA H200 was 2,048 MiB of 40,960 MiB."
    left = on_cpu(left)
    assert origin.headroom(left) == "The headroom on A CPU was 2,048 MiB of 40,960 MiB."
    assert origin.headroom(on_cpu(two)).startswith("On A CPU, a CPU, there was no headroom")


def test_captions_that_speak_of_the_headroom_tell_it(two):
    left = on_cpu(replaced(two, of_searches, headroom=2 * 2**30))
    shown = [e for e in catalog.FIGURES if e.name == "batch_size"]
    rows = {e: tables.TABLES[e.name](left) for e in catalog.TABLES if e.name == "search"}
    found = page("T", left, made_up.SETTINGS, shown, rows)
    captions = {e.name: e.caption for s in found.sections for e in s.exhibits if e.caption}
    assert set(captions) == {"batch_size", "search"}
    for caption in captions.values():
        assert caption.endswith("The headroom on A CPU was 2,048 MiB of 40,960 MiB.")
        assert "GPU" not in caption
