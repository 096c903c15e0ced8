"""Each fake API, read to its end by plain requests, without smartsensor: it signs in, pages, filters and fails as said.

The readers below are the shortest clients that are right; each gives flat rows, which must equal the server's truth.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import abb_like
import cognite_like
import github_like
import insights_like
import openaq_like
import pi_like
import pytest
import requests
import stripe_like
import thingsboard_like
from server import LATE, FakeApi, Faults, Row, epoch_ms, from_iso, iso

MS, SECOND = timedelta(milliseconds=1), timedelta(seconds=1)


class Caller:
    """A session that tries again what a fault broke, and signs in again after a 401."""

    def __init__(self, api: FakeApi, sign_in: Callable[["Caller"], None], tries: int) -> None:
        self.api, self.sign_in, self.tries, self.session = api, sign_in, tries, requests.Session()
        sign_in(self)

    def send(self, method: str, address: str, **given: Any) -> requests.Response:
        url = address if address.startswith("http") else self.api.url + address
        for attempt in range(self.tries):
            try:
                response = self.session.request(method, url, timeout=5, **given)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                if attempt + 1 == self.tries:
                    raise
                continue
            if response.status_code == 401 and self.api.gives_tokens and self.tries > 1:
                self.sign_in(self)
            elif response.status_code not in (429, 500, 503):
                break
        response.raise_for_status()
        return response

    def get(self, address: str, **params: Any) -> requests.Response:
        return self.send("GET", address, params=params)


def no_sign_in(caller: Caller) -> None:
    """Nothing at all."""


def milliseconds(number: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + number * MS


# -- GitHub
def github_sign_in(caller: Caller) -> None:
    caller.session.headers["Authorization"] = f"Bearer {github_like.TOKEN}"


def read_github(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    constant = {"state": "all", "sort": "updated", "direction": "asc", "per_page": 1000}  # cut to 100
    response = caller.get(github_like.PATH, since=iso(start), **constant)
    while True:
        assert len(response.json()) <= 100
        for row in response.json():
            times = {name: row[name] and from_iso(row[name]) for name in ("created_at", "updated_at", "closed_at")}
            plain = {name: row[name] for name in ("number", "title", "state", "comments")}
            if times["updated_at"] < end:
                yield {"issue_id": row["id"], **plain, "user_login": row["user"]["login"], **times}
        if "next" not in response.links:
            return
        response = caller.get(requests.compat.urljoin(response.url, response.links["next"]["url"]))


# -- Stripe
def stripe_sign_in(caller: Caller) -> None:
    caller.session.auth = (stripe_like.SECRET_KEY, "")


def read_stripe(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    window = {"created[gte]": int(start.timestamp()), "created[lt]": int(end.timestamp()), "limit": 100}
    place: dict[str, str] = {}
    while True:
        page = caller.get(stripe_like.PATH, **window, **place).json()
        for row in page["data"]:
            plain = {name: row[name] for name in ("amount", "currency", "status", "refunded")}
            created = milliseconds(row["created"] * 1000)
            yield {"charge_id": row["id"], **plain, "sensor_id": row["metadata"]["sensor"], "created_at": created}
        if not page["has_more"]:
            return
        place = {"starting_after": page["data"][-1]["id"]}


# -- OpenAQ
def openaq_sign_in(caller: Caller) -> None:
    caller.session.headers["X-API-Key"] = openaq_like.API_KEY


def openaq_pages(caller: Caller, path: str, **params: Any) -> Iterator[Any]:
    page, limit = 1, 10
    while True:
        answer = caller.get(path, page=page, limit=limit, **params).json()
        yield from answer["results"]
        if len(answer["results"]) < limit:
            assert answer["meta"]["found"] == len(answer["results"])
            return
        assert answer["meta"]["found"] == ">10"
        page += 1


def read_openaq(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    window = {"datetime_from": iso(start - SECOND), "datetime_to": iso(end - SECOND)}
    for sensor in openaq_pages(caller, f"/v3/locations/{openaq_like.LOCATION}/sensors"):
        for row in openaq_pages(caller, f"/v3/sensors/{sensor['id']}/measurements", **window):
            yield {
                "sensor_id": sensor["id"],
                "parameter_id": row["parameter"]["id"],
                "parameter": row["parameter"]["name"],
                "units": row["parameter"]["units"],
                "measured_at": from_iso(row["period"]["datetimeFrom"]["utc"]),
                "ended_at": from_iso(row["period"]["datetimeTo"]["local"]),
                "value": row["value"],
            }


# -- PI Web API
def pi_sign_in(caller: Caller) -> None:
    caller.session.auth = (pi_like.USER, pi_like.PASSWORD)


def read_pi(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    window = {"startTime": iso(start, "milliseconds"), "endTime": iso(end, "milliseconds")}
    page = caller.get(pi_like.PATH, **window, maxCount=100).json()
    while True:
        for stream in page["Items"]:
            for row in stream["Items"]:
                assert row["Timestamp"].endswith("0Z")
                measured = from_iso(row["Timestamp"])
                if measured < end:
                    parent = {"web_id": stream["WebId"], "name": stream["Name"], "path": stream["Path"]}
                    value = None if isinstance(row["Value"], dict) else row["Value"]
                    units, good = row["UnitsAbbreviation"], row["Good"]
                    yield {**parent, "measured_at": measured, "value": value, "units": units, "good": good}
        if "Next" not in page["Links"]:
            return
        page = caller.get(page["Links"]["Next"]).json()


# -- Insights Hub
def insights_sign_in(caller: Caller) -> None:
    client = (insights_like.CLIENT_ID, insights_like.CLIENT_SECRET)
    form = {"grant_type": "client_credentials"}
    token = caller.send("POST", insights_like.TOKEN_PATH, data=form, auth=client).json()["access_token"]
    caller.session.headers["Authorization"] = f"Bearer {token}"


def read_insights(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    window = {"from": iso(start - MS, "milliseconds"), "to": iso(end - MS, "milliseconds")}
    response = caller.get(insights_like.PATH, **window, limit=200)
    while True:
        for record in response.json():
            for variable in {"temperature", "pressure"} & set(record):
                value, quality = record[variable], record[f"{variable}_qc"]
                yield {
                    "measured_at": from_iso(record["_time"]),
                    "variable": variable,
                    "value": value,
                    "quality": quality,
                }
        if "next" not in response.links:
            return
        response = caller.get(response.links["next"]["url"])


# -- ThingsBoard
def thingsboard_sign_in(caller: Caller) -> None:
    given = {"username": thingsboard_like.USER, "password": thingsboard_like.PASSWORD}
    token = caller.send("POST", thingsboard_like.LOGIN, json=given).json()["token"]
    caller.session.headers["X-Authorization"] = f"Bearer {token}"


def read_thingsboard(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    devices, more = [], True
    while more:
        page = caller.get(thingsboard_like.DEVICES, pageSize=2, page=len(devices) // 2).json()
        devices, more = devices + page["data"], page["hasNext"]
    for device in (device["id"]["id"] for device in devices):
        for key in thingsboard_like.KEYS:
            place = {"startTs": epoch_ms(start), "endTs": epoch_ms(end), "orderBy": "ASC", "keys": key}
            values = [None] * 100
            while len(values) == 100:
                path = f"/api/plugins/telemetry/DEVICE/{device}/values/timeseries"
                values = caller.get(path, **place).json().get(key, [])
                for row in values:
                    yield {
                        "device_id": device,
                        "key": key,
                        "measured_at": milliseconds(row["ts"]),
                        "value": float(row["value"]),
                    }
                    place["startTs"] = row["ts"] + 1


# -- ABB
def abb_sign_in(caller: Caller) -> None:
    answer = caller.send("POST", abb_like.AUTH, json={"apiKey": abb_like.API_KEY, "deviceUID": "string"}).json()
    assert answer["organizationID"] == abb_like.ORGANIZATION
    caller.session.headers["Authorization"] = f"Bearer {answer['authToken']}"


def read_abb(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    listed = caller.get("/Asset/List", organizationID=abb_like.ORGANIZATION).json()
    for asset in (each["assetID"] for each in listed):
        window = {"from": start.replace(tzinfo=None).isoformat(), "to": end.replace(tzinfo=None).isoformat()}
        for kind in caller.get("/Measurement/Value", assetID=asset, measurementTypes="1,2,3", **window).json():
            for row in kind["measurements"]:
                measured = from_iso(row["measurementCreated"])
                if measured < end:
                    yield {
                        "asset_id": asset,
                        "measurement_type_id": kind["measurementTypeID"],
                        "measurement_type": kind["measurementTypeName"],
                        "unit": kind["measurementTypeUnit"],
                        "measured_at": measured,
                        "value": row["measurementValue"],
                    }


# -- Cognite
def cognite_sign_in(caller: Caller) -> None:
    caller.session.headers["api-key"] = cognite_like.API_KEY


def read_cognite(caller: Caller, start: datetime, end: datetime) -> Iterator[Row]:
    offset, total = 0, 1
    while offset < total:
        window = {"minStartTime": epoch_ms(start), "maxStartTime": epoch_ms(end) - 1}
        page = caller.get(cognite_like.PATH, offset=offset, limit=100, **window).json()
        offset, total = offset + len(page["items"]), page["total"]
        for row in page["items"]:
            yield {
                "event_id": row["id"],
                "external_id": row["externalId"],
                "type": row["type"],
                "severity": int(row["metadata"]["severity"]),
                "started_at": milliseconds(row["startTime"]),
                "ended_at": milliseconds(row["endTime"]) if "endTime" in row else None,
                "created_at": milliseconds(row["createdTime"]),
                "updated_at": milliseconds(row["lastUpdatedTime"]),
            }


Reader = Callable[[Caller, datetime, datetime], Iterator[Row]]
APIS: dict[str, tuple[type[FakeApi], Callable[[Caller], None], Reader]] = {
    "github": (github_like.GithubLike, github_sign_in, read_github),
    "stripe": (stripe_like.StripeLike, stripe_sign_in, read_stripe),
    "openaq": (openaq_like.OpenaqLike, openaq_sign_in, read_openaq),
    "pi": (pi_like.PiLike, pi_sign_in, read_pi),
    "insights": (insights_like.InsightsLike, insights_sign_in, read_insights),
    "thingsboard": (thingsboard_like.ThingsboardLike, thingsboard_sign_in, read_thingsboard),
    "abb": (abb_like.AbbLike, abb_sign_in, read_abb),
    "cognite": (cognite_like.CogniteLike, cognite_sign_in, read_cognite),
}
each_api = pytest.mark.parametrize("name", APIS)


def read(name: str, api: FakeApi, start: datetime, end: datetime, tries: int = 1) -> list[Row]:
    _, sign_in, reader = APIS[name]
    caller = Caller(api, sign_in, tries)
    with caller.session:
        return sorted(reader(caller, start, end), key=lambda row: [row[column] for column in api.key])


@each_api
def test_read_to_the_end_it_gives_exactly_its_truth_and_again_a_day_later(name: str) -> None:
    with APIS[name][0]() as api:
        edge, middle = api.now, api.start + timedelta(hours=25, minutes=30)
        first = api.truth(api.start, edge)
        assert read(name, api, api.start, edge) == first
        assert len(first) >= 100
        # the windows' ends hold: no row twice, none missing, wherever the cut lies (on the hour some rows lie on it)
        for cut in (middle, api.start + timedelta(hours=24), api.start + timedelta(hours=24, milliseconds=1)):
            if name in ("stripe", "github", "openaq") and cut.microsecond:
                continue  # these know whole seconds
            assert read(name, api, api.start, cut) == api.truth(api.start, cut)
            assert read(name, api, cut, edge) == api.truth(cut, edge)
        api.advance()
        assert api.now == edge + timedelta(days=1)
        assert read(name, api, api.start, api.now) == api.truth(api.start, api.now)


@each_api
def test_what_comes_late_or_changes_lies_within_the_lookback_it_names(name: str) -> None:
    api = APIS[name][0]()
    edge = api.now

    def by_key(rows: list[Row]) -> dict[tuple[Any, ...], Row]:
        return {tuple(row[column] for column in api.key): row for row in rows}

    before = by_key(api.truth(api.start, edge))
    api.advance()
    after = by_key(api.truth(api.start, api.now))
    assert len(after) > len(before)
    assert set(before) <= set(after)  # a row is never taken away
    late = [row for key, row in after.items() if row[api.instant] < edge and key not in before]
    changed = [after[key] for key in before if after[key] != before[key]]
    assert bool(late) is api.comes_late
    assert bool(changed) is (name not in ("openaq", "thingsboard", "abb"))
    assert all(row[api.instant] >= edge - LATE for row in late + changed)


@each_api
def test_the_same_seed_gives_the_same_data_and_another_gives_others(name: str) -> None:
    api, same, other = (APIS[name][0](seed=seed) for seed in (7, 7, 8))
    for each in (api, same, other):
        each.advance()
    truth = api.truth(api.start, api.now)
    assert truth == same.truth(api.start, api.now)
    assert truth != other.truth(api.start, api.now)
    assert len({tuple(row[column] for column in api.key) for row in truth}) == len(truth)


@each_api
def test_who_does_not_sign_in_is_refused(name: str) -> None:
    kind, _, reader = APIS[name]
    with kind() as api:
        caller = Caller(api, no_sign_in, tries=1)
        with pytest.raises(requests.HTTPError, match="401"):
            next(iter(reader(caller, api.start, api.now)))
        assert [logged.status for logged in api.log] == [401]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("insights", {"auth": ("fleet-app", "wrong"), "data": {"grant_type": "client_credentials"}}),
        ("thingsboard", {"json": {"username": thingsboard_like.USER, "password": "wrong"}}),
        ("abb", {"json": {"apiKey": "wrong"}}),
    ],
)
def test_a_wrong_secret_gets_no_token(name: str, wrong: dict[str, Any]) -> None:
    with APIS[name][0]() as api:
        response = requests.post(api.url + api.sign_in_paths[0], timeout=5, **wrong)
        assert response.status_code == 401
        assert not api.tokens


@each_api
def test_under_faults_by_chance_a_client_that_tries_again_still_gets_the_truth(name: str) -> None:
    faults = Faults(chance=0.3, seed=3, retry_after_s=0)
    with APIS[name][0](faults=faults) as api:
        assert read(name, api, api.start, api.now, tries=12) == api.truth(api.start, api.now)
        assert any(logged.fault for logged in api.log)


def test_faults_come_as_scripted_and_are_logged() -> None:
    script = ["429 seconds", "429 date", "500", "503", "cut", "short", "401", None]
    with cognite_like.CogniteLike(faults=Faults(script=script, retry_after_s=40)) as api:
        address, header = api.url + cognite_like.PATH + "?limit=100", {"api-key": cognite_like.API_KEY}
        seconds, date = (requests.get(address, headers=header, timeout=5) for _ in range(2))
        assert (seconds.status_code, seconds.headers["Retry-After"]) == (429, "40")
        until = parsedate_to_datetime(date.headers["Retry-After"]) - parsedate_to_datetime(date.headers["Date"])
        assert (date.status_code, until) == (429, timedelta(seconds=40))
        assert [requests.get(address, headers=header, timeout=5).status_code for _ in range(2)] == [500, 503]
        for _ in ("cut", "short"):
            with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
                requests.get(address, headers=header, timeout=5)
        assert [requests.get(address, headers=header, timeout=5).status_code for _ in range(2)] == [401, 200]
        assert [logged.fault for logged in api.log] == script
        assert [logged.status for logged in api.log] == [429, 429, 500, 503, 200, 200, 401, 200]
        assert api.log[-1].query == {"limit": ["100"]}


@pytest.mark.parametrize("kind", ["cut", "short"])
def test_a_broken_body_holds_half_of_what_its_header_promises(kind: str) -> None:
    with cognite_like.CogniteLike(faults=Faults(script=[kind])) as api:
        header = {"api-key": cognite_like.API_KEY}
        got, broken, promised = b"", None, 1
        try:
            with requests.get(
                f"{api.url}{cognite_like.PATH}?limit=1000", headers=header, timeout=5, stream=True
            ) as response:
                promised = int(response.headers["Content-Length"])
                for piece in response.iter_content(1000):
                    got += piece
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            broken = str(error)
        assert broken is not None
        assert len(got) < promised
        assert ("reset" in broken.lower()) is (kind == "cut")


def test_a_fault_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="no such fault: \\['teapot'\\]"):
        Faults(script=["teapot"])


@pytest.mark.parametrize("name", ["insights", "thingsboard", "abb"])
def test_a_token_that_expired_is_refused_until_the_client_signs_in_again(name: str) -> None:
    with APIS[name][0](faults=Faults(script=[None, None, "401"])) as api:
        assert read(name, api, api.start, api.now, tries=2) == api.truth(api.start, api.now)
        assert sum(logged.path in api.sign_in_paths for logged in api.log) == 2
        statuses = [logged.status for logged in api.log]
        assert statuses.count(401) == 1


def test_after_a_401_the_old_token_stays_refused() -> None:
    with abb_like.AbbLike(faults=Faults(script=[None, "401"])) as api:
        caller = Caller(api, abb_sign_in, tries=1)
        address = f"{api.url}/Asset/List?organizationID={abb_like.ORGANIZATION}"
        assert [caller.session.get(address, timeout=5).status_code for _ in range(2)] == [401, 401]
        abb_sign_in(caller)
        assert caller.session.get(address, timeout=5).status_code == 200


@pytest.mark.parametrize(("limit", "more"), [(3, True), (4, False), (5, False)])
def test_stripe_says_more_only_where_there_is_more(limit: int, more: bool) -> None:
    with stripe_like.StripeLike() as api:
        caller = Caller(api, stripe_sign_in, tries=1)
        until = int((api.start + timedelta(minutes=14)).timestamp())
        page = caller.get(stripe_like.PATH, **{"created[lt]": until, "limit": limit}).json()
        assert (len(page["data"]), page["has_more"]) == (min(limit, 4), more)


@pytest.mark.parametrize(
    ("name", "path", "lower", "upper", "column"),
    [
        ("openaq", "/v3/sensors/23534/measurements", "datetime_from", "datetime_to", "ended_at"),
        ("insights", insights_like.PATH, "from", "to", "measured_at"),
    ],
)
def test_from_is_exclusive_and_to_inclusive(name: str, path: str, lower: str, upper: str, column: str) -> None:
    with APIS[name][0]() as api:
        caller = Caller(api, APIS[name][1], tries=1)
        mine = [row for row in api.truth(api.start, api.now) if row.get("sensor_id", 23534) == 23534]
        first, second = sorted({row[column] for row in mine})[:2]
        answer = caller.get(path, **{lower: iso(first, "milliseconds"), upper: iso(second, "milliseconds")}).json()
        rows = answer["results"] if isinstance(answer, dict) else answer
        assert [from_iso(row["_time"] if "_time" in row else row["period"]["datetimeTo"]["utc"]) for row in rows] == [
            second
        ]


def test_github_answers_what_did_not_change_with_304_which_costs_nothing() -> None:
    with github_like.GithubLike() as api:
        address, header = api.url + github_like.PATH, {"Authorization": f"Bearer {github_like.TOKEN}"}
        first = requests.get(address, headers=header, timeout=5)
        same = requests.get(address, headers=header | {"If-None-Match": first.headers["ETag"]}, timeout=5)
        assert (same.status_code, same.content) == (304, b"")
        assert same.headers["X-RateLimit-Remaining"] == first.headers["X-RateLimit-Remaining"] == "4999"
        api.advance()
        changed = requests.get(address, headers=header | {"If-None-Match": first.headers["ETag"]}, timeout=5)
        assert changed.status_code == 200
        assert {issue["state"] for issue in first.json()} == {"open"}  # without state=all


def test_github_names_prev_first_next_and_last() -> None:
    with github_like.GithubLike() as api:
        header = {"Authorization": f"Bearer {github_like.TOKEN}"}
        links = requests.get(f"{api.url}{github_like.PATH}?page=2&state=all", headers=header, timeout=5).links
        assert {rel: link["url"] for rel, link in links.items()} == {
            rel: f"{github_like.CANONICAL}?page={page}&state=all"
            for rel, page in {"prev": 1, "first": 1, "next": 3, "last": 9}.items()
        }


def test_thingsboard_cuts_in_silence_and_rotates_its_refresh_token() -> None:
    with thingsboard_like.ThingsboardLike() as api:
        given = {"username": thingsboard_like.USER, "password": thingsboard_like.PASSWORD}
        signed = requests.post(api.url + thingsboard_like.LOGIN, json=given, timeout=5).json()
        old = {"refreshToken": signed["refreshToken"]}
        again = requests.post(api.url + thingsboard_like.REFRESH, json=old, timeout=5)
        assert again.status_code == 200
        assert requests.post(api.url + thingsboard_like.REFRESH, json=old, timeout=5).status_code == 401
        path = f"/api/plugins/telemetry/DEVICE/{thingsboard_like.device_id(1)}/values/timeseries"
        window = {"startTs": epoch_ms(api.start), "endTs": epoch_ms(api.now)}
        header = {"X-Authorization": f"Bearer {again.json()['token']}"}
        got = requests.get(api.url + path, params=window, headers=header, timeout=5).json()
        assert {key: len(values) for key, values in got.items()} == {
            "temperature": 100,
            "humidity": 100,
            "vibration": 100,
        }
        assert got["vibration"][0]["ts"] > got["vibration"][-1]["ts"]  # newest first unless asked otherwise
        assert isinstance(got["vibration"][0]["value"], str)


def test_thingsboard_gives_all_keys_at_once_to_who_asks_on_from_the_full_ones() -> None:
    with thingsboard_like.ThingsboardLike() as api:
        caller = Caller(api, thingsboard_sign_in, tries=1)
        device, place, seen = thingsboard_like.device_id(2), epoch_ms(api.start), set()
        path, full = f"/api/plugins/telemetry/DEVICE/{device}/values/timeseries", True
        while full:
            got = caller.get(path, startTs=place, endTs=epoch_ms(api.now), orderBy="ASC").json()
            seen |= {(key, value["ts"], value["value"]) for key, values in got.items() for value in values}
            last = [values[-1]["ts"] for values in got.values() if len(values) == 100]
            place, full = min(last, default=0), bool(last)
        truth = [row for row in api.truth(api.start, api.now) if row["device_id"] == device]
        assert seen == {(row["key"], epoch_ms(row["measured_at"]), str(row["value"])) for row in truth}


def test_a_vanished_asset_of_abb_leaves_the_list_and_keeps_its_rows() -> None:
    with abb_like.AbbLike(vanishes=True) as api:
        caller = Caller(api, abb_sign_in, tries=1)
        listed = []
        for _ in range(2):
            answer = caller.get("/Asset/List", organizationID=abb_like.ORGANIZATION).json()
            listed.append([asset["assetID"] for asset in answer])
            api.advance()
        assert listed == [[70_001, 70_002], [70_001, 70_003]]
        window = {"from": iso(api.start), "to": iso(api.now)}
        kinds = caller.get("/Measurement/Value", assetID=70_002, measurementTypes="1", **window).json()
        truth = [row["value"] for row in api.truth(api.start, api.now) if row["asset_id"] == 70_002]
        assert [row["measurementValue"] for row in kinds[0]["measurements"]] == truth[: 2 * 24 * 4]


def test_pi_says_by_a_state_that_there_was_no_value() -> None:
    with pi_like.PiLike(bad_states=True) as api:
        truth = api.truth(api.start, api.now)
        assert read("pi", api, api.start, api.now) == truth
        assert {row["good"] for row in truth if row["value"] is None} == {False}


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("stripe", {"limit": 101}, "limit must lie between 1 and 100"),
        ("stripe", {"starting_after": "ch_none"}, "ch_none"),
        ("openaq", {"limit": 1001}, "limit must lie between 1 and 1000"),
        ("insights", {"limit": 2001, "from": "2026-03-01T00:00:00Z"}, "limit must lie between 1 and 2000"),
        ("insights", {"limit": 20}, "the parameter from is required"),
        ("cognite", {"limit": 0}, "limit must lie between 1 and"),
    ],
)
def test_what_goes_beyond_the_documented_limits_is_refused(name: str, params: dict[str, Any], says: str) -> None:
    paths = {
        "stripe": stripe_like.PATH,
        "openaq": "/v3/sensors/23534/measurements",
        "insights": insights_like.PATH,
        "cognite": cognite_like.PATH,
    }
    with APIS[name][0]() as api:
        caller = Caller(api, APIS[name][1], tries=1)
        response = caller.session.get(api.url + paths[name], params=params, timeout=5)
        assert response.status_code == 400
        assert says in response.text


def test_cognite_cuts_a_limit_that_is_too_high_in_silence() -> None:
    with cognite_like.CogniteLike(days=4) as api:
        page = Caller(api, cognite_sign_in, tries=1).get(cognite_like.PATH, limit=5000).json()
        assert (len(page["items"]), page["limit"], page["total"]) == (1000, 1000, len(api.truth(api.start, api.now)))


def test_the_clock_stands_still_unless_one_is_given() -> None:
    with (
        cognite_like.CogniteLike() as still,
        cognite_like.CogniteLike(clock=lambda: datetime(2030, 1, 1, tzinfo=UTC)) as given,
    ):
        dates = [parsedate_to_datetime(requests.get(api.url, timeout=5).headers["Date"]) for api in (still, given)]
        assert dates == [still.now, datetime(2030, 1, 1, tzinfo=UTC)]
