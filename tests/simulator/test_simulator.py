"""The simulator against its own truth, over real HTTP: what a client would see, and what each fault does to it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from smartsensor.simulator.faults import FAULTS, Clock, Fault, FaultPlan
from smartsensor.simulator.fleet import DAY, FIELDS, HOUR, INCREMENTAL, MEASUREMENT_TYPES, Fleet
from smartsensor.simulator.server import Running, serve, start_process
from smartsensor.simulator.state import Account, Limits
from smartsensor.simulator.telemetry import to_ms
from smartsensor.simulator.world import Position, Query, World, count_rows, page_rows

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
SMALL = Fleet(assets=8, sensors=8, plants=2)
FREE = Limits(burst=0, sustained=0)


def iso(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


class Caller:
    """A bare client: one token, no retry, so that a test sees exactly what the server said."""

    def __init__(self, running: Running) -> None:
        self.running, self.session = running, requests.Session()
        self.session.headers["Authorization"] = f"Bearer {self.token().json()['access_token']}"

    def token(self, **form: str) -> requests.Response:
        auth = (self.running.client_id, self.running.client_secret)
        data = {"grant_type": "client_credentials", **form}
        return requests.post(self.running.token_url, data=data, auth=auth, timeout=10)

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.session.get(self.running.base_url + path, params=params, timeout=10)

    def control(self, method: str, path: str, body: Any = None) -> requests.Response:
        return requests.request(method, self.running.control_url + path, json=body, timeout=10)

    def fault(self, kind: str, **more: Any) -> None:
        assert self.control("POST", "/faults", {"kind": kind, **more}).status_code == 200

    def walk(self, path: str, **params: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            reply = self.get(path, **params)
            assert reply.status_code == 200, reply.text
            page = reply.json()
            rows += page["data"]
            if not page["pagination"]["has_more"]:
                assert page["pagination"]["next_cursor"] is None
                return rows
            params["cursor"] = page["pagination"]["next_cursor"]


@pytest.fixture(scope="module")
def world() -> World:
    return World(SMALL)


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock(NOW, speed=0)


@pytest.fixture(scope="module")
def _running(world: World, clock: Clock) -> Iterator[Running]:
    with serve(world=world, clock=clock, limits=FREE) as running:
        yield running


@pytest.fixture
def caller(_running: Running, clock: Clock) -> Iterator[Caller]:
    clock.set(NOW, 0)
    caller = Caller(_running)
    caller.control("DELETE", "/log")
    yield caller
    caller.control("DELETE", "/faults")


WINDOW = {"updated_since": iso(NOW - timedelta(hours=12)), "updated_before": iso(NOW)}


def _key(resource: str) -> tuple[str, ...]:
    return ("asset_id", "index") if resource == "condition-indexes" else (next(iter(FIELDS[resource])),)


def truth_rows(
    world: World, resource: str, as_of: datetime, *window: datetime
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The truth by key, written as the API writes it."""

    def cell(value: Any) -> Any:
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z") if isinstance(value, datetime) else value

    rows = world.truth(resource, as_of, *window).to_pylist()
    return {tuple(row[k] for k in _key(resource)): {k: cell(v) for k, v in row.items()} for row in rows}


# Data


def test_same_seed_same_bytes_and_another_seed_others(world: World) -> None:
    query = Query("measurements", to_ms(NOW) - 3 * HOUR, to_ms(NOW), to_ms(NOW))
    mine = page_rows(world, query, None, 1000).data
    assert mine == page_rows(World(SMALL), query, None, 1000).data
    other = page_rows(World(Fleet(seed=8, assets=8, sensors=8, plants=2)), query, None, 1000).data
    assert mine != other


def test_a_block_is_the_same_whatever_was_asked_before() -> None:
    late, early = World(SMALL), World(SMALL)
    query = Query("measurements", to_ms(NOW) - 3 * HOUR, to_ms(NOW), to_ms(NOW))
    count_rows(early, Query("measurements", to_ms(NOW) - 60 * DAY, to_ms(NOW) - 59 * DAY, to_ms(NOW)))
    count_rows(late, Query("measurements", to_ms(NOW), to_ms(NOW) + DAY, to_ms(NOW) + DAY))
    assert page_rows(late, query, None, 1000).data == page_rows(early, query, None, 1000).data


