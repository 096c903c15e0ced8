"""Windows that the gate holds: what a person decides about them happens once, after any crash and beside any other run."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from table_reader import newest, rows_of
from test_promote import (  # noqa: F401  (fixtures)
    DAY,
    HOUR,
    Killed,
    Landing,
    Row,
    StrictGate,
    engine,
    gate,
    landing,
    measurement,
    published,
    spark,
)

from smartsensor.jobs.decisions import Action, Decision, decide, decision_history, decisions, held_note, held_windows
from smartsensor.jobs.engine_duckdb import DuckDB
from smartsensor.jobs.engines import Engine
from smartsensor.jobs.promote import STEPS, GateHeld, Promotion, promote, raise_if_held
from smartsensor.jobs.verify import verify
from smartsensor.lake.catalogs import QUARANTINE
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import NotFound
from smartsensor.quality.site import render_page
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
GOOD = {f"m-{number}" for number in (0, 1, 20, 21)}


@pytest.fixture
def strict(gate: StrictGate) -> StrictGate:  # noqa: F811
    return StrictGate(gate.expectations, lambda bad, rows: bad <= 0.1 * rows)


def land_three(landing: Landing) -> None:  # noqa: F811
    "Windows 2 to 4 of the day; of the second one row is bad."
    for number in range(3):
        bad = {"value": -9999.0} if number == 1 else {}
        landing.land(MEASUREMENTS, [measurement(10 * number), measurement(10 * number + 1, **bad)])


def release(lake: Lake, action: Action, reason: str = "the probe was exchanged") -> list[Decision]:
    return decide(lake, held_windows(lake, "measurements"), action, reason, "ana@plant", NOW)


def names(lake: Lake) -> set[str]:
    return {row["measurement_id"] for row in published(lake, MEASUREMENTS)}


def aside(lake: Lake) -> dict[str, str]:
    return {row["measurement_id"]: row["_reasons"] for row in rows_of(lake, "measurements", QUARANTINE)}


# --- each decision ----------------------------------------------------------------------------------------------------


def test_what_is_held_is_recorded_with_its_age(landing: Landing, engine: Engine, strict: StrictGate) -> None:  # noqa: F811
    land_three(landing)
    first = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    [held] = held_windows(landing.lake, "measurements")
    assert (first.held, first.held_windows) == ((str(held.span),), (held,))
    assert held.failed
    assert held.failed[0].startswith("value-range")
    assert held.zone == "raw"
    assert held.received == 2
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert held_windows(landing.lake, "measurements") == (held,), "held since it was held first"
    assert landing.lake.log("held", "measurements").latest()[0] == 1, "nothing changed, nothing was written"
    old = replace(held, since="2026-11-19T00:00:00Z")
    assert "OVERDUE: the oldest for 60 h, and 24 h are allowed" in held_note([old], NOW)
    assert "OVERDUE" not in held_note([old], NOW, limit_hours=61)
    with pytest.raises(GateHeld) as error:
        raise_if_held(landing.lake, [first])
    message = str(error.value)
    assert "the rest was published as version 1" in message
    assert held.window not in GOOD
    assert "smartsensor gate release WINDOW" in message
    assert "value-range" in message


def test_accepted_rows_are_published_and_bad_ones_set_aside(
    landing: Landing,  # noqa: F811
    engine: Engine,  # noqa: F811
    strict: StrictGate,
) -> None:
    land_three(landing)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    [decision] = release(landing.lake, "accept")
    done = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert (done.outcome, done.new, done.quarantined, done.held) == ("published", 1, 1, ())
    assert names(landing.lake) == GOOD | {"m-10"}
    assert aside(landing.lake) == {"m-11": '["value-range"]'}
    assert [one["reason"] for one in newest(landing.lake, "measurements").decisions] == [decision.reason]
    assert [one["by"] for one in done.decisions] == ["ana@plant"]
    [verdict] = [verdict for verdict in done.verdicts if verdict.zone == "raw"]
    assert (verdict.held, verdict.status, verdict.about["decision"]) == (False, "warned", str(decision))
    raise_if_held(landing.lake, [done])
    assert held_windows(landing.lake, "measurements") == ()
    landing.land(MEASUREMENTS, [measurement(90)])
    assert promote(landing.lake, MEASUREMENTS, engine, strict, landing.run()).decisions == (), "acted on once"


def test_all_rows_of_a_window_go_to_quarantine(landing: Landing, engine: Engine, strict: StrictGate) -> None:  # noqa: F811
    land_three(landing)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    reason = 'it\'s <b>"drift"</b> \\ ☃'
    release(landing.lake, "quarantine", reason)
    landing.land(MEASUREMENTS, [measurement(90)])
    done = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert (done.outcome, done.new, done.quarantined, done.held) == ("published", 1, 2, ())
    assert names(landing.lake) == GOOD | {"m-90"}
    found = {name: json.loads(reasons) for name, reasons in aside(landing.lake).items()}
    [decided] = found["m-10"]
    assert decided.startswith("decided: quarantine by ana@plant")
    assert decided.endswith(reason)
    assert found["m-11"] == [decided, "value-range"]


def test_quarantine_by_decision_on_spark(landing: Landing, engine: Engine, strict: StrictGate, spark: Engine) -> None:  # noqa: F811
    land_three(landing)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    release(landing.lake, "quarantine", "it's \\ broken")
    done = promote(landing.lake, MEASUREMENTS, spark, strict, landing.run())
    assert (done.outcome, done.quarantined, done.held) == ("published", 2, ())
    assert set(aside(landing.lake)) == {"m-10", "m-11"}


def test_a_window_is_held_until_its_new_reading_covers_it(
    landing: Landing,  # noqa: F811
    engine: Engine,  # noqa: F811
    strict: StrictGate,
    gate: StrictGate,  # noqa: F811
) -> None:
    land_three(landing)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    release(landing.lake, "reread")
    kept = promote(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert (kept.outcome, len(kept.held)) == ("held", 1), "the gate would let it pass: the decision goes first"
    whole = held_windows(landing.lake, "measurements")[0].span
    middle = whole.start + timedelta(minutes=30)
    landing.land(MEASUREMENTS, [measurement(10)], Window(whole.start, middle))
    half = promote(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert (half.outcome, half.new, half.held) == ("published", 1, kept.held), "half of it is read again"
    landing.land(MEASUREMENTS, [measurement(11)], Window(middle, whole.end))
    done = promote(landing.lake, MEASUREMENTS, engine, gate, landing.run())
    assert (done.new, done.quarantined, done.held) == (1, 0, ())
    assert [one["action"] for one in done.decisions] == ["reread"]
    assert names(landing.lake) == GOOD | {"m-10", "m-11"}
    assert aside(landing.lake) == {}


def test_rows_that_never_came_may_be_accepted(landing: Landing, engine: Engine, strict: StrictGate) -> None:  # noqa: F811
    window = Window(DAY + HOUR, DAY + 2 * HOUR)
    landing.land(MEASUREMENTS, [measurement(0)], Window(DAY, DAY + HOUR))
    landing.land(MEASUREMENTS, [measurement(1)], window, declared=3)
    held = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert (held.outcome, held.new, len(held.held)) == ("published", 1, 1)
    release(landing.lake, "accept", "the source counts rows that it deleted")
    landing.land(MEASUREMENTS, [measurement(2)], Window(DAY + 2 * HOUR, DAY + 3 * HOUR))
    assert landing.lake.ledger("measurements").gaps() == (window,), "a run would ask for it again"
    done = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert (done.declared, done.received, done.raw, done.new, done.held) == (4, 2, 2, 2, ()), "said as it is"
    assert (landing.lake.ledger("measurements").gaps(), landing.lake.ledger("measurements").accepted) == ((), (window,))
    assert verify(landing.lake, "measurements") == []


def test_nothing_was_ever_published(landing: Landing, engine: Engine, strict: StrictGate) -> None:  # noqa: F811
    for number in range(2):
        landing.land(MEASUREMENTS, [measurement(number, value=-9999.0), measurement(10 + number)])
    held = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert (held.outcome, held.version, len(held.held)) == ("held", 0, 2)
    with pytest.raises(GateHeld, match="nothing was ever published of it"):
        raise_if_held(landing.lake, [held])
    one, two = held_windows(landing.lake, "measurements")
    decide(landing.lake, [one], "accept", "seen", "ana@plant", NOW)
    decide(landing.lake, [two], "quarantine", "seen", "bob@plant", NOW)
    done = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    assert (done.outcome, done.version, done.new, done.quarantined, done.held) == ("published", 1, 1, 3, ())
    assert [one.by for one in decision_history(landing.lake, "measurements")] == ["bob@plant", "ana@plant"]


def test_the_last_decision_counts_and_a_stale_one_is_refused(
    landing: Landing,  # noqa: F811
    engine: Engine,  # noqa: F811
    strict: StrictGate,
) -> None:
    land_three(landing)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    held = held_windows(landing.lake, "measurements")
    release(landing.lake, "reread")
    release(landing.lake, "accept")
    assert [one.action for one in decisions(landing.lake, "measurements").values()] == ["accept"]
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    with pytest.raises(NotFound, match="not held any more; `smartsensor gate list`"):
        decide(landing.lake, held, "accept", "late", "ana@plant", NOW)


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "\x1b[2Jgone", "x" * 501])
def test_a_reason_is_one_plain_line(landing: Landing, engine: Engine, strict: StrictGate, reason: str) -> None:  # noqa: F811
    land_three(landing)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    with pytest.raises(ValueError, match="--reason: say it in one line of plain text"):
        release(landing.lake, "accept", reason)


def test_a_hostile_reason_stays_text_on_the_page(landing: Landing, engine: Engine, strict: StrictGate) -> None:  # noqa: F811
    land_three(landing)
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    release(landing.lake, "accept", "<script>alert(1)</script> {{ 7*7 }}")
    done = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    page = render_page("20261121T120000Z-test", done.verdicts).decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7*7 }}" in page


# --- crashes and races ------------------------------------------------------------------------------------------------


def dies_at(step: str) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == step:
            raise Killed

    return hook


@pytest.mark.parametrize("action", ["accept", "quarantine"])
def test_killed_at_each_step_of_the_promotion_that_acts(
    tmp_path: Path,
    engine: Engine,  # noqa: F811
    strict: StrictGate,
    action: Action,
) -> None:
    ends = []
    for at, step in enumerate(("none", *STEPS)):
        landing = Landing(tmp_path / f"{action}-{at}")  # noqa: F811
        land_three(landing)
        landing.land(MEASUREMENTS, [measurement(30)], declared=5)
        promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
        release(landing.lake, action)
        landing.land(MEASUREMENTS, [measurement(90)])
        if step != "none":
            with pytest.raises(Killed):
                promote(landing.lake, MEASUREMENTS, engine, strict, landing.run(), dies_at(step))
        done = promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
        assert done.outcome == ("nothing new" if step in ("published", "held recorded") else "published"), step
        assert held_windows(landing.lake, "measurements") == (), step
        assert len(newest(landing.lake, "measurements").decisions) == 2, step
        assert verify(landing.lake, "measurements") == [], step
        covered = landing.lake.ledger("measurements").covered
        ends.append((names(landing.lake), aside(landing.lake), covered))
    assert all(end == ends[0] for end in ends)
    assert len(ends[0][0]) == (7 if action == "accept" else 5)


def test_two_promoters_carry_a_decision_out_once(landing: Landing, tmp_path: Path, strict: StrictGate) -> None:  # noqa: F811
    land_three(landing)
    engines = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        engines.append(DuckDB(tmp_path / str(number), threads=1, memory_limit="500MB"))
    promote(landing.lake, MEASUREMENTS, engines[0], strict, landing.run())
    release(landing.lake, "accept")
    done, barrier = list[Promotion](), threading.Barrier(2)

    def work(number: int, run: str) -> None:
        waited = []

        def meet(step: str) -> None:
            if step == "merged" and not waited:
                waited.append(barrier.wait(60))

        lake = Lake(landing.lake.root)
        done.append(promote(lake, MEASUREMENTS, engines[number], strict, run, meet))

    threads = [threading.Thread(target=work, args=(number, landing.run())) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(one.outcome for one in done) == ["nothing new", "published"]
    assert names(landing.lake) == GOOD | {"m-10"}
    assert list(aside(landing.lake)) == ["m-11"]
    for one in engines:
        one.close()


def test_two_people_decide_at_once_and_both_count(landing: Landing, engine: Engine, strict: StrictGate) -> None:  # noqa: F811
    for number in range(2):
        landing.land(MEASUREMENTS, [measurement(number, value=-9999.0), measurement(10 + number)])
    promote(landing.lake, MEASUREMENTS, engine, strict, landing.run())
    held, barrier = held_windows(landing.lake, "measurements"), threading.Barrier(2)

    def person(number: int) -> None:
        barrier.wait(30)
        decide(Lake(landing.lake.root), [held[number]], "accept", "seen", f"p{number}@plant", NOW)

    threads = [threading.Thread(target=person, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {one.by for one in decisions(landing.lake, "measurements").values()} == {"p0@plant", "p1@plant"}
