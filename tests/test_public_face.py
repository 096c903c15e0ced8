"""What `from smartsensor import …` gives: documented, fast to import, and the same in code and README."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import smartsensor

ROOT = Path(__file__).resolve().parent.parent


def section() -> str:
    return (ROOT / "README.md").read_text().split("## From a notebook")[1].split("\n## ")[0]


def test_the_readme_lists_each_public_name_and_no_other() -> None:
    rows = [line.split("|")[1] for line in section().splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(smartsensor.__all__)


@pytest.mark.parametrize("name", smartsensor.__all__)
def test_each_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(smartsensor, name)
    if callable(value):
        assert (value.__doc__ or "").strip()
        assert value.__doc__ != f"{name}()"


def test_what_the_type_checker_sees_is_what_a_notebook_gets() -> None:
    tree = ast.parse(Path(str(smartsensor.__file__)).read_text())
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smartsensor.")
        for alias in node.names
    }
    assert seen == {name: f"smartsensor.{room}" for name, room in smartsensor._ROOMS.items()}
    assert sorted(seen) == sorted(smartsensor.__all__)


def test_a_name_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"no Pager; it has explore, load_settings, connect"):
        smartsensor.Pager  # noqa: B018


def test_importing_the_package_imports_none_of_its_rooms() -> None:
    probe = "import sys, smartsensor; print(sorted(name for name in sys.modules if name.startswith('smartsensor.')))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_each_public_class_that_a_cell_ends_with_has_a_card() -> None:
    from smartsensor.run.displays import CARDS

    classes = {value for name in smartsensor.__all__ if isinstance(value := getattr(smartsensor, name), type)}
    assert classes - set(CARDS) == {smartsensor.Gate}, "a gate is called, not looked at"


def test_names_from_the_top_of_the_package_show_as_cards_in_a_notebook() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        smartsensor.__getattr__("Window")
        window = smartsensor.Window(
            smartsensor.instant("2026-11-20T08:00:00Z"), smartsensor.instant("2026-11-20T09:00:00Z")
        )
        shown, _ = shell.display_formatter.format(window)
    finally:
        InteractiveShell.clear_instance()
    assert shown["text/html"].startswith("<b>Window</b>")


def test_a_card_shows_what_the_api_sent_as_text() -> None:
    from smartsensor.run.displays import ROWS, card

    html = card("<i>", {"drift": "<script>"}, [{"<b>": "<img src=x>" * 30}] * (ROWS + 1))
    assert "<script>" not in html
    assert "<img" not in html
    assert f"{ROWS} of {ROWS + 1} rows" in html


def test_the_words_of_a_declaration_are_in_one_place_and_say_what_they_are() -> None:
    from smartsensor import declare

    for name in declare.__all__:
        value = getattr(declare, name)
        assert not callable(value) or (value.__doc__ or "").strip()
    assert not set(declare.__all__) & set(smartsensor.__all__) - {"Resource", "Source"}


def test_what_a_cell_ends_with_is_short_as_text() -> None:
    from smartsensor.lake.ledger import Ledger
    from smartsensor.source.listing import Page

    window = smartsensor.Window(
        smartsensor.instant("2026-11-20T08:00:00Z"), smartsensor.instant("2026-11-20T09:00:00Z")
    )
    resource, source = smartsensor.RESOURCES["measurements"], smartsensor.load_source()
    page = Page(1, None, None, _rows(resource), None, ("x" * 90,) * 90, 1, 0.0, 1, None)
    evidence = smartsensor.Manifest(
        "measurements", "20261125T000000Z-abcd", window, (), 7, 7, 7, None, None, 1, 1, None, ("x" * 90,) * 90
    )
    ledger = Ledger("measurements").advance("run", [evidence.evidence] * 40)
    verdict = smartsensor.Verdict("measurements", "raw", 7, (), None, {"window": "x" * 400})
    for shown in (window, resource, source, page, evidence, ledger, verdict):
        assert len(repr(shown)) <= 200, repr(shown)
        assert repr(shown).startswith(f"{type(shown).__name__}(")


def _rows(resource: smartsensor.Resource) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"measurement_id": str(number)} for number in range(400)], resource.raw_schema)
