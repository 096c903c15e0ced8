"""What other projects' own tests say of paginators and of Retry-After, against ours. Facts of theirs; no code.

dlt       github.com/dlt-hub/dlt, tests/sources/helpers/rest_client/test_paginators.py, commit 08f8236
urllib3   github.com/urllib3/urllib3, test/test_retry.py, commit 00b2d87 (its clock stands at Mon, 3 Jun 2019 11:00:00 UTC)

Where ours differs on purpose, the case says so.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pytest

from smartsensor.source.decode import decode
from smartsensor.source.errors import ContractError
from smartsensor.source.http import Reply, retry_after_s
from smartsensor.source.listing import walk
from smartsensor.source.paging import (
    CursorPaging,
    HeaderCursorPaging,
    KeysetPaging,
    LinkPaging,
    NextUrlPaging,
    OffsetPaging,
    PageNumberPaging,
    PageRequest,
    Paging,
)
from smartsensor.windows import Window, instant

DAY = Window(instant("2026-11-20T00:00:00Z"), instant("2026-11-21T00:00:00Z"))
SCHEMA = pa.schema([("id", pa.string())])
NEXT = "http://example.com/next"


def second_request(
    paging: Paging,
    beside: Mapping[str, Any],
    headers: Mapping[str, str],
    asked: str = "http://example.com/api",
    rows: int = 10,
) -> PageRequest | None:
    """What is asked for after a first page of `rows` rows, with this beside them; None where the listing ends."""
    seen: list[PageRequest] = []

    def ask(request: PageRequest) -> Reply:
        seen.append(request)
        if len(seen) == 2:
            raise StopAsyncIteration
        body = {"data": [{"id": f"r-{number}"} for number in range(rows)], **beside}
        return Reply(200, headers, json.dumps(body).encode(), 0.0, 1, None, asked)

    try:
        list(walk(ask, partial(decode, schema=SCHEMA, paths=paging.paths), paging, DAY, 10))
    except StopAsyncIteration:
        return seen[1]
    return None


# What dlt's tests send                                              and what is asked for next: an address, parameters, or nothing
NEXT_PAGES: list[tuple[str, Paging, dict[str, Any], dict[str, str], Any]] = [
    ("HeaderLink: next", LinkPaging(), {}, {"Link": f'<{NEXT}>; rel="next"'}, NEXT),
    ("HeaderLink: none", LinkPaging(), {}, {}, None),
    ("JSONLink: next", NextUrlPaging(), {"next": NEXT}, {}, NEXT),
    ("JSONLink: explicit path", NextUrlPaging("next_page"), {"next_page": NEXT}, {}, NEXT),
    ("JSONLink: nested path", NextUrlPaging("next_page.url"), {"next_page": {"url": NEXT}}, {}, NEXT),
    ("JSONLink: absent, declared", NextUrlPaging(ends_on=("absent",)), {}, {}, None),
    ("JSONLink: a name with a dot", NextUrlPaging('"@odata.nextLink"'), {"@odata.nextLink": NEXT}, {}, NEXT),
    ("SinglePage: a next link is not followed", Paging(), {"next": NEXT}, {"Link": f'<{NEXT}>; rel="next"'}, None),
    ("Offset: total", OffsetPaging(total="total"), {"total": 20}, {}, {"offset": 10, "limit": 10}),
    ("Offset: total reached", OffsetPaging(total="total"), {"total": 10}, {}, None),
    ("Offset: total as text", OffsetPaging(total="total"), {"total": "10"}, {}, None),
    ("Offset: null total goes on", OffsetPaging(total="total"), {"total": None}, {}, {"offset": 10, "limit": 10}),
    ("Offset: no total goes on", OffsetPaging(), {}, {}, {"offset": 10, "limit": 10}),
    ("Offset: has_more false", OffsetPaging(has_more="has_more"), {"has_more": False}, {}, None),
    ("Offset: has_more as text", OffsetPaging(has_more="has_more"), {"has_more": "true"}, {}, {"offset": 10, "limit": 10}),
    ("Range: has_more does not override total", OffsetPaging(total="total", has_more="more"), {"total": 10, "more": True}, {}, None),
    ("PageNumber: pages", PageNumberPaging(pages="total_pages"), {"total_pages": 3}, {}, {"page": 2, "limit": 10}),
    ("PageNumber: pages as text", PageNumberPaging(pages="total"), {"total": "3"}, {}, {"page": 2, "limit": 10}),
    ("PageNumber: last page", PageNumberPaging(pages="total_pages"), {"total_pages": 1}, {}, None),
    ("PageNumber: has_more false", PageNumberPaging(has_more="has_more"), {"has_more": False}, {}, None),
    ("PageNumber: has_more as text", PageNumberPaging(has_more="has_more"), {"has_more": "false"}, {}, None),
    ("Cursor", CursorPaging("next", None), {"next": "abc"}, {}, {"cursor": "abc", "limit": 10}),
    ("Cursor: null", CursorPaging("next", None), {"next": None}, {}, None),
    ("Cursor: has_more false", CursorPaging("next", "more"), {"next": "abc", "more": False}, {}, None),
    ("HeaderCursor: none", HeaderCursorPaging(), {}, {}, None),
    ("HeaderCursor", HeaderCursorPaging(token_param="t", token_header=None), {}, {"X-Next-Token": "x"}, {"t": "x", "limit": 10}),
    ("ours: keyset", KeysetPaging(has_more="has_more"), {"has_more": "true"}, {}, {"starting_after": "r-9", "limit": 10}),
]  # fmt: skip


@pytest.mark.parametrize(("paging", "beside", "headers", "expected"), [case[1:] for case in NEXT_PAGES], ids=[case[0] for case in NEXT_PAGES])  # fmt: skip
def test_the_next_page(paging: Paging, beside: dict[str, Any], headers: dict[str, str], expected: Any) -> None:
    following = second_request(paging, beside, headers)
    assert (following and (following.url or dict(following.params))) == expected


# dlt: JSONLinkPaginator.update_request; the query of the address that was asked never comes twice
ADDRESSES = [
    ("http://example.com/api/resource", "http://example.com/api/resource?page=2", "http://example.com/api/resource?page=2"),
    ("http://example.com/api/resource", "/api/resource?page=2", "http://example.com/api/resource?page=2"),
    ("http://example.com/api/page/3/items", "/api/page/4/items?filter=active", "http://example.com/api/page/4/items?filter=active"),
    ("http://example.com:8080/api/resource", "/api/resource?page=2", "http://example.com:8080/api/resource?page=2"),
    ("http://example.com/api/resource", "/api/resource?page=2&query=%E3%81%82", "http://example.com/api/resource?page=2&query=%E3%81%82"),
    ("http://example.com/api/resource", "/api/resource?sort=asc", "http://example.com/api/resource?sort=asc"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "sent", "expected"), ADDRESSES)
def test_the_next_address(asked: str, sent: str, expected: str) -> None:
    following = second_request(NextUrlPaging(), {"next": sent}, {}, asked)
    assert following
    assert (following.url, following.params) == (expected, {})


@pytest.mark.parametrize(
    ("paging", "beside"),
    [
        (OffsetPaging(has_more="has_more"), {"has_more": "invalid"}),
        (OffsetPaging(has_more="has_more"), {}),
        (OffsetPaging(total="total"), {}),
        (PageNumberPaging(has_more="has_more"), {"has_more": "invalid"}),
        (PageNumberPaging(pages="total_pages"), {}),
        (NextUrlPaging(), {}),  # dlt ends here; ours wants ends_on=("absent",) for that, else rows could be missed
    ],
)
def test_what_says_where_a_listing_ends_and_does_not_say_it_is_an_error(paging: Paging, beside: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        second_request(paging, beside, {})


@pytest.mark.parametrize("total", ["invalid", {"count": 5}, [100]])
def test_a_total_that_is_none_does_not_end_a_listing(total: object) -> None:
    """dlt raises; ours goes on to the first empty page: OpenAQ's `found` is ">100"."""
    assert second_request(OffsetPaging(total="total"), {"total": total}, {}) is not None
    assert second_request(OffsetPaging(total="total"), {"total": total}, {}, rows=0) is None


