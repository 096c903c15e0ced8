"""A lake that was moved, copied, mounted elsewhere, or whose catalog was lost: it opens, with its history, and nothing else changes."""

import hashlib
import io
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro
import polars
import pytest
from readings import duckdb_reader, open_readings, publish, readings, rows_of, stage

from smartsensor.lake import relocate
from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.commits import commit, next_version, rollback
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError
from smartsensor.lake.tables import Tables, Version, current, versions
from smartsensor.lake.vacuum import Retention, plan_vacuum

FIRST = [("a", 1.0), ("b", 2.0)]
SECOND = [("a", 9.0), ("b", 2.0)]
THIRD = [*SECOND, ("c", 3.0)]


@pytest.fixture
def before(tmp_path: Path) -> Lake:
    "Three versions; the second replaces a file."
    lake = Lake(str(tmp_path / "before"))
    publish(lake, [("a", 1.0, 20), ("b", 2.0, 21)])
    publish(lake, [("a", 9.0, 20)], replace=[20])
    publish(lake, [("c", 3.0, 22)])
    return lake


def digests(root: Path) -> dict[str, str]:
    "What stands in a folder, without SQLite's bookkeeping."
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith("catalog.db")
    }


def has_all_three(lake: Lake) -> None:
    table = open_readings(lake)
    assert [version.number for version in versions(table)] == [1, 2, 3]
    assert [rows_of(table, version.snapshot) for version in versions(table)] == [FIRST, SECOND, THIRD]
    assert rows_of(table) == THIRD


def avro(address: str) -> list[Any]:
    return list(fastavro.reader(io.BytesIO(Path(address.removeprefix("file://")).read_bytes())))


def names(lake: Lake) -> str:
    "All that the newest metadata says: itself, lists and manifests."
    table, text = open_readings(lake), []
    text.append(Path(table.metadata_location.removeprefix("file://")).read_text())
    for record in (record for one in table.metadata.snapshots for record in avro(one.manifest_list)):
        assert Path(record["manifest_path"].removeprefix("file://")).stat().st_size == record["manifest_length"]
        text += [str(record), *map(str, avro(record["manifest_path"]))]
    return "\n".join(text)


def test_a_moved_lake_opens_with_its_history(before: Lake, tmp_path: Path) -> None:
    was, parquet = (
        open_readings(before),
        {key: one for key, one in digests(tmp_path / "before").items() if "/data/" in key},
    )
    shutil.move(tmp_path / "before", tmp_path / "after")
    lake = Lake(str(tmp_path / "after"))
    has_all_three(lake)
    table = open_readings(lake)
    assert [one.model_dump(exclude={"manifest_list"}) for one in table.metadata.snapshots] == [
        one.model_dump(exclude={"manifest_list"}) for one in was.metadata.snapshots
    ]
    assert table.metadata.table_uuid == was.metadata.table_uuid
    assert str(tmp_path / "before") not in names(lake)
    assert {key: one for key, one in digests(tmp_path / "after").items() if "/data/" in key} == parquet


def test_the_second_time_there_is_nothing_to_do(before: Lake, tmp_path: Path) -> None:
    shutil.move(tmp_path / "before", tmp_path / "after")
    lake = Lake(str(tmp_path / "after"))
    has_all_three(lake)
    then = digests(tmp_path / "after")
    has_all_three(lake)
    assert digests(tmp_path / "after") == then


def test_a_moved_lake_goes_on_and_may_move_again(before: Lake, tmp_path: Path) -> None:
    for name in ("second", "third", "second", "before"):
        shutil.move(before.root, tmp_path / name)
        before = Lake(str(tmp_path / name))
        number = publish(before, [(name, 1.0, 23)]).number
        assert len(rows_of(open_readings(before))) == number
        assert rollback(open_readings(before), 3, "a person").number == number + 1
        assert rows_of(open_readings(before)) == THIRD
        publish(before, [(f"n{at}", 1.0, 24) for at in range(number - 1)])
    assert [rows_of(open_readings(before), one.snapshot) for one in versions(open_readings(before))[:3]] == [
        FIRST,
        SECOND,
        THIRD,
    ]


def lose_catalog(root: Path) -> None:
    for path in root.glob("catalog.db*"):
        path.unlink()


