"""Pages that drift, lie or break off; the teaching cases stand in nbs/source/010_decode.ipynb."""

import json
import math
import subprocess
import sys
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartsensor.source import decode as decode_room
from smartsensor.source.decode import decode
from smartsensor.source.errors import ContractError
from smartsensor.source.paging import CursorPaging, Received
from smartsensor.source.smartsensor_api import ASSETS, MEASUREMENTS
from smartsensor.windows import EPOCH, Window

PATHS = CursorPaging().paths
DAY = Window(EPOCH, EPOCH + timedelta(days=1))
ROW = {
    "measurement_id": "m-1", "sensor_id": "s-1", "asset_id": "a-1", "plant_id": "p-1", "measurement_type_id": 2, "value": 61.25,
    "quality_flag": "good", "measured_at": "2026-11-20T10:00:00.000Z", "received_at": "2026-11-20T10:02:03.123Z",
    "updated_at": "2026-11-20T10:02:03.123Z", "revision": 1,
}  # fmt: skip


def body(*rows: object, cursor: object = None, **more: object) -> bytes:
    return json.dumps(
        {"data": list(rows), "pagination": {"next_cursor": cursor, "has_more": cursor is not None}, **more}
    ).encode()


def one(change: dict[str, object], drop: str = "") -> tuple[dict[str, object], tuple[str, ...]]:
    row = {name: value for name, value in (ROW | change).items() if name != drop}
    found = decode(body(row), MEASUREMENTS.schema, paths=PATHS)
    assert found.batch.schema == MEASUREMENTS.raw_schema
    return found.batch.to_pylist()[0], found.drift


def test_a_clean_page_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("the slow way was taken")

    monkeypatch.setattr(decode_room, "_repair", refuse)
    assert decode(body(ROW), MEASUREMENTS.schema, paths=PATHS).batch.num_rows == 1


def test_decoding_does_not_import_pandas() -> None:
    code = (
        "import sys; from smartsensor.source.decode import decode; from smartsensor.source.smartsensor_api import MEASUREMENTS as M;"
        f"decode({body(ROW)!r}, M.schema); decode({body(ROW | {'x': 1})!r}, M.schema);"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("change", "column", "value", "extra"),
    [
        ({"value": "61.25"}, "value", 61.25, None),
        ({"value": "a lot"}, "value", None, {"value": "a lot"}),
        ({"value": [1]}, "value", None, {"value": [1]}),
        ({"value": True}, "value", None, {"value": True}),
        ({"revision": 2.0}, "revision", 2, None),
        ({"revision": 2.5}, "revision", None, {"revision": 2.5}),
        ({"revision": 2**70}, "revision", None, {"revision": 2**70}),
        ({"sensor_id": 17}, "sensor_id", "17", None),
        ({"sensor_id": {"id": 17}}, "sensor_id", None, {"sensor_id": {"id": 17}}),
        ({"measured_at": 1700000000}, "measured_at", None, {"measured_at": 1700000000}),
        ({"measured_at": "yesterday"}, "measured_at", None, {"measured_at": "yesterday"}),
        ({"unit": "C", "when": "2026-01-01"}, "value", 61.25, {"unit": "C", "when": "2026-01-01"}),
        ({"unit": None}, "value", 61.25, {"unit": None}),
    ],
)
def test_what_does_not_fit_is_kept_and_named(
    change: dict[str, object], column: str, value: object, extra: object
) -> None:
    row, drift = one(change)
    assert row[column] == value
    assert (json.loads(row["_extra"]) if row["_extra"] else None) == extra
    assert any(next(iter(change)) in output for output in drift)


def test_a_vanished_field_and_a_missing_zone_are_named() -> None:
    row, drift = one({}, drop="quality_flag")
    assert row["quality_flag"] is None
    assert "declared field quality_flag is absent" in drift
    row, drift = one({"measured_at": "2026-11-20T10:00:00.000"})
    assert row["measured_at"].isoformat() == "2026-11-20T10:00:00+00:00"
    assert drift == ("measured_at: an instant without a zone read as UTC",)


def test_an_unknown_field_inside_a_struct_is_kept_under_its_name() -> None:
    asset = {"asset_id": "a-1", "nameplate": {"voltage_v": 400.0, "phases": 3}}
    row = decode(body(asset), ASSETS.schema, paths=PATHS).batch.to_pylist()[0]
    assert row["nameplate"]["voltage_v"] == 400.0
    assert json.loads(row["_extra"]) == {"nameplate": {"phases": 3}}


def read_page(raw: bytes) -> str | None:
    page = decode(raw, MEASUREMENTS.schema, paths=PATHS)
    return CursorPaging().next(Received(page.batch.num_rows, page.envelope, body=raw), None, 1, DAY)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"[]", b"17", b'{"data": null, "pagination": {"next_cursor": null}}', b'{"data": {}, "pagination": {"next_cursor": null}}',
        b'{"data": [1], "pagination": {"next_cursor": null}}', b'{"data": [null], "pagination": {"next_cursor": null}}', body(ROW)[:-20], body(ROW) + body(ROW),
        b"<html>502</html>", b'{"data": []}', b'{"error": "next_cursor"}', b"\xff\xfe{", b'{"data": ' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_page_is_refused(raw: bytes) -> None:
    with pytest.raises(ContractError):
        read_page(raw)


def test_a_cursor_that_looks_like_a_time_or_a_number_stays_text() -> None:
    assert (
        decode(body(ROW, cursor="2026-11-20T10:00:00Z"), MEASUREMENTS.schema, paths=PATHS).envelope[
            "pagination.next_cursor"
        ]
        == "2026-11-20T10:00:00Z"
    )
    assert decode(body(ROW, cursor="007"), MEASUREMENTS.schema, paths=PATHS).envelope["pagination.next_cursor"] == "007"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*MEASUREMENTS.schema.names, "x", "_y"]), SCALARS | st.lists(SCALARS, max_size=2), max_size=12
    )
)
def test_no_value_is_ever_lost(row: dict[str, object]) -> None:
    found = decode(
        json.dumps({"data": [row], "pagination": {"next_cursor": None}}).encode(), MEASUREMENTS.schema, paths=PATHS
    )
    got = found.batch.to_pylist()[0]
    extra = json.loads(got["_extra"]) if got["_extra"] else {}
    for name, value in row.items():
        kept = name in extra or got.get(name) is not None or value is None
        assert kept, (name, value, got)
        if name in extra and not (isinstance(value, float) and math.isnan(value)):
            assert json.dumps(extra[name]) == json.dumps(value)


def test_both_ways_give_the_same_batch() -> None:
    rows = [ROW | {"measurement_id": f"m-{n}", "value": None if n % 3 else n / 7} for n in range(50)]
    fast = decode(body(*rows), MEASUREMENTS.schema, paths=PATHS).batch
    slow = decode(body(*rows, ROW | {"x": 1}), MEASUREMENTS.schema, paths=PATHS).batch.slice(0, 50)
    assert pa.Table.from_batches([fast]).equals(pa.Table.from_batches([slow]))
