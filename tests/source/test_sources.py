"""A source's limits and its host, over real HTTP."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark import cloudpickle
from test_bad_manners import HOUR, READINGS, page, rows, served

from smartsensor.config import ApiSettings, ConfigError, Settings
from smartsensor.jobs.workers import ship_functions
from smartsensor.source.errors import ContractError
from smartsensor.source.http import Probes
from smartsensor.source.paging import NextUrlPaging
from smartsensor.source.sign_in import NoSignIn
from smartsensor.source.sources import Source, connect, load_source


@pytest.mark.parametrize(("parallel", "most"), [(1, 1), (2, 2)])
def test_an_api_that_takes_few_requests_at_a_time_gets_no_more(parallel: int, most: int) -> None:
    lock, now, seen = threading.Lock(), 0, list[int]()

    def slow(path: str, query: dict[str, str]) -> Any:
        nonlocal now
        with lock:
            now += 1
            seen.append(now)
        time.sleep(0.02)  # long enough for a second request to come meanwhile
        with lock:
            now -= 1
        return page(rows(0, 1), None)

    with served(slow) as client:
        source = Source(
            "serial", (READINGS,), client.settings.base_url, NoSignIn(), Probes(None, None), parallel=parallel
        )
        serial = connect(Settings(ApiSettings(""), threads=8), source)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: serial.get("/readings"), range(24)))
    assert len(seen) == 24
    assert max(seen) <= most


@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "https://elsewhere.example"])
def test_no_token_goes_to_a_host_that_a_next_link_names(host: str) -> None:
    elsewhere = replace(READINGS, paging=NextUrlPaging("next"), count=None)
    answer = {"data": rows(0, 1), "next": f"{host}/readings?page=2"}
    with served(lambda path, query: answer) as client, pytest.raises(ContractError, match="no token is sent there"):
        list(client.pages(elsewhere, HOUR))


def test_a_relative_next_link_stays_on_the_host() -> None:
    following = replace(READINGS, paging=NextUrlPaging("next"), count=None)
    answers = [{"data": rows(0, 1), "next": "/readings?page=2"}, {"data": rows(1, 1), "next": None}]
    with served(lambda path, query: answers.pop(0)) as client:
        assert [one.rows for one in client.pages(following, HOUR)] == [1, 1]


def test_a_source_without_an_address_says_which_setting_is_missing() -> None:
    with pytest.raises(ConfigError, match="SMARTSENSOR_API_URL: not set, and source nowhere names no base_url"):
        connect(Settings(ApiSettings("")), Source("nowhere", (READINGS,), sign_in=NoSignIn()))


def test_the_built_in_source_is_read_where_none_is_named() -> None:
    assert "measurements" in load_source().resources


WITH_FUNCTION = """
import pyarrow as pa
from smartsensor.source.resources import REAL, TEXT, Resource, columns
from smartsensor.source.sources import Source

def doubled(rows):
    return rows.set_column(1, "value", pa.compute.multiply(rows["value"], 2.0))

SCHEMA = columns(id=TEXT, value=REAL)
SOURCE = Source("own", (Resource("r", "/r", ("id",), SCHEMA, "snapshot", version=(), received=SCHEMA, transform=doubled),))
"""
ELSEWHERE = """
import pickle, sys
import pyarrow.compute
from smartsensor.source.resources import read_rows
resource = pickle.loads(bytes.fromhex(sys.argv[1]))
print(read_rows(resource, b'{"data": [{"id": "a", "value": 1.5}]}').batch.to_pylist()[0]["value"])
"""


def test_the_functions_of_a_source_that_is_a_file_reach_an_executor(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(WITH_FUNCTION)
    resources = load_source(str(tmp_path / "own.py")).resources
    ship_functions(resources)
    sent = cloudpickle.dumps(resources["r"]).hex()
    answer = subprocess.run([sys.executable, "-c", ELSEWHERE, sent], capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout.strip() == "3.0", answer.stderr
