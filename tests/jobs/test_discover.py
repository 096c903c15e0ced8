"""Drafts of declarations: what a look at an endpoint infers, and what it says that it could not tell."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from smartsensor.config import ApiSettings, ConfigError, Secret
from smartsensor.jobs.discover import discover
from smartsensor.simulator.server import Running, serve
from smartsensor.source.errors import BadRequest
from smartsensor.source.http import Client, Query, Reply
from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import RESOURCES


@pytest.fixture(scope="module")
def api() -> Iterator[Running]:
    with serve() as running:
        yield running


def client_of(api: Running, kind: type[Client] = Client) -> Client:
    return kind(ApiSettings(api.base_url, api.token_url, api.client_id, Secret(api.client_secret), rate_per_s=0))


def evaluated(text: str) -> Resource:
    space: dict[str, Any] = {}
    exec(text, space)
    (resource,) = [value for value in space.values() if isinstance(value, Resource)]
    return resource


class Fixed(Client):
    """A client of an API that answers each request of a path with the same body."""

    body: Any = None

    def ask(self, query: Query) -> Reply:
        if query.path.endswith("/count"):
            raise BadRequest("404")
        return Reply(200, {}, json.dumps(self.body).encode(), 0.0, 1, None)


def look(api: Running, body: Any, path: str = "/gateways") -> str:
    client = client_of(api, Fixed)
    client.body = body  # type: ignore[attr-defined]
    return discover(client, path)


@pytest.mark.parametrize("name", list(RESOURCES))
def test_the_draft_is_what_was_declared(api: Running, name: str) -> None:
    declared, text = RESOURCES[name], discover(client_of(api), name, draft=True)
    draft = evaluated(text)
    assert (draft.name, draft.path, draft.key) == (name, declared.path, declared.key)
    assert (draft.mode, draft.incremental_field) == (declared.mode, declared.incremental_field)
    assert draft.event_field == declared.event_field
    assert draft.count
    guessed = set(re.findall(r"column (\w+): .*null in all", text))
    messages = [one for one in draft.schema if one.name not in guessed]
    assert messages
    assert [one.type for one in messages] == [declared.schema.field(one.name).type for one in messages]
    assert {one.name for one in draft.schema if one.nullable} <= {one.name for one in declared.schema if one.nullable}


def test_names_urls_and_strangers(api: Running) -> None:
    client = client_of(api)
    assert discover(client, "plants") == discover(client, "/plants") == discover(client, f"{api.base_url}/plants")
    with pytest.raises(ConfigError, match="is not below"):
        discover(client, "https://example.org/v1/plants")


def test_a_bare_list_is_drafted_and_said(api: Running) -> None:
    rows = [
        {"id": n, "on": n > 1, "share": n / 2, "tags": [n], "note": None, "class": "a", "was": "2026-11-01T00:00:00Z"}
        for n in range(3)
    ]
    rows[0].pop("share")
    text = look(api, rows)
    draft = evaluated(text)
    assert draft.key == ("id",)
    kinds = {one.name: (str(one.type), one.nullable) for one in draft.schema}
    assert kinds == {
        "id": ("int64", False), "on": ("bool", False), "note": ("string", True), "class": ("string", False),
        "was": ("timestamp[us, tz=UTC]", False), "share": ("double", True),
    }  # fmt: skip
    for output in (
        "rows: the reply[]",
        "null or absent in 1 of 3 rows",
        "null in all 3 rows",
        "tags is left out",
        "open   time filter",
    ):
        assert output in text


def test_nothing_to_infer_from_is_said(api: Running) -> None:
    for body in ([], {"data": []}, {"error": "x"}):
        assert "nothing to infer from" in look(api, body)
    assert "nothing to compare" in look(
        api, {"data": [], "pagination": {"next_cursor": None, "has_more": False}}, "/plants"
    )


def test_an_api_that_ignores_the_filter_is_not_incremental(api: Running) -> None:
    rows = [{"id": str(n), "updated_at": f"2026-11-01T00:00:{n:02}Z"} for n in range(9)]
    text = look(api, {"items": rows})
    draft = evaluated(text)
    assert (draft.mode, draft.rows, draft.count) == ("snapshot", "items", None)
    assert "none of the usual parameters filters" in text


def test_no_key_is_said(api: Running) -> None:
    text = look(api, {"data": [{"city": "Delft"}, {"city": "Delft"}]})
    assert "no key was found" in text
    assert evaluated(text).key == ("city",)
