"""The lake under kills, races and bad disks; the teaching cases stand in nbs/lake/025_lake.ipynb."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from smartsensor.lake.lake import Lake
from smartsensor.lake.ledger import Evidence
from smartsensor.lake.store import LakeError, NotFound
from smartsensor.windows import Window, cut, instant

DAY = Window(instant("2026-11-20T00:00:00Z"), instant("2026-11-21T00:00:00Z"))


def evidence(window: Window, run: str) -> Evidence:
    return Evidence(window, run, f"raw/x/_manifests/{run}/{window.key}.json", 1, 1, 1, None, None, "0" * 64, 1)


def advance(root: str, run: str, windows: list[Window]) -> None:
    lake = Lake(root)
    for window in windows:
        lake.close("x", run, [evidence(window, run)])


def test_processes_that_race_lose_no_window(tmp_path: Path) -> None:
    from datetime import timedelta

    windows = list(cut(DAY, timedelta(minutes=12)))
    context = multiprocessing.get_context("spawn")
    runners = [context.Process(target=advance, args=(str(tmp_path), f"run-{n}", windows[n::4])) for n in range(4)]
    for one in runners:
        one.start()
    for one in runners:
        one.join()
    assert [one.exitcode for one in runners] == [0, 0, 0, 0]
    lake = Lake(str(tmp_path))
    assert lake.ledger("x").covered == (DAY,)
    assert lake.ledger("x").version == len(windows)
    added = [one.window for version in range(1, len(windows) + 1) for one in lake.ledger("x", version).added]
    assert sorted(added) == windows


def test_a_writer_that_is_killed_leaves_no_half_object(tmp_path: Path) -> None:
    code = (
        "import os, signal; from smartsensor.lake.lake import Lake; import smartsensor.lake.store as module\n"
        "def die(*args): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"module.os.fsync = die\nLake({str(tmp_path)!r}).{{call}}"
    )
    for call in ("create('state/x/00000001.json', b'half')", "put('runs/r/result.json', b'half')"):
        assert subprocess.run([sys.executable, "-c", code.format(call=call)], check=False).returncode == -9
    lake = Lake(str(tmp_path))
    assert not lake.exists("state/x/00000001.json")
    assert lake.list("runs") == []
    assert lake.create("state/x/00000001.json", b"whole")


def test_a_log_that_was_tampered_with_is_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    lake.create("state/x/00000001.json", b"{")
    with pytest.raises(LakeError, match=r"state/x/00000001\.json is not JSON"):
        lake.ledger("x")
    lake.put("state/x/00000001.json", json.dumps([1]).encode())
    with pytest.raises(LakeError, match="no JSON object"):
        lake.ledger("x")


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small tmpfs, which needs Linux and root")
def test_a_full_disk_is_said_and_corrupts_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounts a small tmpfs, which needs Linux and root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=True)
    try:
        lake = Lake(str(tmp_path))
        lake.put("runs/a", b"x" * 100_000)
        with pytest.raises(LakeError, match="the disk is full"):
            lake.put("runs/a", b"y" * 400_000)
        assert lake.read("runs/a") == b"x" * 100_000
        assert lake.list(".tmp") == []
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        with pytest.raises(LakeError, match="read-only"):
            lake.put("runs/b", b"")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_file_from_another_file_system_is_taken_in(tmp_path: Path) -> None:
    source = Path("/dev/shm/smartsensor-upload") if Path("/dev/shm").is_dir() else tmp_path / "other"
    source.write_bytes(b"whole")
    lake = Lake(str(tmp_path / "lake"))
    lake.upload(source, "raw/x/part-00000.parquet")
    assert lake.read("raw/x/part-00000.parquet") == b"whole"
    assert not source.exists()


@pytest.mark.parametrize("root", ["", "s3://", "ftp://x", "gs://bucket"])
def test_what_is_no_lake_is_refused(root: str) -> None:
    with pytest.raises(LakeError):
        Lake(root).exists("x")


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    for read in (Lake(str(tmp_path)).read, Lake(str(tmp_path)).open, Lake(str(tmp_path)).json):
        with pytest.raises(NotFound):
            read("runs/none")
