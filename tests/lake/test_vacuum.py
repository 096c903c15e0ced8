"""Retention: what a vacuum removes, and that nothing which anybody needs is ever among it."""

import json
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyiceberg.table import Table
from readings import open_readings, publish, readings, rows_of, stage
from typer.testing import CliRunner

import smartsensor.run.cli  # noqa: F401 - registers the commands
from smartsensor.lake.commits import commit, next_version, referenced, rollback
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import Manifest
from smartsensor.lake.ledger import Ledger
from smartsensor.lake.store import LakeError, NotFound
from smartsensor.lake.tables import Version, current, files, versions
from smartsensor.lake.vacuum import Retention, plan_vacuum, vacuum
from smartsensor.run.claims import claim
from smartsensor.run.cli import app
from smartsensor.windows import Window, instant

NOTHING_KEPT = Retention(versions=0, replaced=timedelta(0), cassettes=timedelta(0))


def later(days: float = 40) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def history(root: Path, times: int) -> Lake:
    "Each version writes the row of day 20 anew and adds one."
    lake = Lake(str(root))
    for number in range(1, times + 1):
        publish(lake, [("a", float(number), 20), (f"b{number}", 1.0, 21)], replace=[20])
    return lake


def data(lake: Lake) -> list[str]:
    return lake.list("qualified/readings/data")


# --- what goes --------------------------------------------------------------------------------------------------------


def test_expired_versions_go_with_their_files_and_say_so(tmp_path: Path) -> None:
    lake = history(tmp_path / "lake", 5)
    rows = rows_of(open_readings(lake))
    keep = Retention(versions=2, replaced=timedelta(days=7))
    assert plan_vacuum(lake, keep, later(6)).gone == {}, "they were made less than seven days ago"
    assert plan_vacuum(lake, Retention(versions=4, replaced=timedelta(0)), later()).gone == {}
    planned = plan_vacuum(lake, keep, later(8))
    assert planned.gone == {("qualified", "readings"): (1, 2)}
    assert set(planned.totals()) == {"tables"}
    vacuum(lake, planned, keep, later(8))
    table = open_readings(lake)
    assert [version.number for version in versions(table)] == [3, 4, 5]
    assert [rows_of(table, version.snapshot)[0] for version in versions(table)] == [("a", at) for at in (3.0, 4.0, 5.0)]
    assert rows_of(table) == rows
    assert len(data(lake)) == 5 + 3, "the rows of day 20 as versions 3, 4 and 5 have them"
    with pytest.raises(NotFound, match="no older version 2"):
        rollback(table, 2, "a person")
    assert rollback(table, 3, "a person").number == 6
    vacuum(lake, plan_vacuum(lake, keep, later(8)), keep, later(8))
    assert plan_vacuum(lake, keep, later(8)).garbage == ()


def test_a_version_that_was_rolled_back_to_keeps_its_files(tmp_path: Path) -> None:
    lake = history(tmp_path / "lake", 3)
    first = rows_of(open_readings(lake), versions(open_readings(lake))[0].snapshot)
    rollback(open_readings(lake), 1, "a person")
    vacuum(lake, plan_vacuum(lake, NOTHING_KEPT, later()), NOTHING_KEPT, later())
    table = open_readings(lake)
    assert ([version.number for version in versions(table)], rows_of(table)) == ([4], first)
    assert len(data(lake)) == 2


def test_metadata_that_nothing_refers_to_goes(tmp_path: Path) -> None:
    lake = history(tmp_path / "before", 4)
    shutil.move(tmp_path / "before", tmp_path / "after")
    lake = Lake(str(tmp_path / "after"))
    rows = rows_of(open_readings(lake))  # written anew here: the old lists and manifests are of no use
    planned = plan_vacuum(lake, Retention(), later(1.1))
    assert {one.key.rsplit(".", 1)[-1] for one in planned.garbage} == {"avro", "json"}
    vacuum(lake, planned, Retention(), later(1.1))
    assert rows_of(open_readings(lake)) == rows
    assert [rows_of(open_readings(lake), one.snapshot)[0][1] for one in versions(open_readings(lake))] == [1, 2, 3, 4]
    assert {lake.uri(key) for key in lake.list("qualified")} <= referenced(open_readings(lake))


def test_staged_files_of_a_living_attempt_stay_and_those_of_a_killed_one_go(tmp_path: Path) -> None:
    lake = history(tmp_path / "lake", 2)
    staged = stage(lake, [("c", 1.0, 22)])
    assert plan_vacuum(lake, NOTHING_KEPT, datetime.now(UTC)).garbage == ()
    vacuum(lake, plan_vacuum(lake, NOTHING_KEPT, later(0.9)), NOTHING_KEPT, later(0.9))
    assert Path(staged[0]).exists(), "younger than a day: its attempt may be at work"
    planned = plan_vacuum(lake, NOTHING_KEPT, later(1.1))
    table = readings(lake)
    commit(table, Version(next_version(table), run="test", attempt="slow"), staged)  # after the plan was made
    vacuum(lake, planned, NOTHING_KEPT, later(1.1))
    assert ("c", 1.0) in rows_of(open_readings(lake))
    dead = stage(lake, [("d", 1.0, 23)])
    vacuum(lake, plan_vacuum(lake, NOTHING_KEPT, later(1.1)), NOTHING_KEPT, later(1.1))
    assert not Path(dead[0]).exists()
    assert ("c", 1.0) in rows_of(open_readings(lake))


