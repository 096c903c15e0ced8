"""Charges as Stripe lists them: `has_more`, the last row's id as the place, newest first, instants as epoch seconds.

https://docs.stripe.com/api/pagination (limit from 1 to 100, 10 by default; starting_after; reverse chronological),
https://docs.stripe.com/api/charges/list (created[gt|gte|lt|lte]), https://docs.stripe.com/api/authentication (the
secret key is the user name of Basic, with no password, or a bearer token), https://docs.stripe.com/api/errors (the
body of an error).
"""

from datetime import UTC, datetime, timedelta
from operator import ge, gt, le, lt
from typing import Any

from server import LATE, FakeApi, Reply, Request, Row, instants

SECRET_KEY = "sk_test_fake"
PATH = "/v1/charges"
COMPARISONS = {"gt": gt, "gte": ge, "lt": lt, "lte": le}


class StripeLike(FakeApi):
    key = ("charge_id",)
    instant = "created_at"
    comes_late = False

    def make(self, start: datetime, end: datetime) -> list[Row]:
        rows = []
        for created in instants(start, end, timedelta(minutes=7)):
            for place in range(2):  # two in one second: the time alone does not say where the listing goes on
                chance = self.chance("charge", created, place)
                rows.append(
                    {
                        "charge_id": f"ch_{chance.getrandbits(64):016x}",  # ids do not grow with time
                        "amount": chance.randrange(50, 90_000),
                        "currency": chance.choice(["eur", "chf", "jpy"]),
                        "status": chance.choice(["succeeded", "succeeded", "failed"]),
                        "refunded": False,
                        "sensor_id": f"S-{chance.randrange(20):03d}",
                        "created_at": created,
                    }
                )
        return rows

    def revise(self, edge: datetime) -> None:
        """Some are refunded: they change, and `created` does not."""
        for row in [row for row in self.rows if edge - LATE <= row["created_at"] < edge][::5]:
            row["refunded"] = True

    def signed_in(self, request: Request) -> bool:
        return SECRET_KEY in (request.bearer(), request.basic()[0])

    def answer(self, request: Request) -> Reply:
        if request.path != PATH:
            raise LookupError(request.path)
        rows = sorted(self.rows, key=lambda row: (row["created_at"], row["charge_id"]), reverse=True)
        for name, compare in COMPARISONS.items():
            if bound := request.one(f"created[{name}]", ""):
                limit = datetime.fromtimestamp(int(bound), UTC)
                rows = [row for row in rows if compare(row["created_at"], limit)]
        size, after, first = request.number("limit", 10, 1, 100), request.one("starting_after", ""), 0
        if after:
            first = [row["charge_id"] for row in rows].index(after) + 1  # ValueError: 400, no such charge
        page = [sent(row) for row in rows[first : first + size]]
        return Reply({"object": "list", "url": PATH, "has_more": first + size < len(rows), "data": page})

    def error(self, status: int, message: str) -> Any:
        kind = "invalid_request_error" if status < 500 else "api_error"
        return {"error": {"type": kind, "message": message}}


def sent(row: Row) -> dict[str, Any]:
    plain = {name: row[name] for name in ("amount", "currency", "status", "refunded")}
    created = int(row["created_at"].timestamp())
    return {
        "id": row["charge_id"],
        "object": "charge",
        "created": created,
        **plain,
        "metadata": {"sensor": row["sensor_id"]},
    }


# What a declaration names
# sign-in     Basic: the secret key as user name, no password; or bearer
# collection  GET /v1/charges
# paging      KeysetPaging: starting_after = id of the last row; ends by has_more: false; limit, at most 100 (more is
#             refused with 400); newest first
# filter      created[gte], created[lt]: epoch s
# shape       rows in data; charge_id < id, created_at < created (epoch s), sensor_id < metadata.sensor
# key         charge_id; incremental: created_at, which a change leaves as it is: refunds show in a lookback only, by
#             content
# count       none
