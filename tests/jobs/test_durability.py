"""What a manifest and the ledger point to is on disk before they are: a power cut between any two calls loses nothing that counts."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs import landing as landing_room
from smartsensor.jobs.extract import extract
from smartsensor.jobs.extraction import close
from smartsensor.lake.lake import Lake
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World
from smartsensor.source.http import Client
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = Window(NOW - timedelta(hours=3), NOW - timedelta(hours=2))
RUN = "20261120T120000Z-cafe"


class Disk:
    """Notes what would survive a power cut: files by their content, names by their folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.contents, self.names = set[int](), set[Path]()
        self.created: list[tuple[Path, set[int], set[Path]]] = []  # each new link, with what was on disk before
        fsync, link = os.fsync, os.link

        def synced(descriptor: int) -> None:
            fsync(descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                self.names.update(Path(f"/proc/self/fd/{descriptor}").readlink().iterdir())
            else:
                self.contents.add(status.st_ino)

        def linked(source: Path, target: Path) -> None:
            self.created.append((Path(target), set(self.contents), set(self.names)))
            link(source, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "link", linked)

    def before(self, path: Path) -> tuple[set[int], set[Path]]:
        "What was on disk when a name was made."
        return next((contents, names) for target, contents, names in self.created if target == path)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the name of an open folder is asked of /proc")
def test_what_a_manifest_and_the_ledger_name_is_on_disk_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing_room, "PART_ROWS", 200)
    monkeypatch.setattr(landing_room, "GROUP_ROWS", 100)
    root = tmp_path / "lake"
    lake, disk = Lake(str(root)), Disk(monkeypatch)
    world = World(Fleet(sensors=12, revised=0.0))
    with serve(world=world, clock=lambda: NOW, limits=Limits(burst=0, sustained=0)) as api:
        settings = ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), page_limit=100)
        manifest = extract(Client(settings), lake, MEASUREMENTS, HOUR, RUN)
    close(lake, "measurements", RUN, [manifest])

    def durable(path: Path, contents: set[int], names: set[Path]) -> None:
        assert path.stat().st_ino in contents, f"the content of {path.name} is not on disk"
        for name in (path, *path.parents):
            if name != root and name.is_relative_to(root):
                assert name in names, f"the name {name} is not on disk"

    assert len(manifest.parts) > 2
    for part in manifest.parts:
        durable(root / part.key, *disk.before(root / manifest.key))
    ledger = root / "state/measurements/00000001.json"
    durable(root / manifest.key, *disk.before(ledger))
    durable(ledger, disk.contents, disk.names)