def test_a_table_that_names_files_elsewhere_stops_it(tmp_path: Path) -> None:
    "Paths that can't be compared would make all files look as if nobody needed them."
    lake, there = history(tmp_path / "lake", 1), tmp_path / "elsewhere.parquet"
    shutil.copy(stage(lake, [("c", 1.0, 22)])[0], there)
    table = open_readings(lake)
    commit(table, Version(2, run="test", attempt="elsewhere"), [str(there)])
    with pytest.raises(LakeError, match=r"elsewhere\.parquet is a file of it and lies elsewhere; nothing was removed"):
        plan_vacuum(lake, NOTHING_KEPT, later())


def test_temporary_files_progress_and_cassettes(tmp_path: Path) -> None:
    lake, window = Lake(str(tmp_path)), "20261119T000000Z_20261120T000000Z"
    with lake.scratch() as folder:
        os.rename(folder, tmp_path / ".tmp/scratch-dead")  # noqa: PTH104
        (tmp_path / ".tmp/scratch-dead/deep").mkdir()
        (tmp_path / ".tmp/scratch-dead/deep/engine.duckdb").write_bytes(b"x" * 100)
        folder.mkdir()
    for run, names in {"ended": ("check.json", "result.json"), "at-work": ("check.json",)}.items():
        for name in (*names, f"cassettes/plants/{window}-00000.zst"):
            lake.put(f"runs/{run}/{name}", b"{}")
        for resource in ("plants", "assets"):
            lake.put(f"raw/{resource}/_progress/{run}/{window}.json", b"{}")
    lake.put(f"raw/plants/_manifests/at-work/{window}.json", b"{}")
    landed = plan_vacuum(lake, Retention(), datetime.now(UTC))
    assert [one.key for one in landed.garbage] == [
        f"raw/plants/_progress/at-work/{window}.json"
    ]  # its window has landed
    planned = plan_vacuum(lake, Retention(), later())
    assert planned.totals() == {"temporary files": (1, 100), "progress": (3, 6), "cassettes": (1, 2)}
    vacuum(lake, planned, Retention(), later())
    assert lake.list("raw") == [
        f"raw/assets/_progress/at-work/{window}.json",
        f"raw/plants/_manifests/at-work/{window}.json",
    ]
    assert [key for key in lake.list("runs") if "cassettes" in key] == [
        f"runs/at-work/cassettes/plants/{window}-00000.zst"
    ]
    assert list((tmp_path / ".tmp").iterdir()) == []


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_and_removes_only_when_told(tmp_path: Path) -> None:
    root, call = tmp_path / "lake", CliRunner()
    lake = history(root, 3)
    lake.put("runs/20261120T100000Z-test/check.json", b"{}")
    for path in root.rglob("*.*"):
        if "qualified" in str(path):
            os.utime(path, (0, 0))
    before, argv = data(lake), ["vacuum", "--lake", str(root), "--keep-versions", "1", "--keep-days", "0"]
    message = call.invoke(app, argv)
    assert message.exit_code == 0
    assert "tables" in message.output
    assert "Nothing was removed: --yes does it." in message.output
    assert data(lake) == before
    mine = claim(lake, "20261120T100000Z-test")
    assert "is at work" in str(call.invoke(app, [*argv, "--yes"]).exception)
    lake.put(
        f"state/_claims/run/lease-{mine.fence:08}.json", json.dumps({"until": "2026-01-01T00:00:00+00:00"}).encode()
    )
    message = call.invoke(app, [*argv, "--yes"])
    assert message.exit_code == 0
    assert "qualified/readings: versions 1 to 1 can't be read any more" in message.output
    assert len(data(lake)) == len(before) - 1
    assert rows_of(open_readings(lake))[0] == ("a", 3.0)


# --- nothing that is needed -------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("publish"), st.integers(20, 22)),
    st.tuples(st.just("stage and die"), st.integers(20, 22)),
    st.tuples(st.just("stage, vacuum, commit"), st.integers(20, 22)),
    st.tuples(st.just("plan, publish, vacuum"), st.integers(0, 2)),
    st.tuples(st.just("roll back"), st.integers(1, 3)),
    st.tuples(st.just("move"), st.none()),
    st.tuples(st.just("vacuum"), st.integers(0, 2)),
)


