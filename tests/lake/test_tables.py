"""Commits to the tables: what is on disk before them, what a failing disk or catalog does, and many writers at once."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from readings import open_readings, publish, readings, rows_of, stage
from sqlalchemy import event

from smartsensor.lake import catalogs as room
from smartsensor.lake import tables as tables_room
from smartsensor.lake.commits import commit, next_version
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Conflict, LakeError
from smartsensor.lake.tables import Version, current, versions

ROWS = [("a", 1.0), ("b", 2.0)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    "One version."
    made = Lake(str(tmp_path / "lake"))
    publish(made, [("a", 1.0, 20), ("b", 2.0, 21)])
    return made


def add(lake: Lake, staged: list[str], attempt: str = "one") -> Version:
    table = readings(lake)
    return commit(table, Version(next_version(table), run="test", attempt=attempt), staged)


# --- what is on disk --------------------------------------------------------------------------------------------------


@contextmanager
def order_of_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    'Paths as they are synced, and "commit" when a transaction of the catalog that writes begins to end.'
    calls, original = list[str](), os.fsync

    def fsync(descriptor: int) -> None:
        original(descriptor)
        calls.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))

    def wrote(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.lstrip().upper().startswith(("UPDATE", "INSERT")):
            connection.info["wrote"] = True

    def committed(connection: Any) -> None:
        if connection.info.pop("wrote", False):
            calls.append("commit")

    monkeypatch.setattr(os, "fsync", fsync)
    original_open = tables_room.open_catalog

    def opened(*words: Any) -> Any:
        catalog = original_open(*words)
        assert isinstance(catalog, SqlCatalog)
        event.listen(catalog.engine, "before_cursor_execute", wrote)
        event.listen(catalog.engine, "commit", committed)
        return catalog

    monkeypatch.setattr(tables_room, "open_catalog", opened)
    yield calls


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the name of an open file is asked of /proc")
@pytest.mark.parametrize("first", [True, False])
def test_all_that_a_commit_names_is_on_disk_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    root = tmp_path / "lake"
    lake = Lake(str(root))
    if not first:
        publish(lake, [("a", 1.0, 20)])
    with order_of_calls(monkeypatch) as calls:
        publish(lake, [("b", 2.0, 21), ("c", 3.0, 22)], replace=[20])
    assert calls[-1] == "commit"
    table, before = open_readings(lake), set(calls)
    snapshot, data = table.current_snapshot(), {task.file.file_path for task in table.scan().plan_files()}
    assert snapshot is not None
    named = {snapshot.manifest_list, *(one.manifest_path for one in snapshot.manifests(table.io)), *data}
    paths = [Path(address.removeprefix("file://")) for address in (table.metadata_location, *named)]
    assert len(data) == 2
    for path in paths:  # a file is synced before its folder, which lists it
        assert calls.index(str(path)) < last(calls, str(path.parent))
    folders = {one for path in paths for one in path.parents if one.is_relative_to(root)}
    assert {str(one) for one in folders} <= before


def last(calls: list[str], one: str) -> int:
    return len(calls) - 1 - calls[::-1].index(one)


def test_sqlite_syncs_each_commit(lake: Lake) -> None:
    catalog = open_readings(lake).catalog
    assert isinstance(catalog, SqlCatalog)
    with catalog.engine.connect() as connection:
        modes = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert modes == ["wal", 2], "2 is FULL: the log is synced before a commit returns"


# --- disks that fail --------------------------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, after: int, code: int) -> Callable[[], bool]:
    "From one call on, each write or sync fails; whether it came to that."
    left, original_write, original_sync = [after], room._SyncedStream.write, room.sync_path

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(code, os.strerror(code))
            return act(*words)

        return step

    monkeypatch.setattr(room._SyncedStream, "write", counted(original_write))
    monkeypatch.setattr(room, "sync_path", counted(original_sync))
    return lambda: left[0] < 0


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the lake is read-only"),
        (errno.EDQUOT, "the quota is used up"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_disk_that_fails_at_each_write(lake: Lake, monkeypatch: pytest.MonkeyPatch, code: int, advice: str) -> None:
    failures = 0
    while True:
        staged = stage(lake, [(f"c{failures}", 3.0, 22)])
        with monkeypatch.context() as patch:
            failed, output = failing(patch, failures, code), ""
            try:
                add(lake, staged, f"attempt {failures}")
            except LakeError as error:
                output = str(error)
        if not failed():
            break
        assert advice in output
        assert "/qualified/readings" in output
        assert rows_of(open_readings(lake)) == ROWS
        failures += 1
    assert failures > 8, "data files, folders, manifest, list, metadata"
    assert rows_of(open_readings(lake)) == [*ROWS, (f"c{failures}", 3.0)]
    assert len(versions(open_readings(lake))) == 2


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = tmp_path / "disk"
    mount.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=False).returncode
    ):
        pytest.skip("only root may mount a small disk")
    try:
        lake, number, output = Lake(str(mount / "lake")), -1, ""
        publish(lake, [("a", 1.0, 20)])
        while not output:
            number += 1
            staged = stage(lake, [(f"b{number}", 1.0, 21)])
            if number == 3:  # what is left is enough for a part of a commit
                left = os.statvfs(mount)
                (mount / "ballast").write_bytes(bytes(left.f_bavail * left.f_frsize - 12_000))
            try:
                add(lake, staged, f"{number}")
            except LakeError as error:
                output = str(error)
        assert "the disk is full: free some space" in output
        rows = rows_of(open_readings(lake))
        assert len(rows) == current(open_readings(lake)).number == number + 1
        (mount / "ballast").unlink()
        assert publish(lake, [("z", 1.0, 22)]).number == number + 2
        assert rows_of(open_readings(lake)) == [*rows, ("z", 1.0)]
    finally:
        subprocess.run(["umount", "-l", mount], check=True)


# --- catalogs that fail -----------------------------------------------------------------------------------------------


def test_a_catalog_that_is_locked_for_too_long(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BUSY_S", 0.1)
    staged = stage(lake, [("c", 3.0, 22)])
    with closing(sqlite3.connect(lake.uri("catalog.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LakeError, match=r"can't be used \(database is locked\): another process has held it"):
            add(lake, staged)
        assert rows_of(open_readings(lake)) == ROWS, "readers do not wait"
        other.execute("ROLLBACK")
    assert add(lake, staged, "again").number == 2
    assert rows_of(open_readings(lake)) == [*ROWS, ("c", 3.0)]


def test_a_catalog_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "catalog.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.3, other.execute, ["ROLLBACK"]).start()
        assert readings(Lake(str(tmp_path))).current_snapshot() is None


def test_a_catalog_that_may_not_be_written(lake: Lake) -> None:
    table, staged = readings(lake), stage(lake, [("c", 3.0, 22)])
    assert isinstance(table.catalog, SqlCatalog)
    event.listen(table.catalog.engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA query_only=ON"))
    with pytest.raises(LakeError, match=r"readonly database\): the lake is read-only"):
        commit(table, Version(2, run="test", attempt="one"), staged)
    assert rows_of(open_readings(lake)) == ROWS
    assert add(lake, staged).number == 2


def test_a_catalog_that_vanishes_during_a_run(lake: Lake) -> None:
    table, staged = readings(lake), stage(lake, [("c", 3.0, 22)])
    assert isinstance(table.catalog, SqlCatalog)
    table.catalog.engine.dispose()  # else SQLite goes on with the file that has no name any more
    for path in Path(lake.root).glob("catalog.db*"):
        path.unlink()
    with pytest.raises(LakeError, match=r"no such table"):
        commit(table, Version(2, run="test", attempt="one"), staged)
    assert rows_of(open_readings(lake)) == ROWS
    assert add(lake, staged, "again").number == 2


def test_a_commit_to_a_catalog_without_a_name_is_found_again(lake: Lake) -> None:
    table, staged = readings(lake), stage(lake, [("c", 3.0, 22)])
    for path in Path(lake.root).glob("catalog.db*"):
        path.unlink()
    commit(table, Version(2, run="test", attempt="one"), staged)
    assert rows_of(open_readings(lake)) == [*ROWS, ("c", 3.0)]


@pytest.mark.parametrize("error", [CommitFailedException("conflict"), OSError("the answer was lost"), KeyError("x")])
def test_an_answer_that_is_lost(lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    "The commit has landed. A client that asks again hears of a conflict, with its own commit."
    original = SqlCatalog.commit_table

    def lost(*words: Any) -> Any:
        original(*words)
        raise error

    table, staged = readings(lake), stage(lake, [("c", 3.0, 22)])
    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", lost)
        assert commit(table, Version(2, run="test", attempt="one"), staged).number == 2
    assert rows_of(open_readings(lake)) == [*ROWS, ("c", 3.0)]
    assert publish(lake, [("d", 4.0, 23)]).number == 3


@pytest.mark.parametrize(
    ("error", "seen"),
    [(CommitFailedException("conflict"), Conflict), (OSError(errno.EIO, "gone"), LakeError), (KeyError("x"), KeyError)],
)
def test_a_commit_that_did_not_land(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Exception, seen: type[Exception]
) -> None:
    def refused(*words: Any) -> Any:
        raise error

    table, staged = readings(lake), stage(lake, [("c", 3.0, 22)])
    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", refused)
        with pytest.raises(seen):
            commit(table, Version(2, run="test", attempt="one"), staged)
    assert rows_of(open_readings(lake)) == ROWS
    assert all(Path(path).exists() for path in staged)
    assert add(lake, staged, "again").number == 2


EIGHT = """
import os, sys, time
sys.path.insert(0, sys.argv[2])
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Conflict
from smartsensor.lake.tables import Version
from smartsensor.lake.commits import commit, next_version
from readings import readings, stage