@pytest.mark.parametrize("paging", [OffsetPaging(), PageNumberPaging(), OffsetPaging(has_more="has_more")])
def test_an_empty_page_ends_a_listing_by_places(paging: Paging) -> None:
    assert second_request(paging, {"has_more": True}, {}, rows=0) is None


@pytest.mark.parametrize(
    "paging",
    [OffsetPaging(), PageNumberPaging(), OffsetPaging(total="total"), KeysetPaging(has_more="more"), CursorPaging("next", None), NextUrlPaging()],
)  # fmt: skip
def test_an_api_that_sends_the_same_page_for_ever_is_an_error_in_each_style(paging: Paging) -> None:
    """dlt refuses a paginator without an end; ours always has one, and finds the circle."""
    body = {"data": [{"id": "r-1"}], "total": 999, "more": True, "next": "/again"}

    def ask(request: PageRequest) -> Reply:
        return Reply(200, {}, json.dumps(body).encode(), 0.0, 1, None, "http://example.com/api")

    with pytest.raises(ContractError, match=r"page [23] has the"):
        list(walk(ask, partial(decode, schema=SCHEMA, paths=paging.paths), paging, DAY, 1))


ELEVEN = datetime(2019, 6, 3, 11, tzinfo=UTC)
WAITS = [  # urllib3: test_parse_retry_after, test_respect_retry_after_header_sleep
    ("0", 0),
    ("1000", 1000),
    ("\t42 ", 42),
    ("3600", 3600),
    ("Mon, 3 Jun 2019 12:00:00 UTC", 3600),
    ("Mon, 3 Jun 2019 11:00:00 UTC", 0),
    ("Mon, 03 Jun 2019 11:30:12 GMT", 1812),
    ("Monday, 03-Jun-19 11:30:12 GMT", 1812),
    ("Mon Jun  3 11:30:12 2019", 1812),
    # urllib3 raises InvalidHeader for these; ours waits by its own backoff, since the request may well be repeated
    ("-1", 0),
    ("+1", 0),
    ("\xb2", 0),
    ("1.0", 1),  # urllib3 refuses it, and some servers send it
]


@pytest.mark.parametrize(("header", "seconds"), WAITS)
def test_retry_after(header: str, seconds: float) -> None:
    assert retry_after_s({"Retry-After": header}, ELEVEN) == seconds
