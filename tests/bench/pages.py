"""A source of any number of measurements, for figures of memory: pages are filled in from a template, nothing is kept.

Each row has an id of its own, and `updated_at` ascends; the rest is as varied as a fleet's. It speaks as much HTTP as the
client asks for, from a process of its own, on 127.0.0.1.
"""

import json
import re
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta

import numpy as np

DAY = datetime(2026, 11, 20, tzinfo=UTC)
ROW = (
    '{"measurement_id":"m_IIIIIIIIIIIIIIIIIIII","sensor_id":"sen_SSSS","asset_id":"ast_AAAA","plant_id":"plt_PP","measurement_type_id":K,'
    '"value":VV.WWWW,"quality_flag":"good","measured_at":"2026-11-20Th1:n1:s1.uuuuuuZ","received_at":"2026-11-20Th2:n2:s2.vvvvvvZ",'
    '"updated_at":"2026-11-20Th3:n3:s3.wwwwwwZ","revision":1},'
)
MIXER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that to multiply by it is a bijection: every row has an id of its own


def digits(page: np.ndarray, mark: str, numbers: np.ndarray) -> None:
    "Write numbers into all rows, where the template has the mark."
    at = ROW.index(mark)
    for place in range(len(mark)):
        page[:, at + len(mark) - 1 - place] = numbers % 10 + 48
        numbers = numbers // 10


def instants(page: np.ndarray, number: int, mark: str, micros: np.ndarray) -> None:
    "Write instants of the day into all rows."
    seconds = micros // 1_000_000
    digits(page, mark, micros % 1_000_000)
    for name, value in (("h", seconds // 3600), ("n", seconds // 60 % 60), ("s", seconds % 60)):
        digits(page, f"{name}{number}", value)


def rendered(first: int, rows: int, total: int) -> bytes:
    "The JSON of rows, separated by commas."
    page = np.tile(np.frombuffer(ROW.encode(), np.uint8), (rows, 1))
    index = np.arange(first, first + rows, dtype=np.uint64)
    mixed = index * MIXER
    micros = (np.arange(first, first + rows) * (86_400_000_000 // total)).astype(np.int64)
    digits(page, "I" * 20, mixed)
    for mark, many in (("SSSS", 5000), ("AAAA", 800), ("PP", 40), ("K", 10)):
        digits(page, mark, mixed // np.uint64(7) % np.uint64(many))
    digits(page, "VV", mixed // np.uint64(11) % np.uint64(90) + np.uint64(10))
    digits(page, "WWWW", mixed // np.uint64(13) % np.uint64(10_000))
    for number, mark, late in ((1, "uuuuuu", 0), (2, "vvvvvv", 1), (3, "wwwwww", 2)):
        instants(page, number, mark, np.minimum(micros + late, 86_399_999_999))
    return page.tobytes()[:-1]


class Source:
    """What the source answers."""

    def __init__(self, total: int) -> None:
        self.total = total

    def reply(self, path: str) -> bytes:
        "The body for a path."
        if "/oauth2/token" in path:
            return b'{"access_token":"bench","token_type":"Bearer","expires_in":3600}'
        if "/count" in path:
            return json.dumps({"count": self.total}).encode()
        limit = int(re.search(r"limit=(\d+)", path)[1])  # type: ignore[index]
        cursor = re.search(r"cursor=(\d+)", path)
        first = int(cursor[1]) if cursor else 0
        after = min(first + limit, self.total)
        paging = {
            "next_cursor": str(after) if after < self.total else None,
            "has_more": after < self.total,
            "limit": limit,
        }
        meta = {"request_id": f"req_{first}", "as_of": (DAY + timedelta(days=1)).isoformat()}
        return b'{"data":[%b],"pagination":%b,"meta":%b}' % (
            rendered(first, after - first, self.total),
            json.dumps(paging).encode(),
            json.dumps(meta).encode(),
        )

    def converse(self, line: socket.socket) -> None:
        "Answer the requests of one connection, in order."
        with line, line.makefile("rb") as asked:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while request := asked.readline():
                length = 0
                while (header := asked.readline()) not in (b"\r\n", b""):
                    name, _, value = header.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                asked.read(length)
                body = self.reply(request.split()[1].decode())
                line.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                    + body
                )


def main(total: int) -> None:
    source, listener = Source(total), socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), listener.shutdown(socket.SHUT_RDWR)), daemon=True).start()
    while True:
        try:
            line, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=source.converse, args=(line,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
