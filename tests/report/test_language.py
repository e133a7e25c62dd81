"""Every language says everything, and the same numbers."""

import contextlib
import html
import re
import shlex
import string
from pathlib import Path

import pytest
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po
from report.test_page import page

from vramlab.config import report as config
from vramlab.config.technique import Technique
from vramlab.measure import flops
from vramlab.predict.estimate import notes as notes_on
from vramlab.predict.fake_run import AS_IF_NOT_COMPILED, AS_TORCHS_FLASH
from vramlab.report import (
    captions,
    catalog,
    chart,
    discussion,
    figures,
    formats,
    language,
    tables,
    wording,
)
from vramlab.report.grid import grid
from vramlab.report.language import say
from vramlab.results.memory import KINDS

ROOT = Path(__file__).resolve().parents[2]
OTHERS = [code for code in config.LANGUAGES if code != language.SOURCE]
MARKERS = {
    *("the", "of", "and", "with", "at", "is", "are", "was", "were", "from", "which", "than", "by"),
    *("this", "that", "for", "each", "its", "most", "batch", "training", "largest", "memory"),
    *("speed", "time", "tokens", "steps", "step", "peak", "files", "source", "run", "device"),
}
"""Words that show a text to be English."""
SAME = re.compile(
    r"torch\S*|flash-attn|numpy|CUDA|Commit|Jaccard|SHA-256|FP32|Vramlab|Python|µJ/token|unigram"
    r"|FP32, the model's own attention|(Limit|Feed-forward)( \([GM]iB\))?|ok"
    r"|https?://\S+|[-\w]*\d[-\w.:+/]*|Numpy|Torch|NVIDIA H200"
)
"""Names, which are the same in every language."""


def in_english(text, allowed):
    """The English words of a text, what is a name or a quotation left out."""
    for part in sorted(allowed, key=len, reverse=True):
        text = text.replace(part, " ")
    text = re.sub(r"`[^`]*`|\(\S+\.(?:png|svg|csv)\)|<[^>]*alt=", " ", text)
    return MARKERS & set(re.findall(r"[\w-]+", text.lower()))


def recorded(results):
    """What stands in the records in whatever language it was written in."""
    reasons = {run.reason.rstrip(".") for s in ("equal", "own") for run in results.runs(s)}
    return {part for part in reasons | set(results.techniques) | set(results.files) if part}


def plain(text):
    """The numbers of a text, without what separates thousands and decimals."""
    text = html.unescape(text)
    text = re.sub(r"(\d)\s(tys\.|mln|mld)", r"\1", text.replace("\u202f", ""))
    return re.findall(r"\d+", re.sub(r"(?<=\d)[.,](?=\d)", "", text))


@pytest.fixture(params=OTHERS)
def other(request):
    """The texts and the catalog of a language that is not English."""
    with language.catalog(request.param).open("rb") as file:
        return read_po(file, locale=request.param)


def test_there_is_another_language():
    assert "pl" in OTHERS


def extracted(folder):
    """The texts of the code, as `make texts` finds them."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    [command] = re.findall(r"\$\(BIN\)/(pybabel .* extract .*)", makefile)
    arguments = shlex.split(command.replace("$(POT)", str(folder / "texts.pot")))
    with contextlib.chdir(ROOT):
        CommandLineInterface().run(arguments)
    with (folder / "texts.pot").open("rb") as file:
        return {ids(message) for message in read_po(file) if message.id}


def ids(message):
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def test_every_text_is_translated(other, tmp_path):
    texts = extracted(tmp_path)
    known = {ids(message) for message in other if message.id}
    assert not texts - known, "not in the catalog; run: make texts"
    assert not known - texts, "nothing says any more; run: make texts"
    for message in filter(lambda message: message.id, other):
        given = message.string if message.pluralizable else [message.string]
        assert all(given) and not message.fuzzy, f"no translation of {message.id!r}"
        assert len(given) == (other.num_plurals if message.pluralizable else 1)


def test_texts_are_found_wherever_they_are_said(tmp_path):
    found = {text for texts in extracted(tmp_path) for text in texts}
    for text in ("Not run", "{count} steps", "Contents", catalog.FIGURES[0].caption, catalog.TITLE):
        assert text in found
    assert {catalog.SUMMARY, *(entry.title for entry in catalog.TABLES)} <= found


def test_translations_fill_the_same_gaps(other):
    def gaps(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for message in other:
        if not message.id or "{{" in str(message.id):
            continue
        ids = [message.id] if isinstance(message.id, str) else message.id
        given = [message.string] if isinstance(message.string, str) else message.string
        for text in given:
            assert gaps(text) == gaps(ids[0]), text


def test_the_names_of_kinds_and_axes_are_known():
    """A new one needs a line in `wording`, or it stands in English in every report."""
    assert set(wording._KINDS) == set(KINDS)
    named = {name.replace("_", " ") for name in Technique.model_fields}
    assert named == {"precision", "attention", *wording._AXES}


def test_the_caveats_of_the_estimate_and_the_notes_of_profiles_are_known():
    every = Technique.model_construct(
        compile="max-autotune",
        cuda_graphs=True,
        attention="flex",
        optimizer="ao-8bit",
        checkpointing="budget",
    )
    told = {*notes_on(every), *notes_on(Technique(precision="fp8"))}
    notes = {flops.UNKNOWN, flops.COMPILED_KERNEL, flops.OTHER_KERNELS, flops.NO_MEMORY}
    notes |= {flops.SKIPPED_TILES, flops.COMPILED_BUDGET, flops.BUDGET_OF_KERNEL}
    notes |= {AS_IF_NOT_COMPILED, AS_TORCHS_FLASH}
    assert told | notes == set(wording._RECORDED)


def test_the_page_has_no_english_left(case):
    settings, results = case
    with language.use("pl") as polish:
        polish.missing.clear()
        text = page(settings, results)
        assert polish.missing == set()
    text = text.replace("A title", "")
    for line in text.splitlines():
        # Cells of a table one by one: a title of a book may hold any word.
        if line.startswith("|"):
            continue
        found = in_english(re.sub(r"<picture>.*alt=", "", line), recorded(results))
        assert not found, f"{found} in {line!r}"


def test_both_pages_hold_the_same_numbers(case):
    settings, results = case
    english = page(settings, results)
    with language.use("pl"):
        polish = page(settings, results)
    assert sorted(plain(english)) == sorted(plain(polish))


def test_no_cell_or_heading_is_left_in_english(results):
    for entry in catalog.TABLES:
        english = grid(tables.TABLES[entry.name](results)).markdown()
        with language.use("pl"):
            polish = grid(tables.TABLES[entry.name](results)).markdown()
        allowed = recorded(results)
        for one, two in zip(*map(cells, (english, polish)), strict=True):
            alike = one.strip() == two.strip() and re.search(r"[a-zA-Z]{2}", one)
            if alike and one.strip() not in allowed and not SAME.fullmatch(one.strip()):
                assert in_data(one.strip().replace("\\|", "|"), results), (
                    f"{entry.name}: {one.strip()!r}"
                )


def cells(table):
    return re.split(r"(?<!\\)\|", table)


def in_data(cell, results):
    """Whether a record, or a configuration, holds the cell's text."""
    if re.fullmatch(r"(\w+: \S+( → \S+)?(, )?)+", cell):
        return True
    return any(cell in record.model_dump_json() for record in results.files.values())


