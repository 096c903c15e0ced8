"""The limit to compare with: fetch, decode, write; no state, no checks, no retries, unknown fields lost.

One process, one cursor: http.client for the wire, arro3 for JSON to Arrow with timestamps, Parquet zstd-1 in row groups of 100,000.
"""

import http.client
import json
import sys
from urllib.parse import urlencode, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from arro3.io import read_json

from smartsensor.source.smartsensor_api import MEASUREMENTS

GROUP_ROWS = 100_000


def main(base_url: str, token: str, since: str, before: str, target: str) -> int:
    url = urlsplit(base_url)
    wire = http.client.HTTPConnection(url.hostname or "", url.port)
    page = pa.schema(
        [
            ("data", pa.list_(pa.struct(list(MEASUREMENTS.schema)))),
            ("pagination", pa.struct([("next_cursor", pa.string())])),
        ]
    )
    params = {"updated_since": since, "updated_before": before, "limit": "1000"}
    writer = pq.ParquetWriter(target, MEASUREMENTS.schema, compression="zstd", compression_level=1)
    held: list[pa.RecordBatch] = []
    rows, held_rows = 0, 0
    while True:
        wire.request(
            "GET", f"{url.path}/measurements?{urlencode(params)}", headers={"Authorization": f"Bearer {token}"}
        )
        reply = wire.getresponse()
        body = reply.read()
        assert reply.status == 200, body[:200]
        table = pa.table(read_json(body, schema=page))
        batch = pa.RecordBatch.from_struct_array(table.column("data").chunk(0).flatten())
        held.append(batch)
        held_rows += batch.num_rows
        rows += batch.num_rows
        cursor = table.column("pagination")[0].as_py()["next_cursor"]
        if held_rows >= GROUP_ROWS or cursor is None:
            whole = pa.Table.from_batches(held).cast(MEASUREMENTS.schema)
            writer.write_table(whole, row_group_size=max(whole.num_rows, 1))
            held, held_rows = [], 0
        if cursor is None:
            writer.close()
            return rows
        params["cursor"] = cursor


if __name__ == "__main__":
    json.dump({"rows": main(*sys.argv[1:])}, sys.stdout)
