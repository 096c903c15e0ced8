"""Held windows and quarantine from the command line, as a person meets them after a bad night."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_pipeline import NOW, UNLIMITED, result, run, world  # noqa: F401  (a fixture)

from smartsensor.jobs.decisions import HeldWindow, held_windows
from smartsensor.jobs.verify import verify
from smartsensor.lake.catalogs import QUALIFIED
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables, current
from smartsensor.run.cli import run_command
from smartsensor.run.glue import job_metrics
from smartsensor.simulator.faults import Fault, FaultPlan
from smartsensor.simulator.server import serve
from smartsensor.simulator.world import World

Say = Callable[..., tuple[int, str, str]]
HOSTILE = '<script>alert("x")</script> [red]probe[/red] {{ 7*7 }}'


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Say:
    "A command of this process, about the lake of this test: exit code, output, errors."
    for name in [name for name in os.environ if name.startswith("SMARTSENSOR_")]:
        monkeypatch.delenv(name)

    def command(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_command([*words, "--lake", str(tmp_path / "lake")])
        return code, *capfd.readouterr()

    return command


def held_of(lake: Path) -> tuple[HeldWindow, ...]:
    return held_windows(Lake(str(lake)), "measurements")


def metrics(lake: Path, name: str) -> dict[str, Any]:
    return {one["metric"]: one["value"] for one in job_metrics(Lake(str(lake)), name, "promote")}


def test_a_renamed_field_is_decided_window_by_window(world: World, tmp_path: Path, say: Say) -> None:  # noqa: F811
    lake, plan = tmp_path / "lake", FaultPlan((Fault("renamed_field", times=0, value={"value": "reading"}),))
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=plan) as api:
        code, out, err = run(api, lake, "run", "--resource", "measurements")
    assert code == 6, out + err
    held = held_of(lake)
    assert len(held) > 1
    assert "nothing was ever published of it" in err
    assert "smartsensor gate release WINDOW" in err
    assert all(f"held     measurements {one.window} since" in out for one in held), out
    [row] = result(lake)["resources"]  # type: ignore[misc]
    assert [one["window"] for one in row["held_windows"]] == [one.window for one in held]
    assert "field-value" in row["held_windows"][0]["failed"][0]
    figures = metrics(lake, str(result(lake)["run"]))
    assert figures["gate_held"] == 1
    assert 0 <= figures["held_hours"] < 1

    code, out, err = say("gate", "list")
    assert (code, f"{len(held)} windows are held" in out) == (0, True), out + err
    code, out, err = say("gate", "show", held[0].window)
    assert code == 0, err
    assert str(lake / "raw") in out
    assert "field-value" in out
    index = (lake / "quality" / "index.html").read_text()
    assert "Held windows" in index
    assert held[0].window in index

    with serve(world=world, clock=lambda: NOW + timedelta(minutes=5), limits=UNLIMITED) as api:
        code, out, err = run(
            api, lake, "gate", "release", held[0].window, "--reread", "--reason", HOSTILE, "--by", "ana"
        )
        assert code == 6, out + err
        left = held_of(lake)
        assert [one.window for one in left] == [one.window for one in held[1:]], "the others wait"
        assert "the rest was published as version 1" in err, err
        table = Tables(Lake(str(lake))).find(QUALIFIED, "measurements")
        assert table is not None
        assert [one["by"] for one in current(table).decisions] == ["ana"]
        names = [one.window for one in left]
        code, out, err = run(api, lake, "gate", "release", *names, "--quarantine", "--reason", HOSTILE, "--by", "bob")
        assert code == 0, out + err
    assert held_of(lake) == ()
    assert HOSTILE in out
    index = (lake / "quality" / "index.html").read_text()
    assert "Held windows" not in index
    assert "<script>alert" not in index
    assert index.count("&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; [red]probe[/red] {{ 7*7 }}") == len(held)
    table.refresh()
    assert len(current(table).decisions) == len(left), "one promotion carried all of them out"
    code, out, err = say("quarantine", "list", "measurements")
    assert code == 0, err
    assert "decided: quarantine by bob" in out
    code, out, err = say("quarantine", "show", "measurements", "--limit", "2")
    known = {one.window for one in held}
    assert [json.loads(line)["_window"] in known for line in out.splitlines()[:-1]] == [True, True], out + err


def test_a_source_that_miscounts_is_taken_at_its_rows(world: World, tmp_path: Path, say: Say) -> None:  # noqa: F811
    lake, plan = tmp_path / "lake", FaultPlan((Fault("lying_count", "/measurements/count", times=0, value=3),))
    with serve(world=world, clock=lambda: NOW, limits=UNLIMITED, plan=plan) as api:
        code, out, err = run(api, lake, "run", "--resource", "measurements")
        assert code == 6, out + err
        held = held_of(lake)
        assert held
        assert {one.declared - one.received for one in held if one.declared is not None} == {3}
        words = ["--accept", "--reason", "they count deleted rows too"]
        code, out, err = run(api, lake, "gate", "release", *(one.window for one in held), *words)
        assert code == 0, out + err
        assert "measurements: published, version 1" in out
    assert held_of(lake) == ()
    ledger = Lake(str(lake)).ledger("measurements")
    assert len(ledger.accepted) == len(held)
    assert ledger.gaps() == ()
    assert verify(Lake(str(lake)), "measurements") == []
    with serve(world=world, clock=lambda: NOW + timedelta(minutes=5), limits=UNLIMITED) as api:
        code, out, err = run(api, lake, "run", "--resource", "measurements")
        assert code == 0, out + err
        code, out, err = run(api, lake, "quarantine", "replay")
        assert code == 0, out + err
    assert "measurements: nothing passes" in out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["gate", "release", "20261120T000000Z_20261120T060000Z", "--accept", "--reason", "x"], 8, "is not held; held are: measurements"),
        (["gate", "show", "nonsense"], 8, "nonsense is not held"),
        (["gate", "release", "{held}", "--accept", "--quarantine", "--reason", "x"], 2, "one of --accept, --quarantine and --reread"),
        (["gate", "release", "{held}", "--reason", "x"], 2, "one of --accept"),
        (["gate", "release", "{held}", "--accept"], 2, "--reason"),
        (["gate", "release", "{held}", "--accept", "--reason", " "], 2, "one line of plain text"),
        (["gate", "release", "{held}", "--accept", "--reason", "a\nb"], 2, "one line of plain text"),
        (["gate", "release", "{held}", "--accept", "--reason", "x", "--by", "\x1b[2J"], 2, "--by: say it in one line"),
        (["gate", "show", "{both}"], 2, "name one by --resource"),
        (["quarantine", "show", "nothing"], 2, "no such resource"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    tmp_path: Path, say: Say, words: list[str], code: int, says: str
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    keys = {"held": "20261120T060000Z_20261120T120000Z", "both": "20261119T060000Z_20261119T120000Z"}
    for name in ("measurements", "events"):
        of_this = [keys["both"], *([keys["held"]] if name == "measurements" else [])]
        held = [
            HeldWindow(
                name, key, f"raw/{name}/{key}", "r", 1, 1, "2026-11-20T12:00:00Z", "raw", ("x: y",), None
            ).__dict__
            for key in of_this
        ]
        lake.log("held", name).append(1, {"run": "r", "held": held})
    got, out, err = say(*(word.format(**keys) if "{" in word else word for word in words))
    assert (got, says in err) == (code, True), out + err
    assert lake.log("decisions", "measurements").latest()[0] == 0