@pytest.mark.parametrize("resource", INCREMENTAL)
@settings(max_examples=25, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 6 * DAY), min_size=1, max_size=5),
    limit=st.integers(1, 1000),
    behind=st.integers(0, 3 * DAY),
)
def test_any_partition_of_a_window_has_the_rows_of_the_whole(
    world: World, resource: str, cuts: list[int], limit: int, behind: int
) -> None:
    end = to_ms(NOW)
    edges = sorted({end - 6 * DAY, end, *(end - cut for cut in cuts)})
    as_of = end - behind
    whole = count_rows(world, Query(resource, edges[0], end, as_of))
    parts = [Query(resource, a, b, as_of) for a, b in pairwise(edges)]
    assert sum(count_rows(world, part) for part in parts) == whole
    first = page_rows(world, parts[0], None, limit)
    assert first.size == min(limit, count_rows(world, parts[0]))
    assert first.has_more == (count_rows(world, parts[0]) > limit)


@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_of_any_size_join_to_the_same_walk(world: World, limit: int) -> None:
    query = Query("measurements", to_ms(NOW) - HOUR, to_ms(NOW), to_ms(NOW))
    rows: list[dict[str, Any]] = []
    after: Position | None = None
    while True:
        page = page_rows(world, query, after, limit)
        rows += json.loads(b"[" + page.data + b"]")
        after = page.positions[-1]
        if not page.has_more:
            break
    assert len(rows) == count_rows(world, query) > 100
    order = [(row["updated_at"], row["measurement_id"]) for row in rows]
    assert order == sorted(set(order))


@pytest.mark.parametrize("resource", list(FIELDS))
def test_a_full_walk_is_the_truth(caller: Caller, world: World, resource: str) -> None:
    since = NOW - timedelta(days=6 if resource == "events" else 1)
    window = {"updated_since": iso(since), "updated_before": iso(NOW)} if resource in INCREMENTAL else {}
    rows = caller.walk(f"/{resource}", limit=1000, **window)
    known = truth_rows(world, resource, NOW, *((since, NOW) if window else ()))
    assert {tuple(row[k] for k in _key(resource)): row for row in rows} == known
    assert len(rows) == len(known) == caller.get(f"/{resource}/count", **window).json()["count"] > 0
    assert list(rows[0]) == list(FIELDS[resource])