def test_a_copy_and_its_original_go_separate_ways(before: Lake, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "before", tmp_path / "copy")
    original, copy = digests(tmp_path / "before"), Lake(str(tmp_path / "copy"))
    has_all_three(copy)
    publish(copy, [("d", 4.0, 23)])
    table = open_readings(copy)
    with table.transaction() as change:
        change.set_properties({"write.metadata.previous-versions-max": "1"})
    commit(table, Version(next_version(table), run="test", attempt="one"), [])  # deletes older metadata
    assert plan_vacuum(copy, Retention(), datetime.now(UTC)).garbage == ()
    assert digests(tmp_path / "before") == original, "the copy's commits delete old metadata: their own"
    publish(before, [("e", 5.0, 23)])
    assert rows_of(open_readings(before)) == [*THIRD, ("e", 5.0)]
    assert rows_of(open_readings(copy)) == [*THIRD, ("d", 4.0)]


def test_a_symbolic_link_is_the_same_lake(before: Lake, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "before")
    then, link = digests(tmp_path / "before"), Lake(str(tmp_path / "link"))
    has_all_three(link)
    assert digests(tmp_path / "before") == then
    publish(link, [("d", 4.0, 23)])
    assert rows_of(open_readings(before)) == [*THIRD, ("d", 4.0)]
    assert str(tmp_path / "link") not in names(before)


def test_a_link_that_leads_to_another_place_now(before: Lake, tmp_path: Path) -> None:
    "A disk that is mounted elsewhere, and found under its old name."
    shutil.move(tmp_path / "before", tmp_path / "disk")
    (tmp_path / "before").symlink_to(tmp_path / "disk")
    has_all_three(before)
    (tmp_path / "before").unlink()
    has_all_three(Lake(str(tmp_path / "disk")))


def test_duckdb_and_polars_read_the_moved_one(before: Lake, tmp_path: Path) -> None:
    shutil.move(tmp_path / "before", tmp_path / "a moved läke")
    lake = Lake(str(tmp_path / "a moved läke"))
    table, reader = open_readings(lake), duckdb_reader(tmp_path / "extensions")
    metadata = table.metadata_location.removeprefix("file://")
    output = reader.execute(f"SELECT id, value FROM iceberg_scan('{metadata}') ORDER BY id").fetchall()
    assert output == THIRD
    old = versions(table)[0].snapshot
    output = reader.execute(f"SELECT id, value FROM iceberg_scan('{metadata}', snapshot_from_id={old}) ORDER BY id")
    assert output.fetchall() == FIRST
    assert polars.scan_iceberg(table).sort("id").select("id", "value").collect().rows() == THIRD
    assert polars.scan_iceberg(table, snapshot_id=old).sort("id").select("id", "value").collect().rows() == FIRST


# --- kills and races --------------------------------------------------------------------------------------------------

CHILD = """
import os, shutil, signal, sys
from pathlib import Path
from smartsensor.lake import relocate
from smartsensor.lake.lake import Lake
from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.tables import Tables

write, left = relocate._write, 0

def step(half=None):
    global left
    left -= 1
    if left < 0:
        if half:
            half[0].write_bytes(half[1][: len(half[1]) // 2])  # half a file, under its name
        os.kill(os.getpid(), signal.SIGKILL)

def dies(act):
    def both(*words):
        step(words if act is write else None)
        act(*words)
        step()
    return both

for name in ("_write", "_change_row", "_register_found"):
    setattr(relocate, name, dies(getattr(relocate, name)))

def opened(lake, steps):  # by a process of its own
    global left
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = steps
    found = Tables(Lake(str(lake))).find(QUALIFIED, "readings")
    os._exit(0 if found is not None else 1)

source, target, chained = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "chained"
for steps in range(100):
    lake = target / ("chain" if chained else str(steps))
    if not lake.exists():
        shutil.copytree(source, lake)
    code = opened(lake, steps)
    print(code)
    if code != -signal.SIGKILL:
        break
"""


def killed_at_each_step(lake: Path, target: Path, how: str = "") -> int:
    "Copies of a lake, opened by processes that are killed one step later each; how many were killed before one came through."
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(lake), str(target), how], capture_output=True, text=True, timeout=300
    )
    codes = done.stdout.split()
    assert codes[-1] == "0", done.stderr
    assert set(codes[:-1]) == {str(-signal.SIGKILL)}
    return len(codes) - 1


