"""Quarantine: a bad row stands there once, and comes back once its rules have changed; on both engines, after any crash."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from table_reader import newest, rows_of
from test_promote import (  # noqa: F401  (fixtures)
    DAY,
    Killed,
    Landing,
    QuickGate,
    StrictGate,
    asset,
    engine,
    gate,
    landing,
    measurement,
    published,
    spark,
    suite,
)

from smartsensor.jobs.decisions import decide, held_windows
from smartsensor.jobs.engines import Engine
from smartsensor.jobs.promote import promote
from smartsensor.jobs.quarantine_replay import REPLAY_STEPS, replay_quarantine, waiting, waiting_rows
from smartsensor.lake.catalogs import QUARANTINE
from smartsensor.lake.lake import Lake
from smartsensor.run.cli import run_command
from smartsensor.source.smartsensor_api import ASSETS, MEASUREMENTS

ENGINES = ["duckdb", pytest.param("spark", marks=pytest.mark.spark)]


@pytest.fixture(params=ENGINES)
def either(request: pytest.FixtureRequest) -> Engine:
    opened: Engine = request.getfixturevalue("engine" if request.param == "duckdb" else "spark")
    return opened


def rule(name: str, column: str, low: float, high: float) -> dict[str, Any]:
    kwargs = {"column": column, "min_value": low, "max_value": high, "mostly": 0.01}
    return {"name": name, "type": "expect_column_values_to_be_between", "severity": "critical", "kwargs": kwargs}


def allow(gate: QuickGate, high: float, name: str = "value-range") -> None:  # noqa: F811
    "Change the suite: values up to here are good."
    text = suite("measurements.raw", rule(name, "value", -50, high))
    (gate.expectations / "measurements.raw.json").write_text(text)


def aside(lake: Lake) -> list[dict[str, Any]]:
    return sorted(rows_of(lake, "measurements", QUARANTINE), key=lambda row: str(row["measurement_id"]))


def names(lake: Lake) -> set[str]:
    return {row["measurement_id"] for row in published(lake, MEASUREMENTS)}


# --- once -------------------------------------------------------------------------------------------------------------


def test_a_bad_row_that_is_read_again_is_not_added_again(landing: Landing, gate: QuickGate, either: Engine) -> None:  # noqa: F811
    known = gate.expectations / "measurements.raw.json"

    def named(name: str) -> str:
        kind, kwargs = "expect_column_values_to_not_be_null", {"column": "plant_id"}
        return suite("measurements.raw", {"name": name, "type": kind, "severity": "critical", "kwargs": kwargs})

    known.write_text(named("plant's known"))
    bad = [
        measurement(1, plant_id=None),
        measurement(2, plant_id=None, value=math.nan),
        measurement(3, plant_id=None, value=None, _extra='{"a": null}'),
        measurement(4, plant_id=None, measurement_id=None),
    ]
    first = landing.land(MEASUREMENTS, [measurement(0), *bad, bad[0]])
    promote(landing.lake, MEASUREMENTS, either, gate, first)
    there = aside(landing.lake)
    assert len(there) == 4, "the same row twice in one window stands there once"
    landing.land(MEASUREMENTS, [measurement(0), *bad])
    done = promote(landing.lake, MEASUREMENTS, either, gate, landing.run())
    assert (done.already, done.quarantined) == (1, 4), "counted, and not added"
    assert newest(landing.lake, "measurements", QUARANTINE).number == 1, "nothing to add, no version"
    known.write_text(named("a plant"))  # now they break a rule of another name
    landing.land(MEASUREMENTS, [*bad, measurement(5, plant_id=None)])
    done = promote(landing.lake, MEASUREMENTS, either, gate, landing.run())
    assert done.quarantined == 5
    after = aside(landing.lake)
    assert len(after) == 5
    assert {row["_run_id"] for row in after if row["measurement_id"] != "m-5"} == {first}, "the first one stays"


def test_structs_are_compared_field_by_field(landing: Landing, gate: QuickGate, either: Engine) -> None:  # noqa: F811
    plate = dict.fromkeys(("current_a", "speed_rpm", "power_kw", "line_frequency_hz"), math.nan) | {"voltage_v": None}
    bad = [asset(1, name=None), asset(2, name=None, nameplate=None), asset(3, name=None, nameplate=plate)]
    for _ in range(2):
        landing.land(ASSETS, [asset(0), *bad])
        done = promote(landing.lake, ASSETS, either, gate, landing.run())
        assert done.quarantined == 3
        assert len(rows_of(landing.lake, "assets", QUARANTINE)) == 3
    other = asset(3, name=None, nameplate={**plate, "voltage_v": 1.0})
    landing.land(ASSETS, [asset(0), *bad[:2], other])
    promote(landing.lake, ASSETS, either, gate, landing.run())
    assert len(rows_of(landing.lake, "assets", QUARANTINE)) == 4, "another value is another row"


# --- what waits -------------------------------------------------------------------------------------------------------


def test_what_waits_is_listed_by_reason_and_shown(landing: Landing, gate: QuickGate, engine: Engine) -> None:  # noqa: F811
    first = landing.land(MEASUREMENTS, [measurement(1, value=-9999.0), measurement(0)])
    second = landing.land(MEASUREMENTS, [measurement(2, value=-9999.0, plant_id=None), measurement(9)])
    promote(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    found = waiting(landing.lake, MEASUREMENTS, engine)
    assert [(one.reason, one.rows, one.oldest, one.newest) for one in found] == [
        ("value-range", 2, first, second),
        ("plant's known", 1, second, second),
    ]
    rows = waiting_rows(landing.lake, MEASUREMENTS, engine, "plant's known")
    assert [(row["measurement_id"], row["value"], row["_run_id"]) for row in rows] == [("m-2", -9999.0, second)]
    assert waiting_rows(landing.lake, MEASUREMENTS, engine, "value") == [], "a reason is a whole name"
    assert len(waiting_rows(landing.lake, MEASUREMENTS, engine, limit=1)) == 1
    assert waiting(landing.lake, ASSETS, engine) == []


# --- replay -----------------------------------------------------------------------------------------------------------


def land_for_replay(landing: Landing, gate: QuickGate, engine: Engine) -> None:  # noqa: F811
    "Of five bad rows two pass at 2,000, one stands in a later revision, one has no key, one never passes."
    allow(gate, 500)
    bad = [measurement(number, value=1000.0 + number) for number in (1, 2, 3)]
    landing.land(
        MEASUREMENTS,
        [measurement(0), *bad, measurement(4, value=9e9), measurement(5, value=1000.0, measurement_id=None)],
    )
    promote(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    later = DAY + timedelta(hours=9)
    landing.land(MEASUREMENTS, [measurement(3, value=7.0, revision=2, updated_at=later)])
    promote(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert names(landing.lake) == {"m-0", "m-3"}


def test_what_passes_today_is_published_and_marked(landing: Landing, gate: QuickGate, either: Engine) -> None:  # noqa: F811
    land_for_replay(landing, gate, either)
    before = newest(landing.lake, "measurements")
    run = landing.run()
    none = replay_quarantine(landing.lake, MEASUREMENTS, either, gate, run)
    assert (none.outcome, none.waited, none.left) == ("nothing passes", 5, 5)
    allow(gate, 2000)
    done = replay_quarantine(landing.lake, MEASUREMENTS, either, gate, run)
    assert (done.outcome, done.new, done.updated, done.already, done.left) == ("replayed", 2, 0, 1, 2)
    assert names(landing.lake) == {"m-0", "m-1", "m-2", "m-3"}
    values = {row["measurement_id"]: row["value"] for row in published(landing.lake, MEASUREMENTS)}
    assert (values["m-1"], values["m-3"]) == (1001.0, 7.0), "a later revision stays"
    marks = {row["measurement_id"]: row["_replayed_by"] for row in aside(landing.lake)}
    assert marks == {"m-1": run, "m-2": run, "m-3": run, "m-4": None, None: None}
    after = newest(landing.lake, "measurements")
    assert (after.ledger_version, after.newest, after.held) == (before.ledger_version, before.newest, before.held)
    again = replay_quarantine(landing.lake, MEASUREMENTS, either, gate, landing.run())
    assert (again.outcome, again.waited) == ("nothing passes", 2)
    assert [one.rows for one in waiting(landing.lake, MEASUREMENTS, either)] == [2, 1]
    assert promote(landing.lake, MEASUREMENTS, either, gate, landing.run()).outcome == "nothing new"


def dies_at(step: str) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == step:
            raise Killed

    return hook


def test_a_rollback_beyond_a_replay_lets_its_rows_wait_again(
    landing: Landing,  # noqa: F811
    gate: QuickGate,  # noqa: F811
    engine: Engine,  # noqa: F811
    capfd: pytest.CaptureFixture[str],
) -> None:
    land_for_replay(landing, gate, engine)
    before = newest(landing.lake, "measurements").number
    allow(gate, 2000)
    with pytest.raises(Killed):  # the next one finds its rows there already, and marks them
        replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run(), reached=dies_at("replay published"))
    replayed = newest(landing.lake, "measurements").number
    replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert waiting(landing.lake, MEASUREMENTS, engine)[0].rows == 2

    assert run_command(["rollback", "measurements", str(before), "--yes", "--lake", landing.lake.root]) == 0
    assert "3 rows of quarantine wait again: smartsensor quarantine replay measurements" in capfd.readouterr().out
    assert names(landing.lake) == {"m-0", "m-3"}
    assert {row["_replayed_by"] for row in aside(landing.lake)} == {None}
    done = replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert (done.outcome, done.new, done.already) == ("replayed", 2, 1)
    assert names(landing.lake) == {"m-0", "m-1", "m-2", "m-3"}

    assert run_command(["rollback", "measurements", str(replayed), "--yes", "--lake", landing.lake.root]) == 0
    assert names(landing.lake) == {"m-0", "m-1", "m-2", "m-3"}
    done = replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert (done.new, done.already) == (0, 3), "rows of a later replay wait too, and stand there already"
    assert len(aside(landing.lake)) == 5


def test_killed_at_each_step_of_a_replay(tmp_path: Path, gate: QuickGate, engine: Engine) -> None:  # noqa: F811
    ends = []
    for at, step in enumerate(REPLAY_STEPS):
        landing = Landing(tmp_path / str(at))  # noqa: F811
        land_for_replay(landing, gate, engine)
        allow(gate, 2000)
        with pytest.raises(Killed):
            replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run(), reached=dies_at(step))
        done = replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run())
        wanted = {"replay published": ("replayed", 0, 3), "replay marked": ("nothing passes", 0, 0)}
        assert (done.outcome, done.new, done.already) == wanted.get(step, ("replayed", 2, 1)), step
        marked = {row["measurement_id"] for row in aside(landing.lake) if row["_replayed_by"]}
        ends.append((names(landing.lake), marked, len(aside(landing.lake))))
    assert ends == [({"m-0", "m-1", "m-2", "m-3"}, {"m-1", "m-2", "m-3"}, 5)] * len(REPLAY_STEPS)


@pytest.mark.parametrize("step", REPLAY_STEPS[:3])
def test_a_promotion_in_between_is_not_lost(
    landing: Landing,  # noqa: F811
    gate: QuickGate,  # noqa: F811
    engine: Engine,  # noqa: F811
    tmp_path: Path,
    step: str,
) -> None:
    from smartsensor.jobs.engine_duckdb import DuckDB

    land_for_replay(landing, gate, engine)
    allow(gate, 2000)
    (tmp_path / "other").mkdir()
    other, beaten = DuckDB(tmp_path / "other", threads=1), []

    def hook(reached: str) -> None:
        if reached == step and not beaten:
            landing.land(MEASUREMENTS, [measurement(7), measurement(8, value=9e9)])
            beaten.append(promote(landing.lake, MEASUREMENTS, other, gate, landing.run()))

    done = replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run(), reached=hook)
    other.close()
    assert (beaten[0].new, beaten[0].quarantined, done.outcome) == (1, 1, "replayed")
    assert names(landing.lake) == {"m-0", "m-1", "m-2", "m-3", "m-7"}
    assert {row["measurement_id"]: bool(row["_replayed_by"]) for row in aside(landing.lake)} == {
        "m-1": True, "m-2": True, "m-3": True, "m-4": False, "m-8": False, None: False,
    }  # fmt: skip


def test_the_suite_of_qualified_may_hold_a_replay(landing: Landing, gate: QuickGate, engine: Engine) -> None:  # noqa: F811
    land_for_replay(landing, gate, engine)
    allow(gate, 2000)
    gate.hold = "qualified"
    done = replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert (done.outcome, done.left) == ("held", 5)
    assert names(landing.lake) == {"m-0", "m-3"}
    assert not any(row["_replayed_by"] for row in aside(landing.lake))


def test_what_a_person_set_aside_stays_until_it_is_asked_for(
    landing: Landing,  # noqa: F811
    gate: QuickGate,  # noqa: F811
    engine: Engine,  # noqa: F811
) -> None:
    strict = StrictGate(gate.expectations, lambda bad, rows: bad <= 0.1 * rows)
    landing.land(MEASUREMENTS, [measurement(1, value=-9999.0), measurement(2)])
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    decide(landing.lake, held_windows(landing.lake, "measurements"), "quarantine", 'a "bad" day', "ana@plant", DAY)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert {row["measurement_id"]: len(json.loads(row["_reasons"])) for row in aside(landing.lake)} == {
        "m-1": 2,
        "m-2": 1,
    }
    assert replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run()).outcome == "nothing passes"
    done = replay_quarantine(landing.lake, MEASUREMENTS, engine, gate, landing.run(), decided=True)
    assert (done.new, done.left) == (1, 1)
    assert replace(done, waited=2) == done
