"""Retention: what a vacuum removes, and that nothing which anybody needs is ever among it."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from smartsensor.jobs.publish import readable, rollback
from test_promote import HOUR, Killed, Landing, MortalLake, QuickGate, measurement, published, suite
from typer.testing import CliRunner

import smartsensor.run.cli  # noqa: F401 - registers the commands
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.engines import Engine
from smartsensor.jobs.pending import pending
from smartsensor.jobs.promote import STEPS, promote
from smartsensor.lake.lake import Lake
from smartsensor.lake.layout import Manifest
from smartsensor.lake.ledger import Ledger
from smartsensor.lake.store import Conflict, LakeError, NotFound, Vacuumed
from smartsensor.lake.vacuum import Retention, kept_versions, plan_vacuum, vacuum
from smartsensor.run.claims import claim
from smartsensor.run.cli import app
from smartsensor.source.resources import MEASUREMENTS, RESOURCES
from smartsensor.windows import Window, instant

NOTHING_KEPT = Retention(versions=0, replaced=timedelta(0), cassettes=timedelta(0))


def later(days: float = 40) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, QuickGate]]:
    folder = tmp_path_factory.mktemp("suites")
    for name in RESOURCES:
        for zone in ("raw", "qualified"):
            (folder / f"{name}.{zone}.json").write_text(suite(f"{name}.{zone}"))
    opened = DuckDB(tmp_path_factory.mktemp("engine"), threads=1, memory_limit="500MB")
    yield opened, QuickGate(folder)
    opened.close()


@pytest.fixture
def gate(quick: tuple[Engine, QuickGate]) -> QuickGate:
    return quick[1]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = DuckDB(tmp_path, threads=1, memory_limit="500MB")
    yield opened
    opened.close()


def promoted(root: Path, engine: Engine, gate: QuickGate, times: int) -> Lake:
    landing = Landing(root)
    for number in range(1, times + 1):
        run = landing.land(MEASUREMENTS, [measurement(1, revision=number), measurement(number + 1)])
        promote(landing.lake, MEASUREMENTS, engine, gate, run)
    return landing.lake


# --- what goes --------------------------------------------------------------------------------------------------------


def test_superseded_versions_go_and_say_so(tmp_path: Path, engine: Engine, gate: QuickGate) -> None:
    lake = promoted(tmp_path / "lake", engine, gate, 5)
    rows = published(lake, MEASUREMENTS)
    assert (
        plan_vacuum(lake, Retention(versions=2, replaced=timedelta(days=7)), later(6)).waste == ()
    )  # replaced six days ago
    assert (
        plan_vacuum(lake, Retention(versions=4, replaced=timedelta(0)), later()).waste == ()
    )  # one of the four before
    planned = plan_vacuum(lake, Retention(versions=2, replaced=timedelta(days=7)), later(8))
    assert planned.gone == {"measurements": (1, 2)}
    assert set(planned.totals()) == {"superseded"}
    vacuum(lake, planned, later(8))
    with pytest.raises(
        Vacuumed,
        match=rf"measurements, version 2 was removed by the vacuum of {later(8):%Y-%m-%d}; newer ones than 2 can be read",
    ):
        lake.snapshot("measurements", 2)
    with pytest.raises(NotFound):
        rollback(lake, MEASUREMENTS, 1)
    assert published(lake, MEASUREMENTS) == rows
    assert rollback(lake, MEASUREMENTS, 3) == 6
    assert len(readable(lake, lake.snapshot("measurements", 5))) > 0
    assert plan_vacuum(lake, Retention(versions=9), later()).gone == {}


def test_a_version_that_was_rolled_back_to_keeps_its_files(tmp_path: Path, engine: Engine, gate: QuickGate) -> None:
    lake = promoted(tmp_path / "lake", engine, gate, 3)
    rollback(lake, MEASUREMENTS, 1)
    planned = plan_vacuum(lake, NOTHING_KEPT, later())
    assert planned.gone == {"measurements": (2, 3)}  # 1 has the very files of 4
    vacuum(lake, planned, later())
    assert readable(lake, lake.snapshot("measurements", 1)) == readable(lake, lake.snapshot("measurements"))
    with pytest.raises(Vacuumed):
        lake.snapshot("measurements", 3)


@pytest.mark.parametrize(
    ("versions", "days", "oldest"), [(0, 0.5, 4), (2, 0.5, 3), (99, 0, 1), (0, 2.5, 2), (0, 99, 1)]
)
def test_what_is_kept_is_counted_from_the_replacement(tmp_path: Path, versions: int, days: float, oldest: int) -> None:
    lake, now = Lake(str(tmp_path)), datetime(2026, 11, 20, tzinfo=UTC)
    for version in range(1, 6):  # version 5 was published now, version 4 a day ago, …
        lake.log("published", "x").append(
            version, {"published_at": (now - timedelta(days=5 - version)).isoformat(), "files": []}
        )
    assert kept_versions(lake, "x", 5, Retention(versions=versions, replaced=timedelta(days=days)), now) == oldest


def test_staging_of_a_killed_promotion_goes_and_a_living_one_stays(
    tmp_path: Path, engine: Engine, gate: QuickGate
) -> None:
    landing = Landing(tmp_path / "lake")
    run = landing.land(MEASUREMENTS, [measurement(1)])

    def die(step: str) -> None:
        if step == "staged":
            assert plan_vacuum(landing.lake, NOTHING_KEPT, datetime.now(UTC)).waste == ()
            raise Killed

    with pytest.raises(Killed):
        promote(landing.lake, MEASUREMENTS, engine, gate, run, die)
    planned = plan_vacuum(landing.lake, Retention(), later(1.1))
    assert set(planned.totals()) == {"staging"}
    vacuum(landing.lake, planned, later(1.1))
    assert landing.lake.list("staged") == []
    assert promote(landing.lake, MEASUREMENTS, engine, gate, run).new == 1


def test_temporary_files_progress_and_cassettes(tmp_path: Path) -> None:
    lake, window = Lake(str(tmp_path)), "20261119T000000Z_20261120T000000Z"
    with lake.scratch() as folder:
        os.rename(folder, tmp_path / ".tmp/scratch-dead")  # noqa: PTH104
        (tmp_path / ".tmp/scratch-dead/deep").mkdir()
        (tmp_path / ".tmp/scratch-dead/deep/engine.duckdb").write_bytes(b"x" * 100)
        folder.mkdir()
    for run, files in {"ended": ("check.json", "result.json"), "at-work": ("check.json",)}.items():
        for file in (*files, f"cassettes/plants/{window}-00000.zst"):
            lake.put(f"runs/{run}/{file}", b"{}")
        for resource in ("plants", "assets"):
            lake.put(f"raw/{resource}/_progress/{run}/{window}.json", b"{}")
    lake.put(f"raw/plants/_manifests/at-work/{window}.json", b"{}")
    landed = plan_vacuum(lake, Retention(), datetime.now(UTC))
    assert [one.key for one in landed.waste] == [f"raw/plants/_progress/at-work/{window}.json"]  # its window has landed
    planned = plan_vacuum(lake, Retention(), later())
    assert planned.totals() == {"temporary files": (1, 100), "progress": (3, 6), "cassettes": (1, 2)}
    vacuum(lake, planned, later())
    assert lake.list("raw") == [
        f"raw/assets/_progress/at-work/{window}.json",
        f"raw/plants/_manifests/at-work/{window}.json",
    ]
    assert [key for key in lake.list("runs") if "cassettes" in key] == [
        f"runs/at-work/cassettes/plants/{window}-00000.zst"
    ]
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_a_publication_in_the_meantime_stops_it(tmp_path: Path, engine: Engine, gate: QuickGate) -> None:
    lake = promoted(tmp_path / "lake", engine, gate, 3)
    planned = plan_vacuum(lake, NOTHING_KEPT, later())
    files = lake.list("qualified")
    log = lake.log("published", "measurements")
    log.append(4, {**log.read(1), "version": 4, "moves": []})  # somebody rolls back to what is about to go
    with pytest.raises(Conflict, match="version 4 was published while this vacuum was planned; nothing was removed"):
        vacuum(lake, planned, later())
    assert lake.list("qualified") == files


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_and_removes_only_when_told(tmp_path: Path, engine: Engine, gate: QuickGate) -> None:
    root, call = tmp_path / "lake", CliRunner()
    promoted(root, engine, gate, 3)
    before, argv = sorted(root.rglob("*")), ["vacuum", "--lake", str(root), "--keep-versions", "1", "--keep-days", "0"]
    said = call.invoke(app, argv)
    assert said.exit_code == 0
    assert "superseded" in said.output
    assert "Nothing was removed: --yes does it." in said.output
    assert sorted(root.rglob("*")) == before
    mine = claim(Lake(str(root)), "20261120T100000Z-test")
    assert "is at work" in str(call.invoke(app, [*argv, "--yes"]).exception)
    Lake(str(root)).put(
        f"state/_claims/run/lease-{mine.fence:08}.json", json.dumps({"until": "2026-01-01T00:00:00+00:00"}).encode()
    )
    said = call.invoke(app, [*argv, "--yes"])
    assert said.exit_code == 0
    assert "measurements: versions 1 to 1 can't be read any more" in said.output
    assert "Nothing to remove." in call.invoke(app, argv).output


# --- nothing that is needed -------------------------------------------------------------------------------------------

STEP = st.one_of(
    st.tuples(st.just("land"), st.lists(st.integers(1, 6), min_size=1, max_size=3)),
    st.tuples(st.just("promote"), st.none()),
    st.tuples(st.just("promote, killed at"), st.tuples(st.integers(0, 6), st.booleans())),
    st.tuples(st.just("promote, a vacuum at"), st.sampled_from(STEPS)),
    st.tuples(st.just("roll back"), st.integers(1, 3)),
    st.tuples(st.just("roll back, killed at"), st.tuples(st.integers(0, 3), st.booleans())),
    st.tuples(st.just("vacuum"), st.integers(0, 2)),
)


class History:
    """A lake to which anything may happen, and what must stand in it."""

    def __init__(self, root: Path, engine: Engine, gate: QuickGate) -> None:
        self.landing, self.engine, self.gate = Landing(root), engine, gate
        self.lake = self.landing.lake = MortalLake(str(root))
        self.lake.arm(-1, True)
        self.revision = 0
        self.latest: dict[str, int] = {}

    def needed(self, keep: int) -> dict[str, str]:
        "Hashes of all that is needed: what is published and kept, what waits for promotion, and the state itself."
        newest = self.lake.snapshot("measurements")
        kept = [
            self.lake.snapshot("measurements", version)
            for version in range(max(1, newest.version - keep), newest.version)
        ]
        keys = {
            version.version: readable(self.lake, version) for version in [*kept, *([newest] if newest.version else [])]
        }
        said = {f"{version} {n}": self.digest(key) for version, found in keys.items() for n, key in enumerate(found)}
        for one in pending(self.lake, MEASUREMENTS, newest)[1]:
            said |= {
                key: self.digest(key)
                for key in (one.manifest, *(part.key for part in self.lake.manifest(one.manifest).parts))
            }
        return said | {
            key: self.digest(key)
            for zone in ("raw", "state")
            for key in self.lake.list(zone)
            if "/vacuumed/" not in key
        }

    def digest(self, key: str) -> str:
        return hashlib.sha256(self.lake.read(key)).hexdigest()

    def land(self, numbers: list[int]) -> None:
        rows = []
        for number in dict.fromkeys(numbers):
            self.revision += 1
            at = measurement(number)["measured_at"] + HOUR * 12 * (self.revision % 3)  # some change their day
            rows.append(measurement(number, revision=self.revision, measured_at=at, updated_at=at))
            self.latest[f"m-{number}"] = self.revision
        self.landing.land(MEASUREMENTS, rows)

    def promote(self, hook: Any = None) -> None:
        promote(self.lake, MEASUREMENTS, self.engine, self.gate, self.landing.run(), hook or (lambda step: None))

    def vacuum(self, keep: int, now: datetime) -> None:
        before = self.needed(keep)
        vacuum(self.lake, plan_vacuum(self.lake, Retention(versions=keep, replaced=timedelta(0)), now), now)
        assert self.needed(keep) == before

    def step(self, what: str, how: Any) -> None:
        if what == "land":
            self.land(how)
        elif what == "vacuum":
            self.vacuum(how, later())
        elif what == "promote, a vacuum at":
            self.promote(lambda step: self.vacuum(0, datetime.now(UTC)) if step == how else None)
        elif what == "promote, killed at":
            self.lake.arm(*how)
            with contextlib.suppress(Killed):
                self.promote()
            self.lake.arm(-1, True)
        elif what == "promote":
            self.promote()
        elif what == "roll back":
            self.roll_back(how)
        else:
            self.lake.arm(*how)
            with contextlib.suppress(Killed):
                self.roll_back(1)
            self.lake.arm(-1, True)

    def roll_back(self, by: int) -> None:
        target = self.lake.snapshot("measurements").version - by
        if target > 0 and target not in self.lake.vacuumed("measurements"):
            rollback(self.lake, MEASUREMENTS, target)


@settings(
    max_examples=int(os.environ.get("EXAMPLES", "12")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
@given(st.lists(STEP, min_size=3, max_size=9))
@example([("promote, killed at", (0, False)), ("vacuum", 0)])
@example([("promote", None), ("land", [1]), ("promote, killed at", (1, True)), ("vacuum", 0)])
@example([("promote", None), ("land", [1]), ("promote", None), ("roll back, killed at", (0, False)), ("vacuum", 0)])
@example([("promote", None), ("land", [1]), ("promote, a vacuum at", "staged")])
def test_a_vacuum_at_any_point_takes_nothing_that_is_needed(
    quick: tuple[Engine, QuickGate], steps: list[tuple[str, Any]]
) -> None:
    with tempfile.TemporaryDirectory() as root:
        history = History(Path(root), *quick)
        history.land([1, 2])
        for what, how in steps:
            history.step(what, how)
        history.vacuum(0, later())
        history.promote()
        history.vacuum(0, later())
        rows = {row["measurement_id"]: row["revision"] for row in published(history.lake, MEASUREMENTS)}
        assert rows == history.latest
        history.promote()
        left = [*history.lake.list("staged"), *history.lake.list("superseded")]
        assert left == []


# --- old documents ----------------------------------------------------------------------------------------------------

LEDGER = """{"schema": 1, "resource": "x", "version": 1, "run": "20261120T100000Z-7f3a", "origin": "2026-11-19T00:00:00Z", "watermark": "2026-11-20T00:00:00Z",
 "covered": [["2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"]], "added": [{"window": ["2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"],
 "run": "20261120T100000Z-7f3a", "manifest": "raw/x/_manifests/20261120T100000Z-7f3a/20261119T000000Z_20261120T000000Z.json", "received": 2, "declared": 2,
 "distinct": 2, "first": "2026-11-19T01:00:00Z", "last": "2026-11-19T02:00:00Z", "content": "00", "requests": 2}]}"""
MANIFEST = """{"schema": 1, "resource": "x", "run": "20261120T100000Z-7f3a", "window": ["2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"],
 "parts": [{"key": "raw/x/part", "rows": 2, "bytes": 9, "sha256": "00"}], "received": 2, "declared": 2, "distinct": 2, "first": null, "last": null,
 "requests": 2, "pages": 1, "as_of": null, "drift": []}"""
PUBLICATION = """{"schema": 1, "resource": "x", "version": 1, "base": 0, "run": "20261120T100000Z-7f3a", "attempt": "-", "ledger_version": 1,
 "published_at": "2026-11-20T10:00:00+00:00", "newest": null, "counts": {}, "files": [{"key": "qualified/x/a", "rows": 2, "bytes": 9, "partition": null}],
 "quarantined": [], "moves": []}"""


def test_what_the_first_schema_wrote_stays_readable(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for key, text in {
        "state/x/00000001.json": LEDGER,
        "state/published/x/00000001.json": PUBLICATION,
        "raw/m.json": MANIFEST,
    }.items():
        lake.put(key, text.encode())
    window = Window(instant("2026-11-19T00:00:00Z"), instant("2026-11-20T00:00:00Z"))
    assert isinstance(ledger := lake.ledger("x"), Ledger)
    assert (ledger.covered, ledger.added[0].received, ledger.watermark) == ((window,), 2, window.end)
    assert isinstance(manifest := lake.manifest("raw/m.json"), Manifest)
    assert (manifest.window, manifest.parts[0].rows) == (window, 2)
    assert (lake.snapshot("x").rows, lake.snapshot("x").ledger_version) == (2, 1)


def test_what_a_newer_one_wrote_is_refused(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    for key, text in {"state/published/x/00000001.json": PUBLICATION, "raw/m.json": MANIFEST}.items():
        lake.put(key, text.replace('"schema": 1', '"schema": 2').encode())
    with pytest.raises(
        LakeError, match=r"a manifest of schema 2; this version of smartsensor reads up to 1: install a newer one"
    ):
        lake.manifest("raw/m.json")
    with pytest.raises(LakeError, match="x, version 1: a publication of schema 2"):
        lake.snapshot("x")
