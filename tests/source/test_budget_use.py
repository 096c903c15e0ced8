"""How much of what an API allows is used, and how much is refused: in virtual time, against a token bucket."""

import heapq
import io
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests

from smartsensor.config import ApiSettings
from smartsensor.jobs.extraction import extract_all
from smartsensor.lake.lake import Lake
from smartsensor.source.budget import RateBudget, RateShare, RemoteRateLimiter, serve_rate
from smartsensor.source.http import Client
from smartsensor.source.sign_in import NoSignIn


@dataclass
class Api:
    """Allows a rate with a burst; what is beyond gets a 429 that asks to wait."""

    allowed: Callable[[float], float]  # requests a second, at a time
    burst: int = 10
    asks_s: float = 1.0
    tokens: float = 10.0
    at: float = 0.0
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def admit(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.allowed(now))
        self.at = now
        taken = self.tokens >= 1
        self.tokens -= taken
        (self.answered if taken else self.refused).append(now)
        return taken

    def used(self, begin: float, end: float) -> tuple[float, float]:
        "Shares of the allowed rate and of refusals."
        good, bad = (sum(begin <= at < end for at in times) for times in (self.answered, self.refused))
        allowed = sum(self.allowed(begin + second) for second in range(int(end - begin)))
        return good / allowed, bad / (good + bad)


def play(api: Api, lake: Lake, jobs: int, threads: int, rate_per_s: float, seconds: float, burst: int = 10) -> None:
    "Jobs of so many threads read as fast as they may; a request takes 20 to 60 ms."
    now, waited, random = [0.0], [0.0], Random(3)
    budgets = [RateBudget(rate_per_s, burst, lambda: now[0], lambda s: waited.__setitem__(0, s)) for _ in range(jobs)]
    shares = [RateShare(lake, f"job-{at}", one, rate_per_s, 5.0, lambda: now[0]) for at, one in enumerate(budgets)]
    events = [(0.0, "renew", job) for job in range(jobs) if jobs > 1]
    events += [(0.1, "ask", job) for job in range(jobs) for _ in range(threads)]
    while events:
        now[0], what, job = heapq.heappop(events)
        if now[0] > seconds:
            break
        if what == "renew":
            shares[job].renew()
            heapq.heappush(events, (now[0] + 5.0, "renew", job))
        elif what == "ask":
            waited[0] = 0.0
            budgets[job].acquire()
            heapq.heappush(events, (now[0] + waited[0] + random.uniform(0.01, 0.03), "arrive", job))
        elif what == "arrive":
            taken = api.admit(now[0])
            heapq.heappush(events, (now[0] + random.uniform(0.01, 0.03), "ask" if taken else "refused", job))
        else:
            budgets[job].refused(api.asks_s)
            heapq.heappush(events, (now[0] + api.asks_s + random.uniform(0, 0.5), "ask", job))


WAYS = {"one thread": (1, 1, 20.0), "eight threads": (1, 8, 44.0), "two jobs of eight threads": (2, 8, 44.0)}


@pytest.mark.parametrize("way", WAYS)
def test_a_rate_that_is_allowed_is_used_and_hardly_refused(way: str, tmp_path: Path) -> None:
    jobs, threads, rate_per_s = WAYS[way]
    api = Api(lambda now: rate_per_s)
    play(api, Lake(str(tmp_path)), jobs, threads, rate_per_s, 630)
    used, refused = api.used(30, 630)
    assert used > 0.95
    assert refused < 0.01


@pytest.mark.parametrize("burst", [3, 10, 100])
@pytest.mark.parametrize("allowed", [4.0, 20.0, 40.0])
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_api_that_allows_less_than_was_configured_is_read_as_fast_as_it_allows(
    jobs: int, allowed: float, burst: int, tmp_path: Path
) -> None:
    api = Api(lambda now: allowed, burst, tokens=burst)
    play(api, Lake(str(tmp_path)), jobs, 8, 44.0, 3600)
    used, refused = api.used(200, 3600)
    assert used > 0.95
    assert refused < 0.01


def test_what_the_api_allows_again_is_used_again(tmp_path: Path) -> None:
    "It allows a quarter for twenty minutes, then all."
    api = Api(lambda now: 11.0 if now < 1200 else 44.0)
    play(api, Lake(str(tmp_path)), 1, 8, 44.0, 4200)
    assert api.used(200, 1200)[0] > 0.95
    assert api.used(3300, 4200)[0] > 0.95


def test_requests_that_were_under_way_at_a_refusal_lower_the_rate_once() -> None:
    now = [0.0]
    budget = RateBudget(40, 1, lambda: now[0])
    for at in (0.0, 0.1, 0.5):
        now[0] = at
        budget.refused(1.0)
    assert budget.sent_per_s == pytest.approx(38.0)
    assert budget.paused_s == pytest.approx(1.0)


def test_executors_learn_together() -> None:
    now = [0.0]
    budget = RateBudget(40, 1, lambda: now[0], lambda seconds: None)
    with closing(serve_rate(budget, threading.Event())) as server:
        RemoteRateLimiter(server.address).refused(5.0)
        assert budget.sent_per_s == pytest.approx(38.0)
        assert budget.paused_s == pytest.approx(5.0)


def test_a_429_lowers_the_rate_and_other_errors_do_not() -> None:
    answers = iter([429, 503, 200])

    class Answers(requests.adapters.BaseAdapter):
        def send(self, request: Any, *ignored: Any, **options: Any) -> requests.Response:
            response = requests.Response()
            response.status_code, response.request, response.raw = next(answers), request, io.BytesIO(b"{}")
            return response

        def close(self) -> None:
            """Nothing is open."""

    budget = RateBudget(40, 1, lambda: 0.0, lambda seconds: None)
    settings = ApiSettings("http://127.0.0.1:1", max_attempts=5)
    client = Client(settings, NoSignIn(), budget, sleep=lambda seconds: None, transport=Answers())
    assert client.get("/things", signed=False).status == 200
    assert budget.sent_per_s == pytest.approx(38.0)


def test_an_extraction_says_which_rate_to_configure(tmp_path: Path) -> None:
    now, lake = [0.0], Lake(str(tmp_path))
    budget = RateBudget(40, 1, lambda: now[0], lambda seconds: None)
    client = Client(ApiSettings("http://127.0.0.1:1"), NoSignIn(), budget)
    assert extract_all(client, lake, [], "20261120T120000Z-rate", 1).notes == ()
    for _ in range(3):
        budget.refused(0.0)
        now[0] += 2.0
    (note,) = extract_all(client, lake, [], "20261120T120000Z-rate", 1).notes
    assert (
        note == "the API refused 0 requests: it allows about 29.3 a second, not 40; set SMARTSENSOR_RATE_PER_S to that"
    )
