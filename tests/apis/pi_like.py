"""Recorded values of several streams as PI Web API serves them: `Items` within `Items`, Basic, a next link in the body.

https://docs.aveva.com/bundle/pi-web-api-reference/page/help/controllers/streamset/actions/getrecorded.html
(startTime, endTime, maxCount: values of each stream, 1,000 by default; boundaryType Inside: both ends belong to the
range; the sample response). The sample has `"Links": {}`; `Links.Next` is that of the reference's paged collections,
here with startIndex as the place in each stream. Timestamps have seven decimals, as .NET writes them. With
`bad_states` some values are the digital states by which PI says that there was none: {"Name": "Bad Input", "Value":
255, "IsSystem": true} with Good: false.
"""

from datetime import datetime, timedelta
from typing import Any

from server import LATE, FakeApi, Reply, Request, Row, from_iso, instants, iso

USER, PASSWORD = "piwebapi", "fake-password"
ELEMENT = "F1EmFAKEpump07"
PATH = f"/piwebapi/streamsets/{ELEMENT}/recorded"
STREAMS = {"Water": ("m", 9), "Vibration": ("mm/s", 3), "Temperature": ("°C", 5)}  # name: unit, minutes between values


class PiLike(FakeApi):
    key = ("web_id", "measured_at")
    instant = "measured_at"

    def __init__(self, *args: Any, bad_states: bool = False, **named: Any) -> None:
        self.bad_states = bad_states
        super().__init__(*args, **named)

    def make(self, start: datetime, end: datetime) -> list[Row]:
        rows = []
        for name, (units, minutes) in STREAMS.items():
            for measured in instants(start, end, timedelta(minutes=minutes)):
                chance = self.chance(name, measured)
                good = chance.random() > 0.05
                absent = self.bad_states and not good
                rows.append(
                    {
                        "web_id": f"F1AbEFAKE{name}",
                        "name": name,
                        "path": f"\\\\Server\\Plant\\Pump07|{name}",
                        "measured_at": measured,
                        "value": None if absent else round(chance.uniform(0, 100), 4),
                        "units": units,
                        "good": good,
                    }
                )
        return rows

    def revise(self, edge: datetime) -> None:
        """Values are overwritten in place, with no trace of when."""
        for row in [row for row in self.rows if edge - LATE <= row["measured_at"] < edge and row["good"]][::7]:
            row["value"] = round(row["value"] + 1.5, 4)

    def signed_in(self, request: Request) -> bool:
        return request.basic() == (USER, PASSWORD)

    def answer(self, request: Request) -> Reply:
        if request.path != PATH:
            raise LookupError(request.path)
        start = from_iso(request.one("startTime", iso(self.now - timedelta(days=1))))
        end = from_iso(request.one("endTime", iso(self.now)))
        most, first = request.number("maxCount", 1000, 1, 150_000), request.number("startIndex", 0, 0, 10**9)
        items, more = [], False
        for name in STREAMS:
            rows = [row for row in self.rows if row["name"] == name and start <= row["measured_at"] <= end]
            rows.sort(key=lambda row: row["measured_at"])
            shown, more = rows[first : first + most], more or first + most < len(rows)
            about = {"WebId": f"F1AbEFAKE{name}", "Name": name, "Path": f"\\\\Server\\Plant\\Pump07|{name}"}
            items.append(
                {**about, "Items": [sent(row) for row in shown], "UnitsAbbreviation": STREAMS[name][0], "Links": {}}
            )
        links = {"Next": self.url + request.again(startIndex=first + most)} if more else {}
        return Reply({"Links": links, "Items": items})

    def error(self, status: int, message: str) -> Any:
        return {"Errors": [message]}


def sent(row: Row) -> dict[str, Any]:
    state = {"Name": "Bad Input", "Value": 255, "IsSystem": True}
    flags = {"Good": row["good"], "Questionable": False, "Substituted": False, "Annotated": False}
    value = state if row["value"] is None else row["value"]
    timestamp = iso(row["measured_at"], "microseconds").replace("Z", "0Z")
    return {"Timestamp": timestamp, "UnitsAbbreviation": row["units"], **flags, "Value": value}


# What a declaration names
# sign-in     Basic
# collection  GET /piwebapi/streamsets/F1EmFAKEpump07/recorded
# paging      NextUrlPaging: the address in the body at Links.Next (absolute, same host), absent at the end; maxCount
#             (for each stream, so a stream's Items may be empty while another goes on)
# filter      startTime, endTime: ISO 8601 with zone, both inclusive: the row at endTime comes too and is cut
# shape       rows in Items[].Items[]; web_id < parent WebId, name < parent Name, path < parent Path, measured_at <
#             Timestamp (seven decimals), value < Value (a number, or with bad_states a state that stands for null),
#             units < UnitsAbbreviation, good < Good
# key         web_id, measured_at; event time only: rows come late and are overwritten in place; no revision, no count
