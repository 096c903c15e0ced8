"""Windows and the ledger under any order of events; the teaching cases stand in nbs/001_windows.ipynb."""

import itertools
import random
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartsensor.lake.ledger import Evidence, Ledger, plan_windows
from smartsensor.windows import Window, cut, instant, merge, subtract

START = instant("2026-11-01T00:00:00Z")


def minutes(start: int, end: int) -> Window:
    return Window(START + timedelta(minutes=start), START + timedelta(minutes=end))


def landed(window: Window, complete: bool = True, run: str = "r") -> Evidence:
    return Evidence(window, run, f"{run}/{window.key}", 5, 5 if complete else 6, 5, None, None, "0" * 64, 1)


SPANS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(1, 40)).map(lambda at: minutes(at[0], at[0] + at[1])), max_size=12
)


def instants(windows: list[Window] | tuple[Window, ...]) -> set[datetime]:
    "Each minute that some window covers."
    return {
        window.start + timedelta(minutes=n)
        for window in windows
        for n in range(int((window.end - window.start).total_seconds()) // 60)
    }


@given(SPANS)
def test_a_merge_covers_the_same_with_gaps_between(windows: list[Window]) -> None:
    merged = merge(windows)
    assert instants(merged) == instants(windows)
    assert all(one.end < two.start for one, two in itertools.pairwise(merged))


@given(SPANS, st.integers(0, 200), st.integers(1, 100))
def test_what_is_left_and_what_covers_are_a_partition(windows: list[Window], start: int, length: int) -> None:
    stretch = minutes(start, start + length)
    left = subtract(stretch, windows)
    assert instants(left) == instants([stretch]) - instants(windows)


@given(SPANS.filter(bool), st.randoms(use_true_random=False))
def test_any_order_of_closing_covers_the_same(windows: list[Window], chance: random.Random) -> None:
    shuffled = list(windows)
    chance.shuffle(shuffled)
    one, two = Ledger("x").advance("r", [landed(window) for window in windows]), Ledger("x")
    for window in shuffled:
        two = two.advance("r", [landed(window)])
    assert one.covered == two.covered
    assert Ledger.from_json(two.as_json()) == two


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 90), st.lists(st.booleans(), max_size=8)), min_size=1, max_size=8))
def test_runs_that_fail_here_and_there_lose_no_minute(runs: list[tuple[int, list[bool]]]) -> None:
    "Each run plans, and some of its windows do not reconcile; the next runs read them again."
    ledger, until = Ledger("x"), 0
    for later, luck in runs:
        until += later
        bound = START + timedelta(minutes=until)
        due = plan_windows(ledger, bound, START, timedelta(minutes=10), timedelta(minutes=15))
        assert all(one.end <= two.start for one, two in itertools.pairwise(due))
        assert all(window.end <= bound and window.end - window.start <= timedelta(minutes=15) for window in due)
        before = instants(ledger.covered)
        fate = luck + [True] * len(due)
        ledger = ledger.advance("r", [landed(window, fate[at]) for at, window in enumerate(due)])
        assert instants(ledger.covered) >= before
    final = plan_windows(ledger, START + timedelta(minutes=until), START, timedelta(0), timedelta(minutes=15))
    ledger = ledger.advance("r", [landed(window) for window in final])
    assert ledger.covered == (minutes(0, until),)
    assert ledger.watermark == START + timedelta(minutes=until)


def test_a_backfill_moves_neither_origin_nor_watermark() -> None:
    ledger = Ledger("x").advance("r", [landed(minutes(100, 200))])
    older = ledger.advance("b", [landed(minutes(0, 20))])
    assert (older.origin, older.watermark) == (ledger.origin, ledger.watermark)
    assert older.gaps() == ()  # nobody said that what lies between must be read


@pytest.mark.parametrize("key", ["", "x_y", "20261120T000000Z", "20261121T000000Z_20261120T000000Z"])
def test_a_path_that_names_no_window_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Window.from_key(key)


def test_a_stretch_is_cut_without_loss() -> None:
    whole = minutes(0, 100)
    assert merge(cut(whole, timedelta(minutes=7))) == (whole,)