def test_a_row_appears_when_it_arrives_and_changes_when_it_is_revised(world: World) -> None:
    source = world.sources["measurements"]
    variants = source.variants(to_ms(NOW - timedelta(days=3)) // source.block_ms)
    two = int(next(i for i in range(len(variants.ids)) if variants.revision[i] == 2))
    row, second = int(variants.ids[two]), int(variants.updated[two])
    one = next(i for i in range(two) if variants.ids[i] == row and variants.revision[i] == 1)
    arrival = int(variants.updated[one])

    def seen(as_of: int) -> list[tuple[int, str]]:
        query = Query("measurements", arrival, second + 1, as_of)
        data = json.loads(b"[" + page_rows(world, query, None, 1_000_000).data + b"]")
        return [(r["revision"], r["updated_at"]) for r in data if r["measurement_id"] == f"ms_{row:014x}"]

    assert seen(arrival - 1) == []
    assert [r for r, _ in seen(arrival)] == [1]
    assert [r for r, _ in seen(second - 1)] == [1]
    assert [r for r, _ in seen(second)] == [2]


def test_shares_of_trouble_are_as_the_fleet_says() -> None:
    table = World(Fleet()).truth("measurements", NOW, NOW - timedelta(days=1), NOW)
    rows, bounds = table.to_pylist(), {k.measurement_type_id: (k.low, k.high) for k in MEASUREMENT_TYPES}
    values = [(r["value"], bounds[r["measurement_type_id"]]) for r in rows]
    outside = sum(v is not None and not lo <= v <= hi for v, (lo, hi) in values) / len(rows)
    assert 0 < outside < 0.002
    assert 0.001 < sum(v is None for v, _ in values) / len(rows) < 0.006
    late = sum(r["received_at"] - r["measured_at"] > timedelta(hours=5) for r in rows) / len(rows)
    assert 0.005 < late < 0.02
    waits = sorted((r["received_at"] - r["measured_at"]).total_seconds() for r in rows if r["plant_id"] != "plt-04")
    assert 90 < waits[len(waits) // 2] < 150
    assert 0.005 < sum(r["revision"] == 2 for r in rows) / len(rows) < 0.03
    assert all(r["measured_at"] <= r["received_at"] <= r["updated_at"] < NOW for r in rows)
    minutes = [r["received_at"].minute for r in rows if r["plant_id"] == "plt-04"]
    assert minutes
    assert max(minutes) <= 1, "the last plant forwards in the first minutes of an hour"


def test_a_cumulative_counter_never_falls() -> None:
    rows = World(SMALL).truth("measurements", NOW, NOW - timedelta(days=2), NOW).to_pylist()
    mine = sorted(
        (r["measured_at"], r["value"])
        for r in rows
        if r["measurement_type_id"] == 6
        and r["sensor_id"] == "sen-00001"
        and r["value"] is not None
        and 0 <= r["value"] < 1e9
    )
    assert len(mine) > 500
    assert all(a[1] <= b[1] for a, b in pairwise(mine))


# Listing


def test_a_walk_is_one_instant_even_while_rows_are_revised(caller: Caller, world: World, clock: Clock) -> None:
    first = caller.get("/measurements", limit=200, **WINDOW).json()
    clock.set(NOW + timedelta(hours=3), 0)
    caller = Caller(caller.running)
    rest = caller.walk("/measurements", limit=200, cursor=first["pagination"]["next_cursor"], **WINDOW)
    rows = {(r["measurement_id"],): r for r in first["data"] + rest}
    assert rows == truth_rows(world, "measurements", NOW, NOW - timedelta(hours=12), NOW)
    anew = {(r["measurement_id"],): r for r in caller.walk("/measurements", limit=1000, **WINDOW)}
    assert len(anew) < len(rows), "rows revised after the window's end have left it"
    count = caller.get("/measurements/count", as_of=iso(NOW), **WINDOW).json()["count"]
    assert count == len(rows)


@pytest.mark.parametrize(
    ("name", "value", "column", "wanted"),
    [
        ("plant_id", "plt-02", "plant_id", "plt-02"),
        ("asset_id", "ast-0003", "asset_id", "ast-0003"),
        ("sensor_id", "sen-00005", "sensor_id", "sen-00005"),
        ("measurement_type", "speed", "measurement_type_id", 4),
        ("measurement_type", "4", "measurement_type_id", 4),
    ],
)
def test_filters_choose_what_they_name(caller: Caller, name: str, value: str, column: str, wanted: Any) -> None:
    everything = caller.walk("/measurements", limit=1000, **WINDOW)
    chosen = caller.walk("/measurements", limit=100, **WINDOW, **{name: value})
    assert chosen == [row for row in everything if row[column] == wanted]
    assert caller.get("/measurements/count", **WINDOW, **{name: value}).json()["count"] == len(chosen) > 0


def test_filters_reach_reference_resources_and_events(caller: Caller) -> None:
    assets = caller.walk("/assets", plant_id="plt-01")
    mine = {a["asset_id"] for a in assets}
    assert 0 < len(mine) < 8
    assert {s["asset_id"] for s in caller.walk("/sensors", plant_id="plt-01")} <= mine
    week = {"updated_since": iso(NOW - timedelta(days=7)), "updated_before": iso(NOW)}
    chosen = caller.walk("/events", plant_id="plt-01", **week)
    assert chosen == [e for e in caller.walk("/events", **week) if e["asset_id"] in mine]


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        (
            "/measurements",
            {"updated_since": iso(NOW - timedelta(days=8)), "updated_before": iso(NOW)},
            400,
            "window_too_large",
        ),
        (
            "/measurements",
            {"updated_since": iso(NOW - timedelta(days=91)), "updated_before": iso(NOW)},
            400,
            "before_retention",
        ),
        (
            "/measurements",
            {"updated_since": iso(NOW), "updated_before": iso(NOW - timedelta(days=1))},
            400,
            "invalid_window",
        ),
        ("/measurements", {"updated_since": "2026-11-20T00:00:00"}, 400, "invalid_parameter"),
        ("/measurements", {"plantid": "plt-01"}, 400, "unknown_parameter"),
        ("/measurements", {"limit": 1001}, 400, "invalid_parameter"),
        ("/measurements", {"limit": 0}, 400, "invalid_parameter"),
        ("/plants", {"updated_since": iso(NOW)}, 400, "unknown_parameter"),
        ("/measurements/count", {"as_of": iso(NOW + timedelta(days=1))}, 400, "invalid_parameter"),
        ("/gadgets", {}, 404, "not_found"),
    ],
)
def test_what_is_refused(caller: Caller, path: str, params: dict[str, Any], status: int, code: str) -> None:
    reply = caller.get(path, **params)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.json()["request_id"] == reply.headers["X-Request-Id"]
    assert {"type", "title", "status", "detail", "instance"} <= reply.json().keys()
    if code == "before_retention":
        assert reply.json()["earliest"] == (NOW - timedelta(days=90)).isoformat(timespec="milliseconds").replace(
            "+00:00", "Z"
        )


