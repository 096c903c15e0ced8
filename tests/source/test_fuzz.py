"""Anything at all as a body, a header, a cursor or an export's file: an error of the tree or valid rows, nothing else."""

import contextlib
import gzip
import io
import json
import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartsensor.source.decode import decode
from smartsensor.source.errors import ApiError, ContractError
from smartsensor.source.export_jobs import ExportFile, ExportJob, ExportRequest, RetryExport
from smartsensor.source.exports import DownloadedExport
from smartsensor.source.formats import read_rows
from smartsensor.source.http import Reply, error_of, retry_after_s
from smartsensor.source.paging import (
    CursorPaging,
    HeaderCursorPaging,
    KeysetPaging,
    LinkPaging,
    NextUrlPaging,
    OffsetPaging,
    PageNumberPaging,
    Paging,
    Received,
)
from smartsensor.source.smartsensor_api import MEASUREMENTS
from smartsensor.windows import Window

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = Window(NOW.replace(hour=10), NOW.replace(hour=11))
SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("at", pa.timestamp("us", "UTC")), ("value", pa.float64()), ("number", pa.int64()),
        ("good", pa.bool_()), ("plate", pa.struct([("maker", pa.string()), ("volts", pa.float64())])),
    ]
)  # fmt: skip
PATHS = {"pagination.next_cursor": pa.string(), "pagination.has_more": pa.bool_(), "meta.as_of": pa.string()}
ROW = {
    "id": "a",
    "at": "2026-11-20T10:00:00.000Z",
    "value": 1.5,
    "number": 3,
    "good": True,
    "plate": {"maker": "m", "volts": 4.0},
}
ODD = st.sampled_from(
    ["\ud800", "\x00", "0001-01-01T00:00:00Z", "2026-11-20T23:59:60Z", "0000-01-01", "-1-01-01T00:00:00Z", "NaN", "1e400", "٣", "\u2028"]
)  # fmt: skip
TEXTS = st.one_of(st.text(st.characters(), max_size=12), ODD)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS, st.just(10**40))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
NAMES = st.one_of(st.sampled_from([*ROW, "_extra", "_twice", "data"]), TEXTS)
ROWS = st.lists(
    st.one_of(st.dictionaries(NAMES, VALUES, max_size=5).map(lambda odd: ROW | odd), st.just(ROW)), max_size=5
)
HEADERS = st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n"), max_size=40)


def spoilt(data: bytes, seed: int) -> bytes:
    "A few bytes other, fewer or more; sometimes cut off."
    rnd, found = random.Random(seed), bytearray(data)
    for _ in range(rnd.randint(1, 4)):
        at = rnd.randrange(len(found) + 1)
        found[at : at + rnd.choice([0, 0, 1, 1, 8])] = rnd.randbytes(rnd.choice([0, 1, 1, 4]))
    return bytes(found[: rnd.randrange(len(found) + 1)] if rnd.random() < 0.2 else found)


def opens(batch: pa.RecordBatch) -> None:
    "What is landed can be read by others."
    batch.validate(full=True)
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.Table.from_batches([batch]), f"{folder}/x.parquet")
        assert len(duckdb.read_parquet(f"{folder}/x.parquet").fetchall()) == batch.num_rows


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_any_json_rows_land_as_so_many_rows(rows: list[dict[str, Any]]) -> None:
    body = json.dumps({"data": rows, "pagination": {"next_cursor": None, "has_more": False}, "meta": {"as_of": "x"}})
    found = decode(body.encode("utf-8", "surrogatepass"), SCHEMA, paths=PATHS)
    assert found.batch.num_rows == len(rows)
    opens(found.batch)


@pytest.mark.parametrize("name", [name for name in ROW if name != "id"])
def test_half_a_surrogate_in_a_column_of_any_type_fails_no_page(name: str) -> None:
    "Fuzzing found it: in a column of flags it was kept as a text, and the page could never be read."
    body = json.dumps({"data": [ROW | {name: "\ud800"}, ROW]}).encode()
    found = decode(body, SCHEMA)
    opens(found.batch)
    assert found.batch.column(name).null_count == 1
    assert json.loads(found.batch.column("_extra")[0].as_py()) == {name: {"hex": "eda080"}}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3))
def test_any_damage_to_a_body_is_a_contract_error_or_valid_rows(seed: int, number: int) -> None:
    page = {"data": [ROW] * number, "pagination": {"next_cursor": "c", "has_more": True}, "meta": {"as_of": "x"}}
    try:
        found = decode(spoilt(json.dumps(page).encode(), seed), SCHEMA, paths=PATHS)
    except ContractError:
        return
    opens(found.batch)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=60), VALUES.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))))
def test_any_bytes_are_a_page_or_a_contract_error(body: bytes) -> None:
    with contextlib.suppress(ContractError):
        opens(decode(body, SCHEMA, paths=PATHS).batch)


@settings(max_examples=60, deadline=None)
@given(HEADERS, HEADERS, st.integers(100, 999), st.binary(max_size=40))
def test_any_header_and_any_error_body_give_an_error_of_the_tree(
    wait: str, date: str, status: int, body: bytes
) -> None:
    headers = {"Retry-After": wait, "Date": date}
    assert 0 <= retry_after_s(headers, NOW) < math.inf
    error = error_of(Reply(status, headers, body, 0.1, 1, None), "GET /x")
    assert isinstance(error, ApiError) or 200 <= status < 300


