"""The page leads to every figure and table, and hides no failure."""

import re

from vramlab.report import catalog, index, tables


def page(config, results, title="A title"):
    shown = {
        entry: tables.to_markdown(tables.TABLES[entry.name](results))
        for entry in catalog.tables(config)
    }
    captions = {f"figures/{entry.name}": "A caption." for entry in catalog.FIGURES}
    captions |= {f"tables/{entry.name}": "A caption." for entry in catalog.TABLES}
    return index.page(title, results, catalog.figures(config), shown, captions)


def test_everything_is_on_the_page(case):
    config, results = case
    text = page(config, results)
    assert text.startswith("# A title\n\n- ")
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    assert {f"figures/{e.name}.png" for e in catalog.figures(config)} <= links
    assert {f"figures/{e.name}.svg" for e in catalog.figures(config)} <= links
    assert {f"tables/{e.name}.csv" for e in catalog.tables(config)} <= links
    assert all(alt for alt in re.findall(r"!\[([^]]*)\]", text))
    assert text == page(config, results)


def test_failures_and_setup_are_told(results):
    config_free = index.page("T", results, [], {}, {})
    assert "flash-attn is not installed" in config_free
    assert "CUDA out of memory" in config_free
    assert "NVIDIA H200 (139 GiB), compute capability 9.0, CUDA 12.8" in config_free
    assert "37 of 50 documents have the quality" in config_free
    assert "28,000 sequences of 256" in config_free
    assert "commit 0123456789ab" in config_free


def test_long_tables_are_folded(results):
    entry = catalog.TABLES[0]
    text = index.page("T", results, [], {entry: "| a |\n" * 50}, {f"tables/{entry.name}": "C."})
    assert "<details><summary>48 rows</summary>" in text