@pytest.mark.parametrize("entry", catalog.FIGURES, ids=lambda entry: entry.name)
def test_no_figure_is_left_in_english(results, entry):
    allowed = {*results.techniques}
    with language.use("pl") as polish, chart.style():
        polish.missing.clear()
        figure = figures.draw(entry, results)
        texts = [t.get_text() for t in figure.findobj(match=lambda a: hasattr(a, "get_text"))]
        assert polish.missing == set()
        figure.draw_without_rendering()
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, (
                f"the legend of {entry.name} is cut off"
            )
    assert any(texts)
    for text in texts:
        assert not in_english(text, allowed), text
        assert not re.search(r"\d[.]\d", text), text


def test_captions_are_translated_whole():
    with language.use("pl"):
        texts = [say(text) for text in captions._TEXTS.values()]
        for text in [*texts, captions.overview(catalog.TITLE, "demo")]:
            assert not in_english(text, {"Residual"}), text


def test_numbers_as_poles_write_them():
    with language.use("pl"):
        assert wording.number(1234567.8) == "1\u202f234\u202f568"
        assert wording.number(36.14) == "36,1"
        assert wording.short(4018430) == "4,02 mln"
        assert wording.percent(0.0125, 2) == "1,25%"
        assert wording.memory(2**30) == "1\N{NARROW NO-BREAK SPACE}024 MiB"
        assert wording.listing(["a", "b", "c"]) == "a, b i c"
    assert wording.number(1234567.8) == "1,234,568"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 krok"),
        (2, "2 kroki"),
        (4, "4 kroki"),
        (5, "5 kroków"),
        (12, "12 kroków"),
        (22, "22 kroki"),
        (1112, "1\u202f112 kroków"),
    ],
)
def test_polish_plurals(count, text):
    with language.use("pl"):
        assert language.say_count("{count} step", "{count} steps", count) == text


def test_a_sentence_in_polish(two):
    with language.use("pl"):
        assert discussion.largest_batch(two) == (
            "Największą partię mieści `bf16`. Jej rozmiar: 944 sekwencje, czyli 1,30× tyle co "
            "`fp32` (728)."
        )


def test_csv_is_the_same_in_every_language_where_the_script_makes_it(two):
    english = formats.csv_text(tables.summary(two))
    with language.use("pl"), language.use(language.SOURCE):
        assert formats.csv_text(tables.summary(two)) == english


def test_a_text_without_a_translation_is_noticed():
    with language.use("pl") as polish:
        polish.missing.clear()
        assert language.say("Not in any catalog") == "Not in any catalog"
        assert polish.missing == {"Not in any catalog"}
        polish.missing.clear()


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="choose from en, pl"):
        config.ReportConfig(language="xx")


def test_the_point_of_an_abbreviation_is_the_full_stop_as_well():
    assert language.say("It has {value}. Not more.", value="39,3 tys.") == (
        "It has 39,3 tys. Not more."
    )
    assert language.say("{value} of them.", value="39,3 tys.") == "39,3 tys. of them."
