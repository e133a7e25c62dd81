"""The page leads to every figure and table, and hides no failure."""

import html
import re

from report import made_up
from report.test_tables import replaced

from vramlab.report import catalog, discussion, tables, webpage
from vramlab.report.page import page as page_of
from vramlab.results.corpus import CorpusRecord
from vramlab.results.profile import ProfileRecord


def page(config, results, title="A title"):
    shown = {entry: tables.TABLES[entry.name](results) for entry in catalog.tables(config)}
    return webpage.to_markdown(
        page_of(title, results, made_up.SETTINGS, catalog.figures(config), shown)
    )


def without_exhibits(results):
    return webpage.to_markdown(page_of("T", results, made_up.SETTINGS, [], {}))


def test_everything_is_on_the_page(case):
    config, results = case
    text = page(config, results)
    assert text.startswith("# A title\n\nMeasured on NVIDIA H200 with 40,960 MiB allowed, at ")
    links = set(re.findall(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', text))
    links = {link for pair in links for link in pair}
    assert {f"figures/{e.name}.png" for e in catalog.figures(config)} <= links
    for form in ("", "-narrow"):
        assert {f"figures/{e.name}{form}.svg" for e in catalog.figures(config)} <= links
    assert {f"tables/{e.name}.csv" for e in catalog.tables(config)} <= links
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', text)
    assert len(alts) == len(catalog.figures(config))
    for entry, alt in zip(catalog.figures(config), alts, strict=True):
        finding = discussion.headline(entry.name, results).replace("`", "")
        assert finding in html.unescape(alt)
    for entry in (*catalog.figures(config), *catalog.tables(config)):
        assert f"\n### {entry.title}\n" in text
        assert f"\n{entry.caption[:40]}" in text
    assert text == page(config, results)


def test_failures_and_setup_are_told(results):
    text = without_exhibits(results)
    assert "flash-attn is not installed" in text
    assert "CUDA out of memory" in text
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    for row in (
        ["Device", "NVIDIA H200"],
        ["Memory of the device", "142,336 MiB"],
        ["Compute capability", "9.0"],
        ["CUDA", "12.8"],
        ["Commit", "0123456789ab"],
    ):
        assert row in cells
    assert "37 of 50 documents (24,000,000 characters)" in text
    assert "Left out: `quality LOW` 13." in text
    assert "28,000 sequences of 256" in text


def test_what_ran_is_counted_and_made_up_text_is_called_so(results):
    text = without_exhibits(results)
    assert f"- {len(results.techniques) - 1} techniques ran at" in text  # flash was skipped
    made = replaced(
        results,
        lambda r: isinstance(r, CorpusRecord),
        source="file:///home/me/results/demo/corpus/synthetic/train.jsonl.zst",
    )
    text = without_exhibits(made)
    assert "from a generator of made-up text" in text
    assert "/home/me" not in text


def test_the_parameters_of_the_model_and_of_its_adapters_are_told(results):
    text = without_exhibits(results)
    assert "- The model has 2,855,680 parameters." in text
    assert "parameters are trained" not in text
    adapted = replaced(
        results,
        lambda r: isinstance(r, ProfileRecord) and r.technique == "chunked",
        parameters=2_900_000,
        trained_parameters=44_320,
    )
    text = without_exhibits(adapted)
    assert "- The model has 2,855,680 parameters." in text
    assert text.count("- With `chunked`, 44,320 of 2,900,000 parameters are trained.") == 1
