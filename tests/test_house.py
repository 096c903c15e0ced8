"""The checks of the house find what they are there for: each on a small house that is broken in one way."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def house() -> ModuleType:
    spec = importlib.util.spec_from_file_location("house", ROOT / ".ci" / "house.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module
    spec.loader.exec_module(module)
    return module


def build(root: Path, **rooms: str) -> Path:
    "A checkout with these rooms: source__02_http='code' is nbs/source/02_http.ipynb."
    for place, code in rooms.items():
        *floor, name = place.split("__")
        path = root.joinpath("nbs", *floor, f"{name}.ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        room = ".".join([*floor, name[3:]])
        sources = [f"#| default_exp {room}", *(f"#| export\n{cell}" for cell in code.split("\n\n\n"))]
        cells = [{"cell_type": "code", "source": [source]} for source in sources]
        path.write_text(json.dumps({"cells": cells}))
    (root / "pyproject.toml").write_text("")
    return root


def test_a_house_in_order_has_nothing_to_say(house: ModuleType, tmp_path: Path) -> None:
    build(
        tmp_path,
        source__02_http="def get() -> None: ...",
        jobs__30_read="from smartsensor.source.http import get\n\n\ndef read() -> None:\n    get()",
        run__60_cli="from smartsensor.jobs.read import read\n\n\nread()",
    )
    rooms = house.rooms(tmp_path)
    assert house.upward(rooms) + house.circles(rooms) + house.too_large(rooms) + house.unused(rooms, tmp_path) == []
    assert "02 http 1" in house.drawn(rooms)


@pytest.mark.parametrize(
    "code",
    [
        "from smartsensor.jobs.read import read",
        "def get() -> None:\n    from smartsensor.jobs.read import read",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from smartsensor.jobs.read import read",
        "import smartsensor.jobs.read",
        "from smartsensor.jobs import read",
    ],
)
def test_an_import_that_goes_up_is_found_wherever_it_stands(house: ModuleType, tmp_path: Path, code: str) -> None:
    build(tmp_path, source__02_http=code, jobs__30_read="def read() -> None: ...")
    assert ["jobs.read" in line for line in house.upward(house.rooms(tmp_path))] == [True]


@pytest.mark.parametrize(
    ("lower", "upper", "name"),
    [
        ("source__02_http", "lake__15_store", "get"),
        ("jobs__02_read", "simulator__50_api", "get"),
        ("simulator__02_api", "run__60_pipeline", "get"),
        ("source__02_http", "jobs__30_read", "_get"),
    ],
)
def test_floors_that_do_not_know_each_other_and_private_names(
    house: ModuleType, tmp_path: Path, lower: str, upper: str, name: str
) -> None:
    floor, room = lower.split("__")
    code = f"from smartsensor.{floor}.{room[3:]} import {name}"
    build(tmp_path, **{lower: f"def {name}() -> None: ...", upper: code})
    assert len(house.upward(house.rooms(tmp_path))) == 1


def test_rooms_in_a_circle_are_named(house: ModuleType, tmp_path: Path) -> None:
    build(
        tmp_path,
        lake__02_a="from smartsensor.lake.c import z",
        lake__03_b="from smartsensor.lake.a import x",
        lake__04_c="from smartsensor.lake.b import y",
    )
    assert len(house.circles(house.rooms(tmp_path))) == 3


def test_what_holds_too_much_and_what_nobody_uses(house: ModuleType, tmp_path: Path) -> None:
    long = "def lonely() -> None:\n" + "    print()\n" * 60
    build(tmp_path, lake__02_a=long, lake__03_b="\n\n\n".join(["\n".join(["VALUE = 1"] * 50)] * 9))
    rooms = house.rooms(tmp_path)
    assert ["61 lines" in line or "450 exported lines" in line for line in house.too_large(rooms)] == [True, True]
    assert house.unused(rooms, tmp_path) == ["lake.a.lonely is used by nobody"]


def test_a_map_that_is_out_of_date_is_not_taken_for_the_house(house: ModuleType, tmp_path: Path) -> None:
    build(tmp_path, lake__02_a="VALUE = 1")
    source = f"The house:\n\n{house.MARKS[0]}\n```text\nold\n```\n{house.MARKS[1]}\n"
    index = tmp_path / "nbs" / "index.ipynb"
    index.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": [source]}]}))
    assert house.in_index(tmp_path) == "old"
    house.in_index(tmp_path, house.drawn(house.rooms(tmp_path)))
    assert house.in_index(tmp_path) == house.drawn(house.rooms(tmp_path))