@pytest.mark.parametrize("lost", [False, True])
def test_killed_at_each_step_it_begins_again(before: Lake, tmp_path: Path, lost: bool) -> None:
    shutil.move(tmp_path / "before", tmp_path / "after")
    if lost:
        lose_catalog(tmp_path / "after")
    kills = killed_at_each_step(tmp_path / "after", tmp_path / "killed")
    assert kills >= 12, "three lists, manifests, one metadata.json, the row: before and after each"
    for steps in range(kills):
        has_all_three(Lake(str(tmp_path / "killed" / str(steps))))


def test_one_lake_through_a_chain_of_kills(before: Lake, tmp_path: Path) -> None:
    shutil.move(tmp_path / "before", tmp_path / "after")
    assert killed_at_each_step(tmp_path / "after", tmp_path / "killed", "chained") >= 12
    has_all_three(Lake(str(tmp_path / "killed/chain")))


OPEN = "import sys; from smartsensor.lake.lake import Lake; from smartsensor.lake.tables import Tables; assert Tables(Lake(sys.argv[1])).find('qualified', 'readings')"


@pytest.mark.parametrize("lost", [False, True])
def test_three_processes_at_once(before: Lake, tmp_path: Path, lost: bool) -> None:
    shutil.move(tmp_path / "before", tmp_path / "after")
    if lost:
        lose_catalog(tmp_path / "after")
    command = [sys.executable, "-c", OPEN, str(tmp_path / "after")]
    several = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in several:
        _, output = process.communicate(timeout=120)
        assert process.returncode == 0, output
    has_all_three(Lake(str(tmp_path / "after")))


