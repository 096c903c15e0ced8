"""Telemetry as ThingsBoard serves it: a request for each device, `{key: [{ts, value}]}`, cut at the limit in silence.

https://thingsboard.io/docs/user-guide/telemetry/ (keys, startTs, endTs, limit: 100 by default, for each key; orderBy,
DESC by default; values are text), https://thingsboard.io/docs/reference/rest-api/ (POST /api/auth/login gives token
and refreshToken; the header X-Authorization: Bearer; POST /api/auth/token with the refreshToken), pages as {data,
totalPages, totalElements, hasNext} from page 0. startTs is inclusive and endTs exclusive: ThingsBoard asks its
database `ts >= :startTs AND ts < :endTs`.
"""

import uuid
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from server import FakeApi, Reply, Request, Row, epoch_ms, instants

USER, PASSWORD = "tenant@thingsboard.example", "fake-password"
LOGIN, REFRESH, DEVICES = "/api/auth/login", "/api/auth/token", "/api/tenant/devices"
# minutes between values: the keys reach the limit at different instants
KEYS = {"temperature": 10, "humidity": 25, "vibration": 5}


@cache
def device_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"motor-{number}.thingsboard.example"))


class ThingsboardLike(FakeApi):
    key = ("device_id", "key", "measured_at")
    instant = "measured_at"
    gives_tokens = True
    sign_in_paths = (LOGIN, REFRESH)
    refresh_token = "refresh-1"

    def devices(self, at: datetime) -> list[int]:
        """From the third day on there is one more."""
        return [1, 2, 3, 4] if at >= self.start + timedelta(days=2) else [1, 2, 3]

    def make(self, start: datetime, end: datetime) -> list[Row]:
        rows = []
        for key, minutes in KEYS.items():
            chance = self.chance(key, start)
            for measured in instants(start, end, timedelta(minutes=minutes)):
                for number in self.devices(measured):
                    value = round(chance.uniform(-5, 95), 2)
                    rows.append({"device_id": device_id(number), "key": key, "measured_at": measured, "value": value})
        return rows

    def signed_in(self, request: Request) -> bool:
        return request.bearer("X-Authorization") in self.tokens

    def answer(self, request: Request) -> Reply:
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["api", "auth", "login"]:
                given = request.json()
                right = (given.get("username"), given.get("password")) == (USER, PASSWORD)
            case "POST", ["api", "auth", "token"]:
                right = request.json().get("refreshToken") == self.refresh_token
            case "GET", ["api", "tenant", "devices"]:
                return Reply(self.device_page(request))
            case "GET", ["api", "plugins", "telemetry", "DEVICE", device, "values", "timeseries"]:
                return Reply(self.telemetry(request, device))
            case _:
                raise LookupError(request.path)
        if not right:
            return self.refusal()
        self.refresh_token = f"refresh-{self.given + 2}"  # rotates
        return Reply({"token": self.give_token(), "refreshToken": self.refresh_token})

    def device_page(self, request: Request) -> dict[str, Any]:
        size, page = int(request.one("pageSize")), int(request.one("page"))
        numbers = self.devices(self.now - timedelta(minutes=1))
        created = epoch_ms(self.start)
        shown = [
            {
                "id": {"entityType": "DEVICE", "id": device_id(number)},
                "createdTime": created,
                "name": f"Motor {number}",
                "type": "motor",
            }
            for number in numbers[page * size : (page + 1) * size]
        ]
        pages = -(-len(numbers) // size)
        return {"data": shown, "totalPages": pages, "totalElements": len(numbers), "hasNext": page + 1 < pages}

    def telemetry(self, request: Request, device: str) -> dict[str, list[dict[str, Any]]]:
        if device not in map(device_id, self.devices(self.now - timedelta(minutes=1))):
            raise LookupError(device)
        start, end, limit = int(request.one("startTs")), int(request.one("endTs")), int(request.one("limit", "100"))
        downwards, keys = request.one("orderBy", "DESC") == "DESC", request.one("keys", ",".join(KEYS)).split(",")
        rows = [row for row in self.rows if row["device_id"] == device and row["key"] in keys]
        values: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: row["measured_at"], reverse=downwards):
            ts = epoch_ms(row["measured_at"])
            if start <= ts < end:
                values.setdefault(row["key"], []).append({"ts": ts, "value": str(row["value"])})
        return {key: found[:limit] for key, found in values.items()}

    def error(self, status: int, message: str) -> Any:
        return {"status": status, "message": message, "errorCode": 11 if status == 401 else 2}


# What a declaration names
# sign-in     KeyExchange: POST /api/auth/login with JSON {username, password}, the token at `token`, sent as
#             X-Authorization: Bearer; no lifetime in the answer: a 401 says that it is over; refreshToken at POST
#             /api/auth/token rotates
# collection  Parents: GET /api/plugins/telemetry/DEVICE/{device_id}/values/timeseries for each parent out of GET
#             /api/tenant/devices (pageSize, page from 0; data[].id.id; ends by hasNext: false); constants
#             keys=temperature,humidity,vibration and orderBy=ASC; a device appears on the third day
# paging      SplitPaging, or on by time: each key is cut at limit (100 by default) with no sign of it; on from the
#             last instant of the full keys
# filter      startTs (inclusive), endTs (exclusive): epoch ms
# shape       {key: [{ts, value}]}: key from the member's name, measured_at < ts (epoch ms), value (text to number),
#             device_id from the parent; no values: {}
# key         device_id, key, measured_at; event time only: rows come late; no revision, no count
