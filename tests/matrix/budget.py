"""How much of an API's rate is used over real HTTP, and how much of it is refused; a part of `make matrix`.

Each way of reading has a simulator of its own, that allows 40 requests a second, 20 where less is allowed than was configured.
All ways run at the same time: they wait more than they work.
"""

import multiprocessing
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from smartsensor.config import ApiSettings, Secret
from smartsensor.lake.lake import Lake
from smartsensor.simulator.server import Running, start_process
from smartsensor.source.budget import (
    Budget,
    RateBudget,
    RateServerAddress,
    RemoteRateLimiter,
    serve_rate,
    share_rate,
)
from smartsensor.source.http import Client

CONFIGURED, BURST = 40, 10
LEAST_USED, MOST_REFUSED = 0.95, 0.01
CONTEXT = multiprocessing.get_context("spawn")
Sent = list[tuple[float, int | None]]  # epoch seconds, status


@dataclass(frozen=True)
class Way:
    """How the requests are sent."""

    allowed: int = CONFIGURED  # by the API
    processes: int = 1
    threads: int = 8  # of each process
    jobs: bool = False  # the processes are jobs of one lake; else executors of one driver
    settles_s: float = 15.0  # before what is measured


WAYS = {
    "one thread": Way(threads=1, allowed=20),
    "eight threads": Way(),
    "four executors of two threads": Way(processes=4, threads=2),
    "two jobs of four threads": Way(processes=2, threads=4, jobs=True),
    "eight threads, half of what was configured": Way(allowed=20, settles_s=90),
    "four executors, half of what was configured": Way(allowed=20, processes=4, threads=2, settles_s=90),
    "two jobs, half of what was configured": Way(allowed=20, processes=2, threads=4, jobs=True, settles_s=90),
}


def read_on(settings: ApiSettings, budget: Budget, threads: int, until: float) -> Sent:
    "Ask for one small thing again and again."
    client, began = Client(settings, budget=budget, connections=threads), time.time()

    def read(_: int) -> None:
        while time.time() < until:
            client.get("/me")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, range(threads)))
    return [(began + one.at, one.status) for one in client.log.recent if "token" not in one.path]


def process(
    answers: Any, settings: ApiSettings, place: str | RateServerAddress, way: Way, rate: float, until: float
) -> None:
    "An executor of a driver, or a job of a lake."
    try:
        if isinstance(place, RateServerAddress):
            answers.put(read_on(settings, RemoteRateLimiter(place), way.threads, until))
            return
        budget = RateBudget(rate, BURST)
        with share_rate(Lake(place), str(time.monotonic_ns()), budget):
            answers.put(read_on(settings, budget, way.threads, until))
    except Exception as error:  # raised again where it is waited for
        answers.put(f"{type(error).__name__}: {error}")


def measure(way: Way, api: Running, folder: str, seconds: float) -> tuple[float, float]:
    "Shares of what is allowed, and of refusals, once the way has settled."
    settings = ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), retry_budget_s=120)
    rate, begin = (20 if way.threads == 1 else CONFIGURED), time.time() + way.settles_s
    until, answers = begin + seconds, CONTEXT.Queue()
    budget = RateBudget(rate, BURST)
    with closing(serve_rate(budget, threading.Event())) as server:
        if way.processes == 1:
            found: list[Any] = [read_on(settings, budget, way.threads, until)]
        else:
            place = folder if way.jobs else server.address
            children = [
                CONTEXT.Process(target=process, args=(answers, settings, place, way, rate, until))
                for _ in range(way.processes)
            ]
            for child in children:
                child.start()
            found = [answers.get(timeout=way.settles_s + seconds + 120) for _ in children]
            for child in children:
                child.join()
    for one in found:
        if isinstance(one, str):
            raise RuntimeError(one)
    statuses = [status for sent in found for at, status in sent if begin <= at < until]
    return statuses.count(200) / (way.allowed * seconds), statuses.count(429) / len(statuses)


def try_way(name: str, seconds: float) -> tuple[str, list[str]]:
    "One line, and what falls short."
    way = WAYS[name]
    with (
        start_process("--burst", str(way.allowed), "--sustained", "0") as api,
        tempfile.TemporaryDirectory() as folder,
    ):
        used, refused = measure(way, api, folder, seconds)
    line = f"{name}: {used:.1%} of {way.allowed} requests a second, {refused:.2%} refused"
    return line, [line] if used < LEAST_USED or refused > MOST_REFUSED else []


def prove(seconds: float = 120.0) -> tuple[str, list[str]]:
    "A table of all ways, and what falls short."
    with ThreadPoolExecutor(len(WAYS)) as pool:
        found = list(pool.map(lambda name: try_way(name, seconds), WAYS))
    return "\n".join(f"- {line}" for line, _ in found), [problem for _, problems in found for problem in problems]


if __name__ == "__main__":
    lines, problems = prove(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0)
    print(lines)
    sys.exit(bool(problems))
