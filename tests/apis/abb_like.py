"""Measurements in the shape of ABB's Smart Sensor API, as public clients show it: a key exchange, and no paging.

https://api.smartsensor.abb.com/swagger/ and the public client "The Open Guide to Cloud Interface for ABB Ability
Smart Sensors": POST /Auth/Key with {apiKey, deviceUID} gives {authToken, organizationID, …}, sent as a bearer token;
GET /Asset/List?organizationID=; GET /Measurement/Value?assetID=&measurementTypes=&from=&to=. Not found there, and so
of this server's choice: the names within a measurement, instants without a zone (UTC), both ends of the range
inclusive. The client sends a header FeatureCode; nothing here asks for it.
"""

from datetime import datetime, timedelta
from typing import Any

from server import FakeApi, Reply, Request, Row, from_iso, instants

API_KEY = "abb-fake-key"
ORGANIZATION = 1207
AUTH = "/Auth/Key"
TYPES = {1: ("Skin temperature", "°C", 15), 2: ("Overall vibration", "mm/s", 10), 3: ("Speed", "rpm", 60)}


class AbbLike(FakeApi):
    key = ("asset_id", "measurement_type_id", "measured_at")
    instant = "measured_at"
    gives_tokens = True
    sign_in_paths = (AUTH,)

    def __init__(self, *args: Any, vanishes: bool = False, **named: Any) -> None:
        self.vanishes = vanishes
        super().__init__(*args, **named)

    def assets(self, at: datetime) -> list[int]:
        """From the third day on one is new and, with `vanishes`, one is gone."""
        old = [70_001, 70_002]
        return old if at < self.start + timedelta(days=2) else [*old[: 1 if self.vanishes else 2], 70_003]

    def make(self, start: datetime, end: datetime) -> list[Row]:
        return [
            {
                "asset_id": asset,
                "measurement_type_id": number,
                "measurement_type": name,
                "unit": unit,
                "measured_at": measured,
                "value": round(self.chance(asset, number, measured).uniform(0, 1500), 3),
            }
            for number, (name, unit, minutes) in TYPES.items()
            for measured in instants(start, end, timedelta(minutes=minutes))
            for asset in self.assets(measured)
        ]

    def signed_in(self, request: Request) -> bool:
        return request.bearer() in self.tokens

    def answer(self, request: Request) -> Reply:
        match request.method, request.path:
            case "POST", "/Auth/Key":
                if request.json().get("apiKey") != API_KEY:
                    return self.refusal()
                about = {"organizationID": ORGANIZATION, "organizationName": "Plant", "isSuperAdmin": False}
                return Reply({"authToken": self.give_token(), **about})
            case "GET", "/Asset/List":
                if int(request.one("organizationID")) != ORGANIZATION:
                    raise LookupError("organization")
                assets = self.assets(self.now - timedelta(minutes=1))
                return Reply(
                    [{"assetID": asset, "assetName": f"Motor {asset}", "assetGroupID": None} for asset in assets]
                )
            case "GET", "/Measurement/Value":
                return Reply(self.values(request))
        raise LookupError(request.path)

    def values(self, request: Request) -> list[dict[str, Any]]:
        asset, start, end = int(request.one("assetID")), from_iso(request.one("from")), from_iso(request.one("to"))
        if asset not in {row["asset_id"] for row in self.rows}:
            raise LookupError(f"asset {asset}")
        answer = []
        for number in map(int, request.one("measurementTypes").split(",")):
            rows = [row for row in self.rows if (row["asset_id"], row["measurement_type_id"]) == (asset, number)]
            rows = sorted(
                (row for row in rows if start <= row["measured_at"] <= end), key=lambda row: row["measured_at"]
            )
            name, unit, _ = TYPES[number]
            about = {"measurementTypeID": number, "measurementTypeName": name, "measurementTypeUnit": unit}
            answer.append({**about, "measurements": [sent(row) for row in rows]})
        return answer

    def error(self, status: int, message: str) -> Any:
        return {"errorCode": status, "errorMessage": message}


def sent(row: Row) -> dict[str, Any]:
    created = row["measured_at"].replace(tzinfo=None).isoformat()
    return {"measurementCreated": created, "measurementValue": row["value"]}


# What a declaration names
# sign-in     KeyExchange: POST /Auth/Key with JSON {apiKey, deviceUID}, the token at authToken, a bearer; no lifetime
#             in the answer
# collection  Parents: GET /Measurement/Value with assetID for each parent out of GET /Asset/List?organizationID=1207
#             (bare list, assetID), and the constant measurementTypes=1,2,3; on the third day an asset appears; with
#             vanishes=True another leaves the list, and its rows, also those that come late, can still be asked for
# paging      Paging(): none
# filter      from, to: ISO 8601, without a zone taken as UTC; both inclusive: the row at `to` comes too and is cut
# shape       a bare list of types, rows in [].measurements[]; asset_id from the parent's request, measurement_type_id
#             < parent measurementTypeID, measurement_type < parent measurementTypeName, unit < parent
#             measurementTypeUnit, measured_at < measurementCreated (no zone: UTC), value < measurementValue
# key         asset_id, measurement_type_id, measured_at; event time only: rows come late; no revision, no count
