"""What `from smartsensor import …` gives: documented, fast to import, and the same in code and README."""

import ast
import re
import subprocess
import sys
from pathlib import Path

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
    with pytest.raises(AttributeError, match=r"no Pager; it has load_settings, connect"):
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