def test_a_cursor_is_bound_to_what_it_was_issued_for(caller: Caller, clock: Clock) -> None:
    first = caller.get("/measurements", limit=10, plant_id="plt-01", **WINDOW).json()
    cursor = first["pagination"]["next_cursor"]
    assert first["pagination"]["has_more"] is True
    assert first["pagination"]["limit"] == 10
    assert caller.get("/measurements", cursor=cursor, plant_id="plt-01", **WINDOW).status_code == 200
    assert caller.get("/measurements", cursor=cursor).status_code == 200
    swapped = ("A" if cursor[20] != "A" else "B").join((cursor[:20], cursor[21:]))
    for path, params in (
        ("/measurements", {"cursor": cursor, "plant_id": "plt-02"}),
        ("/measurements", {"cursor": cursor, "updated_since": iso(NOW)}),
        ("/events", {"cursor": cursor}),
        ("/measurements", {"cursor": swapped}),
        ("/measurements", {"cursor": "no such thing"}),
        ("/measurements", {"cursor": ""}),
    ):
        assert caller.get(path, **params).status_code == 400, params
    clock.set(NOW + timedelta(hours=24), 0)
    again = Caller(caller.running)
    late = again.get("/measurements", cursor=cursor)
    assert (late.status_code, late.json()["code"]) == (410, "cursor_expired")


@pytest.mark.parametrize(
    "change", [{"format": "xml"}, {"from": None}, {"plant_ids": [1]}, {"plant_ids": "plt-01"}, {"colour": "red"}]
)
def test_a_wrong_export_request_is_refused_and_the_field_named(caller: Caller, change: dict[str, Any]) -> None:
    window = {"from": iso(NOW - timedelta(hours=1)), "to": iso(NOW)}
    body = {"resource": "measurements", **window, "format": "ndjson", **change}
    url, headers = caller.running.base_url + "/exports", {"Idempotency-Key": json.dumps(change)}
    reply = caller.session.post(url, json=body, headers=headers, timeout=10)
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_parameter")
    assert next(iter(change)) in reply.json()["detail"]


# Tokens and limits


def test_token_flows(caller: Caller, clock: Clock) -> None:
    good = caller.token(scope="telemetry.read")
    assert good.headers["Cache-Control"] == "no-store"
    assert good.json() | {"access_token": ""} == {
        "access_token": "",
        "token_type": "Bearer",
        "expires_in": 900,
        "scope": "telemetry.read",
    }
    url, form = caller.running.token_url, {"grant_type": "client_credentials"}
    secret = {"client_id": caller.running.client_id, "client_secret": caller.running.client_secret}
    assert requests.post(url, data=form | secret, timeout=10).status_code == 200
    wrong = requests.post(url, data=form | secret | {"client_secret": "wrong"}, timeout=10)
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    assert "Basic" in wrong.headers["WWW-Authenticate"]
    assert caller.token(grant_type="password").json()["error"] == "unsupported_grant_type"
    assert caller.token(scope="telemetry.delete").json()["error"] == "invalid_scope"
    assert requests.post(url, json=form | secret, timeout=10).json()["error"] == "invalid_request"
    clock.set(NOW + timedelta(seconds=900), 0)
    expired = caller.get("/plants")
    assert expired.status_code == 401
    assert expired.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_scopes_and_me(caller: Caller) -> None:
    assert requests.get(caller.running.base_url + "/health", timeout=10).json()["status"] == "ok"
    assert requests.get(caller.running.base_url + "/me", timeout=10).status_code == 401
    caller.session.headers["Authorization"] = f"Bearer {caller.token(scope='exports.write').json()['access_token']}"
    me = caller.get("/me").json()
    assert me["scopes"] == ["exports.write"]
    assert me["as_of"] == "2026-11-20T08:00:00.000Z"
    assert me["limits"]["page"]["max"] == 1000
    refused = caller.get("/measurements", **WINDOW)
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_scope")
    assert "insufficient_scope" in refused.headers["WWW-Authenticate"]


