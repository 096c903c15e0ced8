"""Issues of a repository as GitHub lists them: a bare JSON list, Link header, ETag, only a lower bound of time.

https://docs.github.com/en/rest/issues/issues#list-repository-issues (parameters, defaults),
https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api (Link: rel next, last, prev,
first), https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api (X-RateLimit-*),
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api (If-None-Match, 304 costs
nothing). GitHub writes absolute addresses into Link; here they are relative references, which RFC 8288 (3.1) allows
as well, and to another path of the same host (/repositories/…), as GitHub's do.
"""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any

from server import LATE, FakeApi, Reply, Request, Row, from_iso, instants, iso

TOKEN = "ghp_fake"
PATH, CANONICAL = "/repos/plant/fleet/issues", "/repositories/42/issues"
HOURLY_REQUESTS = 5000


class GithubLike(FakeApi):
    key = ("issue_id",)
    instant = "updated_at"
    comes_late = False  # an issue that changes moves to the end of the listing instead
    used = 0

    def make(self, start: datetime, end: datetime) -> list[Row]:
        rows = []
        for created in instants(start, end, timedelta(minutes=11)):
            number = len(self.rows) + len(rows) + 1
            chance = self.chance("issue", number)
            updated = min(created + timedelta(seconds=chance.randrange(20_000)), end - timedelta(seconds=1))
            closed = chance.random() < 0.4
            rows.append(
                {
                    "issue_id": 3_000_000_000 + number,  # more than 32 bits
                    "number": number,
                    "title": f"Motor {chance.randrange(40)} vibrates – «{chance.choice(['bearing', 'Lüfter', '軸'])}»",
                    "state": "closed" if closed else "open",
                    "comments": chance.randrange(9),
                    "user_login": chance.choice(["ada", "grace", "edsger"]),
                    "created_at": created,
                    "updated_at": updated,
                    "closed_at": updated if closed else None,
                }
            )
        return rows

    def revise(self, edge: datetime) -> None:
        for row in self.rows[::9]:
            if row["created_at"] < edge - LATE:  # also long before the edge: `since` finds it by its update
                row |= {"comments": row["comments"] + 1, "updated_at": edge + timedelta(minutes=row["number"] % 60)}

    def signed_in(self, request: Request) -> bool:
        return request.bearer() == TOKEN

    def answer(self, request: Request) -> Reply:
        if request.path not in (PATH, CANONICAL):
            raise LookupError(request.path)
        state, since = request.one("state", "open"), request.one("since", "")
        rows = [row for row in self.rows if state in ("all", row["state"])]
        rows = [row for row in rows if not since or row["updated_at"] >= from_iso(since)]
        by = {"created": "created_at", "updated": "updated_at"}[request.one("sort", "created")]
        rows.sort(key=lambda row: (row[by], row["issue_id"]), reverse=request.one("direction", "desc") == "desc")
        size, page = min(request.number("per_page", 30, 1, 10**6), 100), request.number("page", 1, 1, 10**6)
        last = max(1, -(-len(rows) // size))
        body = [sent(row) for row in rows[(page - 1) * size : page * size]]
        tag = f'W/"{hashlib.sha256(json.dumps(body).encode()).hexdigest()}"'
        if request.headers.get("If-None-Match") == tag:
            return Reply(None, 304, {"ETag": tag, **self.limits()})
        self.used += 1
        links = {"prev": page - 1, "first": 1} if page > 1 else {}
        links |= {"next": page + 1, "last": last} if page < last else {}
        there = [
            f'<{CANONICAL}{request.again(page=to).removeprefix(request.path)}>; rel="{rel}"'
            for rel, to in links.items()
        ]
        return Reply(body, headers={"ETag": tag, **self.limits(), **({"Link": ", ".join(there)} if there else {})})

    def limits(self) -> dict[str, str]:
        reset = int((self.time() + timedelta(hours=1)).timestamp())
        left = HOURLY_REQUESTS - self.used
        figures = {"Limit": HOURLY_REQUESTS, "Remaining": left, "Used": self.used, "Reset": reset}
        return {f"X-RateLimit-{name}": str(figure) for name, figure in figures.items()}


def sent(row: Row) -> dict[str, Any]:
    times = {name: row[name] and iso(row[name]) for name in ("created_at", "updated_at", "closed_at")}
    plain = {name: row[name] for name in ("number", "title", "state", "comments")}
    user = {"login": row["user_login"], "id": len(row["user_login"]), "site_admin": False}
    return {"id": row["issue_id"], **plain, "user": user, "labels": [], **times}


# What a declaration names
# sign-in     static bearer token
# collection  GET /repos/plant/fleet/issues, with the constants state=all (else closed ones are missing),
#             sort=updated, direction=asc
# paging      LinkPaging: Link header, rel="next": a relative reference to another path of the same host; ends where
#             there is none; per_page, which the server cuts to 100 in silence
# filter      since: ISO 8601 in s, inclusive; no upper bound: rows past the window come too and are cut
# shape       a bare list; issue_id < id, user_login < user.login; closed_at may be null
# key         issue_id; revision: updated_at, which is the incremental field
# count       none; limits: X-RateLimit-Remaining, X-RateLimit-Reset (epoch s)
