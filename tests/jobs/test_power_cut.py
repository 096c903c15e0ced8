"""What a manifest or a ledger names would survive a power cut: a file system that forgets what was not synced is modelled beside the real one."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter

from smartsensor.config import ApiSettings
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.source.http import Client
from smartsensor.source.resources import INSTANT, TEXT, Resource, columns
from smartsensor.source.sign_in import NoSignIn
from smartsensor.windows import Window, instant, rfc3339

RUN = "20261120T120000Z-durable"
FIRST = instant("2026-11-20T00:00:00Z")
WINDOWS = [Window(FIRST + timedelta(hours=n), FIRST + timedelta(hours=n + 1)) for n in range(3)]
READINGS = Resource(
    "readings", "/readings", ("id",), columns(id=TEXT, at=INSTANT), "incremental", incremental_field="at", event_field="at", version=(),
)  # fmt: skip


@dataclass
class Disk:
    """What a power cut would leave: bytes that were synced, and names whose folder was synced since."""

    root: Path
    data: dict[int, int] = field(default_factory=dict)  # by inode: bytes when it was synced
    names: dict[Path, set[tuple[str, int]]] = field(default_factory=dict)  # by folder: name and inode
    commits: list[str] = field(default_factory=list)  # files that name others, in their order
    lost: list[str] = field(default_factory=list)  # what one of them names and a cut would have taken

    def synced(self, descriptor: int) -> None:
        path, found = Path(f"/proc/self/fd/{descriptor}").readlink(), os.fstat(descriptor)
        if path.is_dir():
            self.names[path] = {(one.name, one.inode()) for one in os.scandir(path)}
        else:
            self.data[found.st_ino] = found.st_size

    def survives(self, path: Path) -> bool:
        "Whether the bytes of a file, and its name in each folder above it, are on disk."
        found = path.stat()
        chain = [path, *(one for one in path.parents if one.is_relative_to(self.root) and one != self.root)]
        named = all((one.name, one.stat().st_ino) in self.names.get(one.parent, ()) for one in chain)
        return named and self.data.get(found.st_ino) == found.st_size

    def named(self, source: Path, target: Path) -> None:
        "A file is about to get its name: what does it point to?"
        key = target.relative_to(self.root).as_posix()
        if self.data.get(source.stat().st_ino) != source.stat().st_size:
            self.lost.append(f"the bytes of {key}")
        points_to = pointers(key, source)
        if points_to:
            self.commits.append(key)
        self.lost += [f"{one}, which {key} names" for one in points_to if not self.survives(self.root / one)]


def pointers(key: str, file: Path) -> list[str]:
    "Keys of the raw files or manifests that a manifest or a ledger names."
    if not key.endswith(".json"):
        return []
    texts = [json.loads(file.read_bytes())]
    found = list[str]()
    while texts:
        one = texts.pop()
        texts += one.values() if isinstance(one, dict) else one if isinstance(one, list) else []
        if isinstance(one, str) and one.startswith("raw/") and one != key:
            found.append(one)
    return found


class Pages(BaseAdapter):
    """Answers each window with two rows."""

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        start = instant(
            dict(one.split("=") for one in (request.url or "").split("?")[1].split("&"))["updated_since"].replace(
                "%3A", ":"
            )
        )
        rows = [{"id": f"{start:%H}-{n}", "at": rfc3339(start + timedelta(minutes=n))} for n in range(2)]
        reply, body = Response(), {"data": rows, "pagination": {"next_cursor": None, "has_more": False}}
        reply.status_code, reply.raw, reply.url = 200, io.BytesIO(json.dumps(body).encode()), str(request.url)
        return reply

    def close(self) -> None: ...


def land(root: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk(root)
    fsync, link, replace = os.fsync, os.link, os.replace

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        disk.synced(descriptor)

    def watched(act: Callable[..., None]) -> Callable[..., None]:
        def name(source: Any, target: Any, **options: Any) -> None:
            disk.named(Path(source), Path(target))
            act(source, target, **options)

        return name

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "link", watched(link))
        patch.setattr(os, "replace", watched(replace))
        client = Client(ApiSettings("http://127.0.0.1:9"), NoSignIn(), transport=Pages())
        due = [Due("readings", one, None) for one in WINDOWS]
        extract_all(client, Lake(str(root)), due, RUN, 1, resources={"readings": READINGS})
    return disk


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the name of an open file is asked of /proc")
def test_what_a_manifest_or_a_ledger_names_is_on_disk_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "lake"
    root.mkdir()
    disk = land(root, monkeypatch)
    assert disk.lost == []
    manifests = [key for key in disk.commits if key.startswith("raw/")]
    ledgers = [key for key in disk.commits if not key.startswith("raw/")]
    assert len(manifests) == len(WINDOWS)
    assert len(ledgers) == 1
    assert disk.commits.index(ledgers[0]) > max(map(disk.commits.index, manifests))
    assert all(disk.survives(root / key) for key in (*manifests, *ledgers)), (
        "the last of them too, when the run says that it is done"
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the name of an open file is asked of /proc")
def test_the_model_notices_a_sync_that_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "lake"
    root.mkdir()
    monkeypatch.setattr("smartsensor.lake.store.sync_path", lambda path: None)
    assert land(root, monkeypatch).lost != []
