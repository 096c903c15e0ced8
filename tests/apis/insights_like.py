"""Wide time-series rows as Insights Hub (formerly MindSphere) serves them; the next link begins at the last timestamp.

https://developer.siemens.com/insights-hub/docs/apis/iot-iottimeseries/api-iottimeseries-overview.html (a record:
timestamp, values, quality; the same timestamp written again replaces the record; milliseconds),
https://developer.siemens.com/insights-hub/docs/apis/iot-iottimeseries/api-iottimeseries-samples.html (paths,
`_time`). `from` is exclusive and `to` inclusive, as Siemens' SDKs describe them. At most 2,000 records an answer;
more are behind Link, rel="next". The token: OAuth 2 client credentials (RFC 6749, 4.4) with Basic; the path is of
this server's own choice.
"""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from server import LATE, FakeApi, Reply, Request, Row, from_iso, instants, iso

CLIENT_ID, CLIENT_SECRET = "fleet-app", "fake-secret"
TOKEN_PATH = "/oauth/token"
PATH = "/api/iottimeseries/v3/timeseries/8f5ea1b0c1d24b0f/motor"
VARIABLES = ("temperature", "pressure")
LIFETIME_S = 1800


class InsightsLike(FakeApi):
    key = ("measured_at", "variable")
    instant = "measured_at"
    gives_tokens = True
    sign_in_paths = (TOKEN_PATH,)

    def __init__(self, *args: Any, most: int = 2000, **named: Any) -> None:
        self.most = most
        super().__init__(*args, **named)

    def make(self, start: datetime, end: datetime) -> list[Row]:
        """Long rows, one for each variable; pressure is absent from some records."""
        rows = []
        for measured in instants(start, end, timedelta(minutes=4)):
            measured += timedelta(milliseconds=1 + self.chance(measured).randrange(900))
            for variable in VARIABLES:
                chance = self.chance(variable, measured)
                if variable == "pressure" and chance.random() < 0.1:
                    continue
                value, quality = round(chance.uniform(1, 90), 3), chance.choice([0, 0, 0, 0x40, 0x80])
                rows.append({"measured_at": measured, "variable": variable, "value": value, "quality": quality})
        return rows

    def revise(self, edge: datetime) -> None:
        """Records are replaced in place, with no trace of when."""
        for row in [row for row in self.rows if edge - LATE <= row["measured_at"] < edge][::9]:
            row |= {"value": round(row["value"] + 0.25, 3), "quality": 0x80}

    def signed_in(self, request: Request) -> bool:
        return request.bearer() in self.tokens

    def answer(self, request: Request) -> Reply:
        if request.path == TOKEN_PATH and request.method == "POST":
            grant = parse_qs(request.body.decode()).get("grant_type")
            if request.basic() != (CLIENT_ID, CLIENT_SECRET) or grant != ["client_credentials"]:
                return Reply({"error": "invalid_client"}, 401)
            return Reply({"access_token": self.give_token(), "token_type": "bearer", "expires_in": LIFETIME_S})
        if request.path != PATH:
            raise LookupError(request.path)
        start, end = from_iso(request.one("from")), from_iso(request.one("to", iso(self.now)))
        limit = request.number("limit", self.most, 1, self.most)
        wide: dict[datetime, dict[str, Any]] = {}
        for row in sorted(self.rows, key=lambda row: row["measured_at"]):
            if start < row["measured_at"] <= end:
                record = wide.setdefault(row["measured_at"], {"_time": iso(row["measured_at"], "milliseconds")})
                record |= {row["variable"]: row["value"], f"{row['variable']}_qc": row["quality"]}
        shown = list(wide.values())[:limit]
        following = self.url + request.again(**{"from": shown[-1]["_time"]}) if len(wide) > limit else None
        return Reply(shown, headers={"Link": f'<{following}>; rel="next"'} if following else {})

    def error(self, status: int, message: str) -> Any:
        return {"errors": [{"code": f"mdsp.core.{status}", "message": message}]}


# What a declaration names
# sign-in     OAuth 2 client credentials, Basic, POST /oauth/token
# collection  GET /api/iottimeseries/v3/timeseries/8f5ea1b0c1d24b0f/motor
# paging      LinkPaging: Link header, rel="next" (absolute; its `from` is the last row's _time); ends where there is
#             none; limit up to `most` (2000), more is refused
# filter      from (required, exclusive), to (inclusive): ISO 8601, ms; so a window [start, end) asks from start - 1
#             ms to end - 1 ms
# shape       a bare list of wide records; measured_at < _time; long (Unpivot): one row for each of temperature,
#             pressure with value < NAME, quality < NAME_qc, variable = NAME; an absent variable gives no row
# key         measured_at, variable; event time only: rows come late and are replaced in place; no revision, no count
