"""One run at a time on a lake; the teaching cases stand in nbs/run/092_claims.ipynb."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError
from smartsensor.run.claims import LEASE_S, Busy, Fenced, claim, fence, hold_claim, renew
from smartsensor.run.exit_codes import code_of

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ONE, TWO = "20261120T120000Z-aaaa", "20261120T120001Z-bbbb"


def test_a_claim_that_ended_is_free_at_once(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    with hold_claim(lake, claim(lake, ONE)), pytest.raises(Busy) as caught:
        claim(lake, TWO)
    assert ONE in str(caught.value)
    assert code_of(caught.value) == 7
    assert claim(lake, TWO).fence == 2


def test_scopes_do_not_disturb_each_other(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    one, two = claim(lake, ONE), claim(lake, TWO, scope="backfill")
    assert (one.name, two.name) == ("run/1", "backfill/1")
    fence(lake, one.name)()
    fence(lake, two.name)()


def test_a_lease_that_ran_out_is_taken_over_and_the_slow_one_is_told(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    slow = claim(lake, ONE, now=lambda: NOON)
    almost, after = (NOON + timedelta(seconds=LEASE_S + more) for more in (-1, 1))
    with pytest.raises(Busy):
        claim(lake, TWO, now=lambda: almost)
    quick = claim(lake, TWO, now=lambda: after)
    for refused in (lambda: renew(lake, slow), fence(lake, slow.name)):
        with pytest.raises(Fenced):
            refused()
    renew(lake, quick)


def test_a_guard_looks_now_and_then(tmp_path: Path) -> None:
    lake, now = Lake(str(tmp_path)), [0.0]
    slow = claim(lake, ONE, now=lambda: NOON)
    look = fence(lake, slow.name, every_s=5, clock=lambda: now[0])
    look()
    claim(lake, TWO, now=lambda: NOON + timedelta(hours=1))
    now[0] = 4.0
    look()
    now[0] = 6.0
    with pytest.raises(Fenced):
        look()


def test_without_a_runner_nothing_is_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMARTSENSOR_FENCE", raising=False)
    fence(Lake(str(tmp_path)))()


CLAIMING = "import sys, time; from smartsensor.lake.lake import Lake; from smartsensor.run.claims import claim; claim(Lake(sys.argv[1]), sys.argv[2]); print('mine', flush=True); time.sleep(600)"


def test_a_process_that_was_killed_holds_nothing_on_its_own_machine(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CLAIMING, str(tmp_path), ONE], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "mine\n"
    with pytest.raises(Busy, match=f"process {child.pid}"):
        claim(Lake(str(tmp_path)), TWO)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert claim(Lake(str(tmp_path)), TWO).fence == 2


def test_of_many_that_claim_at_once_one_wins(tmp_path: Path) -> None:
    code = CLAIMING.replace("time.sleep(600)", "sys.stdin.read()")
    runners = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), f"20261120T12000{n}Z-race"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    lost = 0
    output = [one.stdout.readline() for one in runners if one.stdout]  # an empty line: it ended
    for one in runners:
        _, err = one.communicate("")
        lost += "Nothing was done" in err
    assert sorted(output) == ["", "", "mine\n"]
    assert lost == 2


def test_a_claim_that_was_tampered_with_is_an_error(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    claim(lake, ONE)
    lake.put("state/_claims/run/00000001.json", b"{")
    with pytest.raises(LakeError):
        claim(lake, TWO)