def test_rate_limits_by_client() -> None:
    accounts = (Account(), Account("other", "also-not-a-secret"))
    limits = Limits(burst=1, burst_window_s=60, sustained=5, sustained_window_s=3600, legacy_headers="delta")
    with serve(SMALL, clock=Clock(NOW, 0), limits=limits, accounts=accounts) as running:
        one, two = Caller(running), Caller(Running(running.base_url, "other", "also-not-a-secret"))
        first = one.get("/plants")
        assert first.status_code == 200
        assert first.headers["RateLimit-Policy"] == '"burst";q=1;w=60, "sustained";q=5;w=3600'
        assert re.fullmatch(r'"burst";r=0;t=(59|60)', first.headers["RateLimit"])
        assert first.headers["X-RateLimit-Remaining"] == "0"
        second = one.get("/plants")
        assert second.status_code == 429
        assert int(second.headers["Retry-After"]) in (59, 60)
        assert two.get("/plants").status_code == 200, "the other client has a bucket of its own"
        log = one.control("GET", "/log").json()["requests"]
        assert {"method": "GET", "path": "/plants", "status": 429, "count": 1} in log


def test_date_is_the_servers_clock(caller: Caller) -> None:
    reply = caller.get("/plants")
    assert parsedate_to_datetime(reply.headers["Date"]) == NOW
    assert reply.json()["meta"]["as_of"] == "2026-11-20T08:00:00.000Z"
    moved = caller.control("POST", "/clock", {"advance_s": 60}).json()
    assert moved["now"] == "2026-11-20T08:01:00.000Z"
    refused = caller.control("POST", "/clock", {"at": "2026-11-20T00:00:00"})
    assert refused.status_code == 422
    assert "time zone" in refused.json()["error"]


# Faults


def _status(caller: Caller) -> None:
    caller.fault("status", at=1, times=2, value={"status": 429, "retry_after": 7})
    replies = [caller.get("/measurements", **WINDOW) for _ in range(4)]
    assert [r.status_code for r in replies] == [200, 429, 429, 200]
    assert replies[1].headers["Retry-After"] == "7"
    caller.fault("status", on="/plants", value={"status": 503, "retry_after": 90, "form": "date"})
    assert parsedate_to_datetime(caller.get("/plants").headers["Retry-After"]) == NOW + timedelta(seconds=90)
    for status in (500, 502, 504):
        caller.fault("status", on="/assets", value=status)
        reply = caller.get("/assets")
        assert reply.status_code == status
        assert reply.headers["Content-Type"].startswith("text/html")
        caller.control("DELETE", "/faults")


def _token_revoked(caller: Caller) -> None:
    caller.fault("token_revoked")
    assert [caller.get("/measurements", **WINDOW).status_code for _ in range(2)] == [401, 401]
    assert Caller(caller.running).get("/measurements", **WINDOW).status_code == 200


def _token_503(caller: Caller) -> None:
    caller.fault("token_503")
    reply = caller.token()
    assert reply.status_code == 503
    assert "Retry-After" in reply.headers
    assert caller.token().status_code == 200


def _invalid_client(caller: Caller) -> None:
    caller.fault("invalid_client")
    assert caller.token().json()["error"] == "invalid_client"
    assert caller.token().status_code == 200


def _expires_in_absent(caller: Caller) -> None:
    caller.fault("expires_in_absent")
    assert "expires_in" not in caller.token().json()
    assert "expires_in" in caller.token().json()


def _reset(caller: Caller) -> None:
    caller.fault("reset")
    host = caller.running.base_url.split("/")[2].split(":")
    with socket.create_connection((host[0], int(host[1])), timeout=10) as raw:
        raw.sendall(b"GET /v1/measurements HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            raw.recv(1)
    assert caller.get("/measurements", **WINDOW).status_code == 200


def _truncated(caller: Caller) -> None:
    caller.fault("truncated")
    host = caller.running.base_url.split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=10)
    headers = {"Authorization": str(caller.session.headers["Authorization"])}
    connection.request("GET", "/v1/measurements", headers=headers)
    reply = connection.getresponse()
    with pytest.raises(http.client.IncompleteRead) as caught:
        reply.read()
    assert 0 < len(caught.value.partial) < int(reply.headers["Content-Length"])
    connection.close()


