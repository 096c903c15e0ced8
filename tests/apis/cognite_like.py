"""Events in the shape of Cognite Data Fusion: `items`, instants as epoch milliseconds, offset and total.

https://docs.cognite.com/20230101/events/list-events (GET /events; limit: 100 by default, and at most 1,000 come even
if more are asked for; items with id, startTime, endTime, type, metadata of texts, createdTime, lastUpdatedTime in ms
since the epoch; ids beyond 32 bits) and https://docs.rs/cognite-sdk/0.6.1/cognite/events/struct.EventQuery.html (min
and max of the start time), which is inclusive at both ends here. Today's end points page by nextCursor and sign in by
OpenID; offset and total, which many other industrial APIs have, and the header api-key stand in their place here.
"""

from datetime import datetime, timedelta
from typing import Any

from server import LATE, FakeApi, Reply, Request, Row, epoch_ms, instants

API_KEY = "cognite-fake-key"
PATH = "/api/v1/projects/fleet/events"


class CogniteLike(FakeApi):
    key = ("event_id",)
    instant = "started_at"

    def make(self, start: datetime, end: datetime) -> list[Row]:
        rows = []
        for number, started in enumerate(instants(start, end, timedelta(minutes=5, seconds=20))):
            started += timedelta(milliseconds=number % 1000)
            chance = self.chance("event", started)
            open_ended = chance.random() < 0.2
            ended = started + timedelta(milliseconds=chance.randrange(3_000_000))
            rows.append(
                {
                    "event_id": 4_503_599_000_000_000 + (started - self.start) // timedelta(milliseconds=1),
                    "external_id": f"alarm/{started:%Y%m%d}/{number}",
                    "type": chance.choice(["alarm", "stop", "maintenance"]),
                    "severity": chance.randrange(1, 5),
                    "started_at": started,
                    "ended_at": None if open_ended else ended,
                    "created_at": started + timedelta(seconds=2),
                    "updated_at": started + timedelta(seconds=2),
                }
            )
        return rows

    def revise(self, edge: datetime) -> None:
        """Events that were open end: startTime stays, lastUpdatedTime says it."""
        for row in self.rows:
            if edge - LATE <= row["started_at"] < edge and row["ended_at"] is None:
                row |= {"ended_at": edge + timedelta(minutes=3), "updated_at": edge + timedelta(minutes=4)}

    def signed_in(self, request: Request) -> bool:
        return API_KEY in (request.headers.get("api-key"), request.bearer())

    def answer(self, request: Request) -> Reply:
        if request.path != PATH:
            raise LookupError(request.path)
        least, most = int(request.one("minStartTime", "0")), int(request.one("maxStartTime", str(10**14)))
        rows = [row for row in self.rows if least <= epoch_ms(row["started_at"]) <= most]
        rows.sort(key=lambda row: (row["started_at"], row["event_id"]))
        limit, offset = min(request.number("limit", 100, 1, 10**9), 1000), request.number("offset", 0, 0, 10**9)
        items = [sent(row) for row in rows[offset : offset + limit]]
        return Reply({"items": items, "total": len(rows), "offset": offset, "limit": limit})

    def error(self, status: int, message: str) -> Any:
        return {"error": {"code": status, "message": message}}


def sent(row: Row) -> dict[str, Any]:
    """An event that has not ended has no endTime at all."""
    names = {
        "startTime": "started_at",
        "endTime": "ended_at",
        "createdTime": "created_at",
        "lastUpdatedTime": "updated_at",
    }
    times = {name: epoch_ms(row[column]) for name, column in names.items() if row[column]}
    metadata = {"severity": str(row["severity"])}
    return {"id": row["event_id"], "externalId": row["external_id"], "type": row["type"], "metadata": metadata, **times}


# What a declaration names
# sign-in     API key in the header api-key, or a static bearer
# collection  GET /api/v1/projects/fleet/events
# paging      OffsetPaging: offset from 0 and limit (100 by default; the server cuts it to 1000 in silence); ends by
#             total
# filter      minStartTime, maxStartTime: epoch ms, both inclusive: a window [start, end) asks up to end - 1 ms
# shape       rows in items; event_id < id, external_id < externalId, severity < metadata.severity (text to integer),
#             started_at < startTime, ended_at < endTime (absent: null), created_at < createdTime, updated_at <
#             lastUpdatedTime (epoch ms)
# key         event_id; incremental: started_at; revision: updated_at; rows come late
# count       CountField: total of the envelope; asked up to `end` itself it counts a row that lies on the end, too:
#             the first row of a day that advance() adds lies on the edge to the millisecond