class History:
    """A table to which anything may happen, and what must stand in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.value = root, 0.0
        self.lake = Lake(str(root / "0"))
        self.rows: dict[int, list[tuple[str, float]]] = {}  # by version
        self.publish(20)

    @property
    def table(self) -> Table:
        return open_readings(self.lake)

    def remember(self, version: Version) -> None:
        self.rows[version.number] = rows_of(self.table)

    def publish(self, day: int) -> None:
        self.value += 1
        self.remember(publish(self.lake, [(f"d{day}", self.value, day)], replace=[day]))

    def vacuum(self, versions_kept: int, days: float = 40, planned: Any = None) -> None:
        keep, now = Retention(versions=versions_kept, replaced=timedelta(0)), later(days)
        vacuum(self.lake, planned or plan_vacuum(self.lake, keep, now), keep, now)
        self.check()

    def check(self) -> None:
        table = self.table
        assert current(table).number == max(self.rows)
        for version in versions(table):
            assert rows_of(table, version.snapshot) == self.rows[version.number]

    def step(self, what: str, how: Any) -> None:
        if what == "publish":
            self.publish(how)
        elif what == "stage and die":
            stage(self.lake, [("dead", 0.0, how)])
        elif what == "stage, vacuum, commit":
            staged = stage(self.lake, [(uuid4().hex, 0.0, how)])
            self.vacuum(0, days=0.5)
            table = self.table
            self.remember(commit(table, Version(next_version(table), run="test", attempt=uuid4().hex), staged))
        elif what == "plan, publish, vacuum":
            planned = plan_vacuum(self.lake, Retention(versions=how, replaced=timedelta(0)), later())
            self.publish(20)
            self.vacuum(how, planned=planned)
        elif what == "roll back":
            target = current(self.table).number - how
            if target in {version.number for version in versions(self.table)}:
                self.remember(rollback(self.table, target, "test"))
        elif what == "move":
            to = self.root / f"{int(Path(self.lake.root).name) + 1}"
            shutil.move(self.lake.root, to)
            self.lake = Lake(str(to))
            self.check()
        else:
            self.vacuum(how)


@settings(
    max_examples=int(os.environ.get("EXAMPLES", "6")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(st.lists(STEP, min_size=3, max_size=7))
@example([("publish", 20), ("stage and die", 20), ("move", None), ("vacuum", 0), ("roll back", 1)])
@example([("publish", 20), ("stage, vacuum, commit", 20), ("roll back", 1), ("vacuum", 1), ("move", None)])
@example([("publish", 20), ("publish", 20), ("plan, publish, vacuum", 1), ("roll back", 1), ("vacuum", 0)])
def test_a_vacuum_at_any_point_takes_nothing_that_is_needed(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as root:
        messages = History(Path(root))
        for what, how in steps:
            messages.step(what, how)
        messages.vacuum(0)
        assert {file.uri for file in files(messages.table)} == {messages.lake.uri(key) for key in data(messages.lake)}


# --- old documents ----------------------------------------------------------------------------------------------------

LEDGER = """{"schema": 1, "resource": "x", "version": 1, "run": "20261120T100000Z-7f3a", "origin": "2026-11-19T00:00:00Z", "watermark": "2026-11-20T00:00:00Z",
 "covered": [["2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"]], "added": [{"window": ["2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"],
 "run": "20261120T100000Z-7f3a", "manifest": "raw/x/_manifests/20261120T100000Z-7f3a/20261119T000000Z_20261120T000000Z.json", "received": 2, "declared": 2,
 "distinct": 2, "first": "2026-11-19T01:00:00Z", "last": "2026-11-19T02:00:00Z", "content": "00", "requests": 2}]}"""
MANIFEST = """{"schema": 1, "resource": "x", "run": "20261120T100000Z-7f3a", "window": ["2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"],
 "parts": [{"key": "raw/x/part", "rows": 2, "bytes": 9, "sha256": "00"}], "received": 2, "declared": 2, "distinct": 2, "first": null, "last": null,
 "requests": 2, "pages": 1, "as_of": null, "drift": []}"""


def test_what_the_first_schema_wrote_stays_readable(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for key, text in {"state/x/00000001.json": LEDGER, "raw/m.json": MANIFEST}.items():
        lake.put(key, text.encode())
    window = Window(instant("2026-11-19T00:00:00Z"), instant("2026-11-20T00:00:00Z"))
    assert isinstance(ledger := lake.ledger("x"), Ledger)
    assert (ledger.covered, ledger.added[0].received, ledger.watermark) == ((window,), 2, window.end)
    assert isinstance(manifest := lake.manifest("raw/m.json"), Manifest)
    assert (manifest.window, manifest.parts[0].rows) == (window, 2)


def test_what_a_newer_one_wrote_is_refused(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.put("raw/m.json", MANIFEST.replace('"schema": 1', '"schema": 2').encode())
    with pytest.raises(
        LakeError, match=r"a manifest of schema 2; this version of smartsensor reads up to 1: install a newer one"
    ):
        lake.manifest("raw/m.json")
