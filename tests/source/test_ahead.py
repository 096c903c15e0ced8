"""A listing that asks for its next page while it decodes one gives the same pages, and knows when its guess was wrong."""

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartsensor.source.errors import ContractError, ServerFault
from smartsensor.source.http import Query, Reply
from smartsensor.source.paging import CursorPaging
from smartsensor.source.resources import INSTANT, TEXT, Resource, columns
from smartsensor.windows import Window, instant

HOUR = Window(instant("2026-11-20T10:00:00Z"), instant("2026-11-20T11:00:00Z"))
THINGS = Resource(
    "things", "/things", ("id",), columns(id=TEXT, at=INSTANT), "incremental", incremental_field="at", version=()
)


class Server:
    """Pages by their cursors; counts what is asked for, and in which thread."""

    def __init__(self, bodies: dict[str | None, bytes]) -> None:
        self.bodies, self.asked, self.threads = bodies, list[str | None](), set[str]()

    def ask(self, query: Query) -> Reply:
        cursor = query.params.get("cursor")
        self.asked.append(None if cursor is None else str(cursor))
        self.threads.add(threading.current_thread().name)
        body = self.bodies.get(self.asked[-1])
        if body is None:
            raise ServerFault("GET /things: 500", 500)
        return Reply(200, {}, body, 0.1, 1, None)


def body(number: int, cursor: Any, **more: Any) -> bytes:
    rows = [{"id": f"{number}-{at}", "at": "2026-11-20T10:00:00Z"} for at in range(3)]
    return json.dumps({"data": rows, "pagination": {"next_cursor": cursor, "has_more": cursor is not None}, **more}).encode()  # fmt: skip


def listed(server: Server, ahead: bool) -> list[str]:
    return [name for page in THINGS.walk(server.ask, HOUR, 3, None, ahead) for name in page.batch["id"].to_pylist()]


def straight(pages: int) -> dict[str | None, bytes]:
    cursors = [None, *(f"c{number}" for number in range(1, pages))]
    return {at: body(n, cursors[n + 1] if n + 1 < pages else None) for n, at in enumerate(cursors)}


@pytest.mark.parametrize("pages", [1, 2, 3, 7])
def test_the_same_pages_come_by_the_same_requests(pages: int) -> None:
    plain, ahead = Server(straight(pages)), Server(straight(pages))
    assert listed(plain, False) == listed(ahead, True)
    assert plain.asked == ahead.asked
    assert ("ahead" in ahead.threads) == (pages > 2), "who stops after a page or two wastes no request"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace(b'"data"', b'"note": "\\"next_cursor\\": \\"c9\\"", "data"'),
        lambda text: text.replace(b'"data"', b'"old": {"next_cursor": "c9"}, "data"'),
        lambda text: text.replace(b'"c2"', b'"c\\u0032"'),
    ],
    ids=["in a text", "in another object", "escaped"],
)
def test_another_cursor_in_the_body_misleads_nobody(spoil: Callable[[bytes], bytes]) -> None:
    pages = {cursor: spoil(text) for cursor, text in straight(5).items()}
    assert listed(Server(pages | {"c9": body(9, None)}), True) == listed(Server(straight(5)), False)


def test_a_wrong_guess_that_fails_is_no_failure() -> None:
    "The only cursor in sight is not the listing's: its own stands far from both ends."
    pages = straight(4)
    far = json.dumps({"filler": "x" * 3000}).encode()[1:-1]
    for cursor, text in pages.items():
        page = json.loads(text)
        pages[cursor] = b'{"hint":{"next_cursor":"nowhere"},%b,"pagination":%b,%b,"data":%b}' % (
            far, json.dumps(page["pagination"]).encode(), far.replace(b"filler", b"more"), json.dumps(page["data"]).encode(),
        )  # fmt: skip
    server = Server(pages)
    assert listed(server, True) == listed(Server(straight(4)), False)
    assert "nowhere" in server.asked


def test_an_error_of_the_page_ahead_comes_when_its_turn_comes() -> None:
    pages = straight(5)
    del pages["c3"]
    walked = THINGS.walk(Server(pages).ask, HOUR, 3, None, True)
    found = [name for _ in range(3) for name in next(walked).batch["id"].to_pylist()]
    with pytest.raises(ServerFault):
        next(walked)
    assert found == listed(Server(straight(3)), False)


def test_a_circle_is_noticed_as_without() -> None:
    pages = straight(4)
    pages["c3"] = body(3, "c2")
    with pytest.raises(ContractError, match="goes in a circle"):
        listed(Server(pages), True)


def test_who_stops_early_leaves_no_thread() -> None:
    server = Server(straight(50))
    pages = THINGS.walk(server.ask, HOUR, 3, None, True)
    for _ in range(4):
        next(pages)
    threads = [one for one in threading.enumerate() if one.name == "ahead"]
    pages.close()
    for one in threads:
        one.join(5)
        assert not one.is_alive()
    assert len(server.asked) <= 5


@given(st.binary(max_size=80), st.text(max_size=10))
def test_a_guess_is_a_text_or_none_whatever_comes(junk: bytes, cursor: str) -> None:
    for text in (junk, b'"next_cursor":"' + junk, junk + b'"next_cursor": %b' % json.dumps(cursor).encode()):
        assert isinstance(CursorPaging().peek(text), str | None)