def test_a_commit_between_reading_and_changing_the_row_stays(
    before: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(tmp_path / "before", tmp_path / "after")
    lake, original, once = Lake(str(tmp_path / "after")), relocate.rewrite, threading.Event()

    def slow(*words: object) -> str:
        address = original(*words)  # type: ignore[arg-type]
        if not once.is_set():
            once.set()
            publish(lake, [("d", 4.0, 23)])  # another process was faster, and has committed since
        return address

    monkeypatch.setattr(relocate, "rewrite", slow)
    assert rows_of(open_readings(lake)) == [*THIRD, ("d", 4.0)]


# --- a catalog that is lost -------------------------------------------------------------------------------------------


def test_a_lost_catalog_is_made_from_the_files(before: Lake, tmp_path: Path) -> None:
    was = open_readings(before).metadata_location
    lose_catalog(tmp_path / "before")
    has_all_three(before)
    assert open_readings(before).metadata_location == was
    assert publish(before, [("d", 4.0, 23)]).number == 4


def test_what_a_killed_writer_left_is_passed_over(before: Lake, tmp_path: Path) -> None:
    newest = Path(open_readings(before).metadata_location.removeprefix("file://"))
    (newest.parent / "00099-half.metadata.json").write_bytes(newest.read_bytes()[:200])
    document = json.loads(newest.read_text())
    publish(before, [("d", 4.0, 23)])
    lose_catalog(tmp_path / "before")
    last = max(newest.parent.glob("0*.json"), key=lambda path: (path.name.startswith("00004"), path.name))
    assert document["last-sequence-number"] == 3
    assert last.name.startswith("00004")
    shutil.copytree(tmp_path / "before", tmp_path / "copy")
    for path in (tmp_path / "copy/qualified/readings/data").rglob("23.parquet"):
        path.unlink()  # its attempt was discarded
    has_all_three(Lake(str(tmp_path / "copy")))
    assert rows_of(open_readings(before)) == [*THIRD, ("d", 4.0)]


@pytest.mark.parametrize("written", ["", '{"location": "file:///'])
def test_a_table_that_another_process_is_making_is_not_lost(tmp_path: Path, written: str) -> None:
    lake = Lake(str(tmp_path / "lake"))
    path = Path(lake.uri("qualified/readings/metadata/00000-abc.metadata.json"))
    path.parent.mkdir(parents=True)
    path.write_text(written)
    assert Tables(lake).find(QUALIFIED, "readings") is None
    publish(lake, [("a", 1.0, 20)])
    assert rows_of(open_readings(lake)) == [("a", 1.0)]


def test_moved_and_lost(before: Lake, tmp_path: Path) -> None:
    shutil.move(tmp_path / "before", tmp_path / "after")
    lose_catalog(tmp_path / "after")
    has_all_three(Lake(str(tmp_path / "after")))


def test_a_table_whose_files_are_gone_is_refused(before: Lake, tmp_path: Path) -> None:
    lose_catalog(tmp_path / "before")
    for path in (tmp_path / "before").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(LakeError, match="none of its metadata is whole"):
        open_readings(before)


def test_a_damaged_catalog_says_what_to_do(before: Lake, tmp_path: Path) -> None:
    lose_catalog(tmp_path / "before")
    (tmp_path / "before/catalog.db").write_bytes(b"no database " * 1000)
    with pytest.raises(LakeError, match=r"not a database.*move catalog\.db.* away"):
        open_readings(before)
    for path in (tmp_path / "before").glob("catalog.db*"):
        path.rename(tmp_path / f"{path.name}.damaged")
    has_all_three(before)


def test_a_torn_page_of_the_catalog_says_what_to_do(before: Lake, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "before", tmp_path / "copy")  # nobody has its catalog open
    path = tmp_path / "copy/catalog.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(LakeError, match=r"malformed.*move catalog\.db.* away"):
        open_readings(Lake(str(tmp_path / "copy")))


def test_a_copy_that_was_cut_short_is_refused(before: Lake, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "before", tmp_path / "copy")
    gone = next((tmp_path / "copy").rglob("22.parquet"))
    gone.unlink()
    with pytest.raises(LakeError, match="was copied without 1 files that its versions need"):
        open_readings(Lake(str(tmp_path / "copy")))
    shutil.copy(next((tmp_path / "before").rglob("22.parquet")), gone)
    has_all_three(Lake(str(tmp_path / "copy")))


@pytest.mark.parametrize("which", ["list", "manifest"])
def test_damaged_metadata_is_named(before: Lake, tmp_path: Path, which: str) -> None:
    shutil.copytree(tmp_path / "before", tmp_path / "copy")
    pattern = "snap-*.avro" if which == "list" else "*-m0.avro"
    path = next((tmp_path / "copy").rglob(pattern))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(LakeError, match=f"{path.name} is damaged"):
        open_readings(Lake(str(tmp_path / "copy")))


def test_metadata_that_was_removed_by_hand_is_named(before: Lake, tmp_path: Path) -> None:
    Path(open_readings(before).metadata_location.removeprefix("file://")).unlink()
    with pytest.raises(LakeError, match="is gone, and the catalog names it"):
        open_readings(before)


# --- catalogs that are not the lake's own -----------------------------------------------------------------------------


def test_two_lakes_need_two_catalogs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTSENSOR_CATALOG", f"sqlite:///{tmp_path}/shared.db")
    lake = Lake(str(tmp_path / "lake"))
    publish(lake, [("a", 1.0, 20)])
    shutil.copytree(tmp_path / "lake", tmp_path / "copy")
    with pytest.raises(LakeError, match="two lakes need two catalogs"):
        open_readings(Lake(str(tmp_path / "copy")))
    assert rows_of(open_readings(lake)) == [("a", 1.0)]
    shutil.rmtree(tmp_path / "lake")  # moved, not copied
    assert rows_of(open_readings(Lake(str(tmp_path / "copy")))) == [("a", 1.0)]


def test_another_database_does_not_register_a_table_twice(before: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMARTSENSOR_DATABASE", "other")
    with pytest.raises(LakeError, match=r"is the table smartsensor\.readings already"):
        readings(before)


def test_a_table_that_was_never_committed_to_is_registered_empty(tmp_path: Path) -> None:
    "Its maker was killed between metadata and row."
    lake = Lake(str(tmp_path))
    readings(lake)
    lose_catalog(tmp_path)
    assert current(open_readings(lake)) == Version(0)
    assert stage(lake, [("a", 1.0, 20)])
    assert publish(lake, [("a", 1.0, 20)]).number == 1
    assert Tables(lake).find(QUALIFIED, "others") is None