def _slow(caller: Caller) -> None:
    caller.fault("slow", value=0.2)
    assert caller.get("/measurements", **WINDOW).elapsed >= timedelta(seconds=0.2)
    assert caller.get("/measurements", **WINDOW).status_code == 200


def _empty_page(caller: Caller) -> None:
    good = caller.walk("/measurements", limit=1000, **WINDOW)
    caller.fault("empty_page", times=2)
    page = caller.get("/measurements", limit=1000, **WINDOW).json()
    assert (page["data"], page["pagination"]["has_more"]) == ([], True)
    assert caller.walk("/measurements", limit=1000, cursor=page["pagination"]["next_cursor"]) == good


def _repeated_cursor(caller: Caller) -> None:
    first = caller.get("/measurements", limit=10, **WINDOW).json()
    caller.fault("repeated_cursor")
    second = caller.get("/measurements", limit=10, cursor=first["pagination"]["next_cursor"]).json()
    third = caller.get("/measurements", limit=10, cursor=second["pagination"]["next_cursor"]).json()
    assert second["pagination"]["next_cursor"] == first["pagination"]["next_cursor"]
    assert third["data"] == second["data"] != first["data"]


def _cursor_key_missing(caller: Caller) -> None:
    caller.fault("cursor_key_missing")
    page = caller.get("/measurements", limit=10, **WINDOW).json()["pagination"]
    assert page == {"has_more": True, "limit": 10}


def _row_on_two_pages(caller: Caller) -> None:
    good = caller.walk("/measurements", limit=1000, **WINDOW)
    caller.fault("row_on_two_pages")
    rows = caller.walk("/measurements", limit=1000, **WINDOW)
    assert rows == [*good[:1000], *good[999:]]


def _lying_count(caller: Caller) -> None:
    good = caller.get("/measurements/count", **WINDOW).json()["count"]
    caller.fault("lying_count", on="/measurements/count", value=-3)
    assert caller.get("/measurements/count", **WINDOW).json()["count"] == good - 3


def _new_field(caller: Caller) -> None:
    caller.fault("new_field", value={"humidity": 41})
    assert caller.get("/measurements", **WINDOW).json()["data"][0]["humidity"] == 41


def _renamed_field(caller: Caller) -> None:
    good = caller.get("/measurements", **WINDOW).json()["data"]
    caller.fault("renamed_field", value={"value": "reading"})
    rows = caller.get("/measurements", **WINDOW).json()["data"]
    assert [row["reading"] for row in rows] == [row["value"] for row in good]
    assert not any("value" in row for row in rows)


def _number_as_string(caller: Caller) -> None:
    caller.fault("number_as_string")
    rows = caller.get("/measurements", **WINDOW).json()["data"]
    assert all(row["value"] is None or float(row["value"]) is not None for row in rows)
    assert {type(row["value"]) for row in rows} <= {str, type(None)}


def _timestamp_without_zone(caller: Caller) -> None:
    caller.fault("timestamp_without_zone", value="measured_at")
    row = caller.get("/measurements", **WINDOW).json()["data"][0]
    assert not row["measured_at"].endswith("Z")
    assert row["updated_at"].endswith("Z")


def _error_in_200(caller: Caller) -> None:
    caller.fault("error_in_200")
    reply = caller.get("/measurements", **WINDOW)
    assert reply.status_code == 200
    assert reply.json().keys() == {"error"}


PROOFS: dict[str, Callable[[Caller], None]] = {
    **{"status": _status, "token_revoked": _token_revoked, "token_503": _token_503, "invalid_client": _invalid_client},
    **{"expires_in_absent": _expires_in_absent, "reset": _reset, "truncated": _truncated, "slow": _slow},
    **{"empty_page": _empty_page, "repeated_cursor": _repeated_cursor, "cursor_key_missing": _cursor_key_missing},
    **{"row_on_two_pages": _row_on_two_pages, "lying_count": _lying_count, "new_field": _new_field},
    **{
        "renamed_field": _renamed_field,
        "number_as_string": _number_as_string,
        "timestamp_without_zone": _timestamp_without_zone,
        "error_in_200": _error_in_200,
    },
}


