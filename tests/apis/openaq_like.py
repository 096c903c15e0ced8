"""Air quality as OpenAQ v3 serves it: page numbers, an API key, a request for each sensor, nested rows.

https://docs.openaq.org/using-the-api/pagination (page from 1, limit up to 1,000, 100 by default; meta.found),
https://docs.openaq.org/using-the-api/rate-limits (x-ratelimit-*, reset in seconds from now; 429),
https://docs.openaq.org/using-the-api/api-key, https://docs.openaq.org/resources/measurements,
https://docs.openaq.org/resources/sensors. Past a full page `found` is a text such as ">100". The filter looks at the
end of a measurement's period: the service's own tests (github.com/openaq/openaq-api-v2) have `datetime >
datetime_from`, so datetime_from is exclusive, and here datetime_to is inclusive.
"""

from datetime import datetime, timedelta, timezone
from typing import Any

from server import FakeApi, Reply, Request, Row, from_iso, instants, iso

API_KEY = "openaq-fake-key"
LOCATION = 8118
HOUR, LOCAL = timedelta(hours=1), timezone(timedelta(hours=5, minutes=30))
PARAMETERS = {2: ("pm25", "µg/m³", "PM2.5"), 10: ("o3", "ppm", "O₃"), 100: ("temperature", "c", "Temperature (C)")}
MINUTE_REQUESTS = 60


class OpenaqLike(FakeApi):
    key = ("sensor_id", "measured_at")
    instant = "ended_at"
    used = 0

    def sensors(self, at: datetime) -> dict[int, int]:
        """Sensor to parameter; from the third day on there is one more."""
        new = {23_540: 2} if at >= self.start + timedelta(days=2) else {}
        return {23_534: 2, 23_536: 10, 23_537: 100} | new

    def make(self, start: datetime, end: datetime) -> list[Row]:
        return [
            {
                "sensor_id": sensor,
                "parameter_id": parameter,
                "parameter": PARAMETERS[parameter][0],
                "units": PARAMETERS[parameter][1],
                "measured_at": ended - HOUR,
                "ended_at": ended,
                "value": round(self.chance(sensor, ended).uniform(0, 80), 3),
            }
            for ended in instants(start, end, HOUR)
            for sensor, parameter in self.sensors(ended).items()
        ]

    def signed_in(self, request: Request) -> bool:
        return request.headers.get("X-API-Key") == API_KEY

    def answer(self, request: Request) -> Reply:
        self.used += 1
        known = self.sensors(self.now - HOUR)
        match request.path.strip("/").split("/"):
            case ["v3", "locations", location, "sensors"] if location == str(LOCATION):
                return self.page(request, [self.sensor(number, parameter) for number, parameter in known.items()])
            case ["v3", "sensors", sensor, "measurements"] if int(sensor) in known:
                rows = [row for row in self.rows if row["sensor_id"] == int(sensor)]
                if start := request.one("datetime_from", ""):
                    rows = [row for row in rows if row["ended_at"] > from_iso(start)]
                if end := request.one("datetime_to", ""):
                    rows = [row for row in rows if row["ended_at"] <= from_iso(end)]
                return self.page(request, [sent(row) for row in sorted(rows, key=lambda row: row["measured_at"])])
        raise LookupError(request.path)

    def page(self, request: Request, rows: list[Any]) -> Reply:
        limit, page = request.number("limit", 100, 1, 1000), request.number("page", 1, 1, 10**6)
        shown = rows[(page - 1) * limit : page * limit]
        found = f">{limit}" if len(shown) == limit else len(shown)
        meta = {"name": "openaq-api", "website": "/", "page": page, "limit": limit, "found": found}
        used = self.used % MINUTE_REQUESTS
        figures = {"limit": MINUTE_REQUESTS, "remaining": MINUTE_REQUESTS - used, "used": used, "reset": 1}
        headers = {f"x-ratelimit-{name}": str(figure) for name, figure in figures.items()}
        return Reply({"meta": meta, "results": shown}, headers=headers)

    def sensor(self, number: int, parameter: int) -> dict[str, Any]:
        about = described(parameter)
        return {"id": number, "name": f"{about['name']} {about['units']}", "parameter": about, "datetimeFirst": None}

    def error(self, status: int, message: str) -> Any:
        return {"detail": message}


def described(parameter: int) -> dict[str, Any]:
    name, units, shown = PARAMETERS[parameter]
    return {"id": parameter, "name": name, "units": units, "displayName": shown}


def both(instant: datetime) -> dict[str, str]:
    return {"utc": iso(instant), "local": instant.astimezone(LOCAL).isoformat()}


def sent(row: Row) -> dict[str, Any]:
    """A measurement says its parameter, and not its sensor."""
    times = {"datetimeFrom": both(row["measured_at"]), "datetimeTo": both(row["ended_at"])}
    period = {"label": "raw", "interval": "01:00:00", **times}
    return {
        "value": row["value"],
        "flagInfo": {"hasFlags": False},
        "parameter": described(row["parameter_id"]),
        "period": period,
    }


# What a declaration names
# sign-in     API key in the header X-API-Key
# collection  Parents: GET /v3/sensors/{sensor_id}/measurements for each parent out of GET /v3/locations/8118/sensors
#             (results[].id); a sensor appears on the third day
# paging      PageNumberPaging: page from 1, limit up to 1000 (more is refused); ends by a short page; meta.found is
#             no total: ">100" after a full page
# filter      datetime_from (exclusive), datetime_to (inclusive): ISO 8601 in s with zone, on ended_at; so a window
#             [start, end) asks from start - 1 s to end - 1 s
# shape       rows in results; sensor_id from the parent, parameter_id < parameter.id, parameter < parameter.name,
#             units < parameter.units, measured_at < period.datetimeFrom.utc, ended_at < period.datetimeTo.utc
# key         sensor_id, measured_at; incremental: ended_at; event time only: rows come late, no revision, no count
# limits      x-ratelimit-remaining, x-ratelimit-reset (s from now); reset is 1 here
