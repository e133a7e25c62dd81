"""The page leads to every figure and table, and hides no failure."""

import html
import re

from report.test_tables import replaced

from vramlab.report import catalog, discussion, formats, index, tables
from vramlab.results.corpus import CorpusRecord


def page(config, results, title="A title"):
    shown = {
        entry: formats.to_markdown(tables.TABLES[entry.name](results))
        for entry in catalog.tables(config)
    }
    captions = {f"figures/{entry.name}": "A caption." for entry in catalog.FIGURES}
    captions |= {f"tables/{entry.name}": "A caption." for entry in catalog.TABLES}
    return index.page(title, results, catalog.figures(config), shown, captions)


def test_everything_is_on_the_page(case):
    config, results = case
    text = page(config, results)
    assert text.startswith("# A title\n\n- ")
    links = set(re.findall(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', text))
    links = {link for pair in links for link in pair}
    assert {f"figures/{e.name}.png" for e in catalog.figures(config)} <= links
    for form in ("", "-dark", "-narrow", "-narrow-dark"):
        assert {f"figures/{e.name}{form}.svg" for e in catalog.figures(config)} <= links
    assert {f"tables/{e.name}.csv" for e in catalog.tables(config)} <= links
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', text)
    assert len(alts) == len(catalog.figures(config))
    for entry, alt in zip(catalog.figures(config), alts, strict=True):
        finding = discussion.headline(entry.name, results).replace("`", "")
        assert finding in html.unescape(alt)
    assert text == page(config, results)


def test_failures_and_setup_are_told(results):
    config_free = index.page("T", results, [], {}, {})
    assert "flash-attn is not installed" in config_free
    assert "CUDA out of memory" in config_free
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in config_free.splitlines()]
    for row in (
        ["Device", "NVIDIA H200"],
        ["Memory of the device", "139 GiB"],
        ["Compute capability", "9.0"],
        ["CUDA", "12.8"],
        ["Commit", "0123456789ab"],
    ):
        assert row in cells
    assert "37 of 50 documents have the quality asked for" in config_free
    assert "28,000 sequences of 256" in config_free


def test_long_tables_are_folded(results):
    entry = catalog.TABLES[0]
    text = index.page("T", results, [], {entry: "| a |\n" * 50}, {f"tables/{entry.name}": "C."})
    assert "<details><summary>48 rows</summary>" in text


def test_what_ran_is_counted_and_made_up_text_is_called_so(results):
    text = index.page("T", results, [], {}, {})
    assert f"- {len(results.techniques) - 1} techniques ran at" in text  # flash was skipped
    made = replaced(
        results,
        lambda r: isinstance(r, CorpusRecord),
        source="file:///home/me/results/demo/corpus/synthetic/train.jsonl.zst",
    )
    text = index.page("T", made, [], {}, {})
    assert "from a generator of made-up text" in text
    assert "/home/me" not in text