@pytest.mark.parametrize("kind", sorted(kind for kind in FAULTS if not kind.startswith("export_")))
def test_each_fault_does_what_it_says(caller: Caller, kind: str) -> None:
    PROOFS[kind](caller)


def test_an_unknown_fault_is_refused_with_the_known_ones(caller: Caller) -> None:
    with pytest.raises(ValueError, match=r"unknown fault 'gremlin'; known are .*truncated"):
        FaultPlan.parse({"kind": "gremlin"})
    reply = caller.control("POST", "/faults", [{"kind": "slow"}, {"kind": "gremlin"}])
    assert reply.status_code == 422
    assert reply.json()["known"] == sorted(FAULTS)
    assert caller.control("GET", "/faults").json()["faults"] == [], "a plan is taken whole or not at all"


def test_a_plan_given_at_start_strikes() -> None:
    with serve(SMALL, FaultPlan((Fault("status", on="/plants", value=500),)), Clock(NOW, 0), FREE) as running:
        caller = Caller(running)
        assert [caller.get("/plants").status_code for _ in range(2)] == [500, 200]
        assert caller.control("GET", "/faults").json()["faults"][0]["struck"] == 1


# The server


def test_docs_need_no_network(caller: Caller) -> None:
    root = caller.running.base_url.removesuffix("/v1")
    page = requests.get(root + "/docs", timeout=10)
    assert page.status_code == 200
    assert re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", page.text) == []
    assets = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(assets) >= 2
    assert all(requests.get(root + path, timeout=10).status_code == 200 for path in assets)
    paths = requests.get(root + "/openapi.json", timeout=10).json()["paths"]
    assert {f"/v1/{r}{c}" for r in FIELDS for c in ("", "/count")} | {
        "/v1/oauth2/token",
        "/v1/health",
        "/v1/me",
        "/v1/exports",
        "/v1/exports/{export_id}",
        "/v1/exports/{export_id}/files/{file_id}",
    } == set(paths)


def test_a_process_of_its_own_serves_and_ends(tmp_path: Any) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps([{"kind": "status", "on": "/plants", "value": 502}]))
    arguments = (
        "--sensors",
        "8",
        "--assets",
        "8",
        "--clock-start",
        iso(NOW),
        "--clock-speed",
        "0",
        "--faults",
        str(plan),
    )
    with start_process(*arguments) as running:
        caller = Caller(running)
        assert [caller.get("/plants").status_code for _ in range(2)] == [502, 200]
        assert caller.get("/health").json()["time"] == "2026-11-20T08:00:00.000Z"
        pid = running.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_express_lane_of_a_benchmark_serves_the_same_rows() -> None:
    arguments = ("--sensors", "8", "--assets", "8", "--bench-rows", "20000", "--burst", "0", "--sustained", "0")
    with start_process(*arguments) as running:
        assert running.bench is not None
        window = {name: running.bench[name] for name in ("updated_since", "updated_before")}
        caller = Caller(running)
        rows = caller.walk("/measurements", limit=1000, **window)
        fleet = Fleet(assets=8, sensors=8, interval_s=int(8 * 6 * 86_400 / 20_000))
        start, end = (datetime.fromisoformat(window[name]) for name in ("updated_since", "updated_before"))
        assert {(row["measurement_id"],): row for row in rows} == truth_rows(
            World(fleet), "measurements", end, start, end
        )
        assert len(rows) == running.bench["rows"] == caller.get("/measurements/count", **window).json()["count"]
        assert abs(len(rows) - 20_000) < 1_000
        assert caller.get("/measurements", cursor="forged").status_code == 400
        caller.session.headers["Authorization"] = "Bearer forged"
        assert caller.get("/measurements", **window).status_code == 401


def test_the_process_dies_with_its_parent() -> None:
    code = (
        "from smartsensor.simulator.server import start_process\n"
        "with start_process('--sensors', '8') as r:\n"
        "    print(r.base_url, flush=True)\n"
        "    input()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    url = parent.stdout.readline().strip()
    assert requests.get(url + "/health", timeout=10).status_code == 200
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as watched:
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        assert watched.recv(1) == b"", "the server closed the connection: it is ending"
    parent.stdin.close()
    parent.stdout.close()


def test_the_command_refuses_what_it_does_not_know() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "smartsensor.simulator.server", "--gremlins"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "--gremlins" in done.stderr