def one(who):
    lake = Lake(sys.argv[1])
    for at in range(3):
        staged = stage(lake, [(f"{who}-{at}", float(at), 20 + who)])
        while True:
            table = readings(lake)
            try:
                commit(table, Version(next_version(table), run=str(who), attempt=f"{who}-{at}"), staged)
                break
            except Conflict:
                print("conflict", flush=True)

children = []
for who in range(8):
    pid = os.fork()
    if not pid:
        try:
            one(who)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(pid)
sys.exit(any(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


@pytest.mark.parametrize("there", [True, False])
def test_eight_processes_commit_at_once(tmp_path: Path, there: bool) -> None:
    lake = Lake(str(tmp_path / "lake"))
    if there:
        readings(lake)
    command = [sys.executable, "-c", EIGHT, lake.root, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "conflict" in done.stdout, "they did not meet"
    table = open_readings(lake)
    assert rows_of(table) == sorted((f"{who}-{at}", float(at)) for who in range(8) for at in range(3))
    assert [one.number for one in versions(table)] == list(range(1, 25))
    assert len({one.attempt for one in versions(table)}) == 24


def test_the_catalog_may_be_any_that_pyiceberg_opens(tmp_path: Path) -> None:
    "A name in SMARTSENSOR_CATALOG is a catalog of pyiceberg's own configuration, which it reads when it is imported."
    code = """
import sys
import pyarrow as pa
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables
tables = Tables(Lake(sys.argv[1]))
made = tables.ensure("qualified", "readings", pa.schema([("id", pa.string())]), None)
print(tables.catalog.name, ".".join(made.name()), tables.find("qualified", "readings").location())
"""
    env = {
        **os.environ,
        "SMARTSENSOR_CATALOG": "house",
        "SMARTSENSOR_DATABASE": "telemetry",
        "PYICEBERG_CATALOG__HOUSE__TYPE": "sql",
        "PYICEBERG_CATALOG__HOUSE__URI": f"sqlite:///{tmp_path}/elsewhere.db",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lake")], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["house", "telemetry.readings", f"file://{tmp_path}/lake/qualified/readings"]
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "lake" / "catalog.db").exists()
