"""Values that no reader can open, or that have no place in their column, never spoil a page."""

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smartsensor.source.decode import decode

SCHEMA = pa.schema(
    [("id", pa.string()), ("at", pa.timestamp("us", "UTC")), ("plate", pa.struct([("maker", pa.string())]))]
)


def page(*rows: bytes) -> bytes:
    return (
        b'{"data":[' + b",".join(rows) + b'],"pagination":{"next_cursor":null,"has_more":false},"meta":{"as_of":"x"}}'
    )


def row(name: bytes = b"a", at: bytes = b"2026-11-20T00:00:00Z", maker: bytes = b"m", more: bytes = b"") -> bytes:
    return b'{"id":"%s","at":"%s","plate":{"maker":"%s"}%s}' % (name, at, maker, more)


@pytest.mark.parametrize(
    ("poisoned", "column", "extra", "drift"),
    [
        (row(name=b"p\xff\xfeq"), "p\ufffd\ufffdq", '{"id":{"hex":"70fffe71"}}', "id: bytes that are not UTF-8"),
        (row(name=b"p\\ud800q"), "p\ufffdq", '{"id":{"hex":"70eda08071"}}', "id: bytes that are not UTF-8"),
        (row(maker=b"\xc3"), "a", '{"plate":{"maker":{"hex":"c3"}}}', "plate.maker: bytes that are not UTF-8"),
        (row(more=b',"new":"\xff"'), "a", '{"new":{"hex":"ff"}}', "unknown field new"),
        (
            row(more=b',"n\xff":["\xff",{"k\xfe":"\xfd"}]'),
            "a",
            '{"n\ufffd":[{"hex":"ff"},{"k\ufffd":{"hex":"fd"}}]}',
            "unknown field n?",
        ),
    ],
    ids=["bytes", "half a pair", "in a struct", "unknown field", "names"],
)
def test_what_is_not_utf8_is_repaired_and_its_bytes_are_kept(
    tmp_path: Path, poisoned: bytes, column: str, extra: str, drift: str
) -> None:
    decoded = decode(page(row(name=b"good"), poisoned), SCHEMA)
    decoded.batch.validate(full=True)
    pq.write_table(pa.Table.from_batches([decoded.batch]), tmp_path / "part.parquet")
    seen: list[list[dict[str, Any]]] = [
        duckdb.read_parquet(str(tmp_path / "part.parquet")).to_arrow_table().to_pylist(),
        pl.read_parquet(tmp_path / "part.parquet").to_dicts(),
    ]
    for rows in seen:
        assert [(one["id"], one["_extra"]) for one in rows] == [("good", None), (column, extra)]
    assert decoded.drift == (drift,)


@pytest.mark.parametrize(
    ("at", "fits"),
    [
        (b"0001-01-01T00:00:00Z", True),
        (b"9999-12-31T23:59:59.999999Z", True),
        (b"0000-01-01T00:00:00Z", False),
        (b"0001-01-01T00:00:00+14:00", False),
        (b"9999-12-31T23:59:59-14:00", False),
        (b"2026-02-30T00:00:00Z", False),
        (b"2026-11-20T23:59:60Z", False),
        (b"99999-01-01T00:00:00Z", False),
    ],
)
@pytest.mark.parametrize("more", [b"", b',"new":1'], ids=["plain", "with an unknown field"])
def test_an_impossible_instant_fails_no_page(at: bytes, fits: bool, more: bytes) -> None:
    decoded = decode(page(row(name=b"good"), row(at=at, more=more)), SCHEMA)
    good, bad = decoded.batch.to_pylist()
    assert good["at"] is not None
    assert (bad["at"] is not None) == fits
    assert (at.decode() in (bad["_extra"] or "")) != fits, "what does not fit is kept as it came"