@pytest.mark.parametrize(
    "wait", ["9" * 400, "1e999", "-1", "²", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 -9999", "٣"]
)
def test_an_absurd_retry_after_is_a_finite_wait(wait: str) -> None:
    assert 0 <= retry_after_s({"Retry-After": wait}, NOW) < math.inf


STYLES: list[Paging] = [
    CursorPaging(), NextUrlPaging(), LinkPaging(), OffsetPaging(), PageNumberPaging(), HeaderCursorPaging(),
    KeysetPaging("after", "id"),
]  # fmt: skip


@pytest.mark.parametrize("style", STYLES, ids=lambda style: type(style).__name__)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_paging_values_end_go_on_or_are_a_contract_error(style: Paging, data: st.DataObject) -> None:
    envelope = data.draw(st.dictionaries(st.sampled_from([*PATHS, "next", "total", "page", "links.next"]), VALUES))
    headers = data.draw(
        st.dictionaries(st.sampled_from(["Link", "X-Next-Cursor", "X-Next-Page", "X-Total-Count"]), HEADERS)
    )
    rows, last = data.draw(st.integers(0, 3)), data.draw(VALUES)
    page = Received(rows, envelope, headers, "https://api.example.com/v1/x?page=1", lambda column: last, b"{}")
    found: str | None = None
    for _ in range(2):  # from the first page, and from the one that it leads to
        try:
            found = style.next(page, found, 100, HOUR)
        except ContractError:
            return
        assert found is None or isinstance(found, str)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["export_id", "status", "progress", "record_count", "as_of", "files", "error"]), VALUES
    )
)
def test_any_export_job_is_a_job_or_a_contract_error(values: dict[str, Any]) -> None:
    with contextlib.suppress(ContractError):
        ExportJob.parse(values)


def parquet() -> bytes:
    sink = io.BytesIO()
    rows = [{**ROW, "at": NOW, "id": f"r{n}"} for n in range(20)]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), sink, row_group_size=8)
    return sink.getvalue()


def csv() -> bytes:
    sink, flat = io.BytesIO(), pa.Table.from_pylist([{**ROW, "at": NOW, "id": f"r{n}"} for n in range(20)], SCHEMA)
    pcsv.write_csv(flat.drop_columns(["plate"]), sink)
    return sink.getvalue()


def ndjson() -> bytes:
    return b"".join(json.dumps({**ROW, "id": f"r{n}"}).encode() + b"\n" for n in range(20))


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("make", [parquet, csv, ndjson])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_damage_to_an_export_file_is_a_contract_error_or_valid_rows(
    make: Callable[[], bytes], compression: str, seed: int
) -> None:
    data = make()
    inner = compression == "gzip" and seed % 2
    data = spoilt(data, seed) if inner or compression == "none" else data
    data = gzip.compress(data, mtime=0) if compression == "gzip" else data
    data = spoilt(data, seed) if compression == "gzip" and not inner else data
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        try:
            for batch, _ in read_rows(path, ExportRequest("x", HOUR, "r", make.__name__, compression), SCHEMA, 100):
                opens(batch)
        except ContractError:
            pass


BLANK_LINES, ZEROS = (b" " * 1023 + b"\n") * 1024, b"0" * (1 << 20)
BOMBS = {"ndjson": (b"", BLANK_LINES), "csv": (b"id,at\n", BLANK_LINES.replace(b" ", b"")), "parquet": (b"PAR1", ZEROS)}
READ_BOMBS = """
import re, sys
from pathlib import Path
import pytest
from test_fuzz import BOMBS, HOUR, SCHEMA, ContractError, ExportRequest, read_rows
for kind in BOMBS:
    with pytest.raises(ContractError, match="a gzip file of more than 65 MiB for the rows that it declares"):
        list(read_rows(Path(sys.argv[1]) / kind, ExportRequest("x", HOUR, "r", kind, "gzip"), SCHEMA, 100))
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)  # rusage has the parent's
"""


def test_gzip_files_that_grow_without_end_are_refused_in_bounded_memory_and_disk(tmp_path: Path) -> None:
    "A gigabyte in each; in a process of its own, whose memory is counted."
    for kind, (head, block) in BOMBS.items():
        many = block * (len(ZEROS) // len(block))
        with gzip.open(tmp_path / kind, "wb", compresslevel=1) as file:
            file.write(head)
            for _ in range(1000):
                file.write(many)
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) < 40 << 20
    command = [sys.executable, "-c", READ_BOMBS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 700, "MB at the peak, of which 300 are imports"
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) < 120 << 20


ONE_LINE = """
import sys
from pathlib import Path
from test_fuzz import HOUR, SCHEMA, ContractError, ExportRequest, read_rows
try:
    list(read_rows(Path(sys.argv[2]), ExportRequest("x", HOUR, "r", sys.argv[1]), SCHEMA, 100))
except ContractError as error:
    print(error)
"""


@pytest.mark.parametrize(("kind", "words"), [("ndjson", "a line of more than 64 MiB"), ("csv", "this file is no csv")])
def test_an_endless_line_is_refused_and_the_process_ends_well(kind: str, words: str, tmp_path: Path) -> None:
    "Arrow's reader of CSV has a thread of its own; it aborted the process where it still waited for Python."
    path = tmp_path / "line"
    path.write_bytes(b"id,at\n" * (kind == "csv") + ZEROS * 66)
    command = [sys.executable, "-c", ONE_LINE, kind, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout


def test_an_export_with_more_rows_than_declared_is_read_no_further(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes((json.dumps(ROW) + "\n").encode() * 40_000)
    file = ExportFile("f1", 100, path.stat().st_size, "0" * 64, "http://127.0.0.1/x")
    job = ExportJob("e1", "succeeded", 100, 100, None, (file,), "", False)
    read = DownloadedExport(ExportRequest("x", HOUR, "r", "ndjson"), job, (path,))
    with pytest.raises(RetryExport, match="has 10000 or more rows, the job declares 100"):
        list(read.batches(MEASUREMENTS, set()))
