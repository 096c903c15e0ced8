"""The commands for what is published: `sql`, with all that a statement must not do, `versions`, `diff` and `rollback`."""

import csv
import io
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from test_reading import Publisher, files_of, measurement

from smartsensor.jobs import statements
from smartsensor.jobs.reading import QueryError
from smartsensor.jobs.statements import open_session
from smartsensor.lake.catalogs import QUALIFIED, QUARANTINE
from smartsensor.lake.lake import Lake
from smartsensor.lake.tables import Tables
from smartsensor.run import sql as room
from smartsensor.run.cli import run_command
from smartsensor.run.sql import converse
from smartsensor.source.smartsensor_api import ASSETS, MEASUREMENT_TYPES


def begun(folder: Path) -> Lake:
    "A lake that a run has been at."
    lake = Lake(str(folder / "lake"))
    lake.put("runs/x/note.json", b"{}")
    return lake


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    "Three versions of measurements (the last mends m000001), a type, an asset with a nested column, a bad row."
    lake = begun(tmp_path_factory.mktemp("published"))
    publish = Publisher(lake)
    publish([measurement(number, float(number)) for number in range(60)])
    publish([measurement(60, 60.0, day=1)])
    mended = [measurement(number, -1.0 if number == 1 else float(number)) for number in range(1, 60)]
    publish(mended, replaced=[file for file in files_of(lake) if file.rows == 60])
    Publisher(lake, MEASUREMENT_TYPES, partition=None)([{"measurement_type_id": 1, "name": "velo\x1b[31mcity"}])
    Publisher(lake, ASSETS, partition=None)([{"asset_id": "a", "nameplate": {"power_kw": 1.5}}, {"asset_id": "b"}])
    Publisher(lake, zone=QUARANTINE, partition=None)([measurement(99)])
    return lake


@pytest.fixture
def ask(published: Lake, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str, lake: Lake = published) -> tuple[int, str, str]:
        code = run_command([*words, "--lake", lake.root])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


Ask = Callable[..., tuple[int, str, str]]

# --- sql --------------------------------------------------------------------------------------------------------------


def test_each_table_has_its_name_and_the_one_of_its_resource(ask: Ask) -> None:
    code, out, _ = ask("sql", "SHOW TABLES")
    assert code == 0
    names = ("measurements", "measurement_types", "measurement-types", "assets", "quarantine_measurements")
    assert all(f"│ {name} " in out for name in names), out
    code, out, _ = ask("sql", 'SELECT count(*) AS n FROM "measurement-types" JOIN measurement_types USING (name)')
    assert (code, "│ 1 │" in out) == (0, True)


def test_the_screen_gets_some_rows_and_says_so(ask: Ask) -> None:
    code, out, _ = ask("sql", "SELECT measurement_id FROM measurements ORDER BY 1", "--rows", "3")
    assert code == 0
    assert "m000003" in out
    assert "m000004" not in out
    assert "The first 3 rows; there are more" in out
    _, out, _ = ask("sql", "SELECT measurement_id FROM measurements ORDER BY 1 LIMIT 3", "--rows", "3")
    assert "3 rows" in out
    assert "more" not in out
    _, out, _ = ask("sql", "SELECT 1 WHERE false")
    assert "0 rows" in out


def test_what_a_cell_holds_can_not_steer_the_terminal(ask: Ask) -> None:
    _, out, _ = ask("sql", "SELECT name, unit, [1] AS list, '[bold]' AS mark FROM measurement_types")
    assert "velo\\x1b[31mcity" in out
    assert "\x1b" not in out
    assert all(one in out for one in ("NULL", "[1]", "[bold]"))


def test_a_terminal_gets_the_columns_that_fit(
    published: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    monkeypatch.setattr(room, "out", Console(width=60, force_terminal=True, no_color=True))
    assert run_command(["sql", "SELECT * FROM measurements", "--lake", published.root]) == 0
    out = capsys.readouterr().out
    assert "of 12 columns fit; without" in out
    assert max(len(line) for line in out.splitlines() if "│" in line) <= 70  # with the codes of the colours


def test_statements_follow_each_other_and_a_plan_is_shown(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = ask(
        "sql", "SELECT 7 AS seven; EXPLAIN SELECT count(*) FROM measurements; PIVOT (SELECT 1 AS a) ON a IN (1, 2)"
    )
    assert code == 0
    assert "seven" in out
    assert "READ_PARQUET" in out
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert ask("sql")[0] == 2  # no statement on a standard input that is no terminal


def test_the_tables_as_they_were(ask: Ask, published: Lake) -> None:
    table = Tables(published).find(QUALIFIED, "measurements")
    assert table
    at = datetime.fromtimestamp(table.metadata.snapshots[0].timestamp_ms / 1000, UTC).isoformat()
    code, out, err = ask("sql", "SELECT count(*) FROM measurements", "--as-of", at)
    assert (code, "│           60 │" in out) == (0, True), out
    assert "Note: qualified of measurement-types has no version at" in err
    code, _, err = ask("sql", "SELECT 1", "--as-of", "2020-01-01")
    assert code == 8
    assert err.count("\n") == 1
    assert ask("sql", "SELECT 1", "--as-of", "soon")[0] == 2


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_result_becomes_a_file(ask: Ask, tmp_path: Path) -> None:
    target = tmp_path / "m.parquet"
    code, out, _ = ask("sql", "SELECT * FROM measurements", "--parquet", str(target))
    assert code == 0
    assert f"60 rows in {target}" in out
    assert pq.read_table(target).num_rows == 60
    assert pq.read_schema(target).field("measured_at").type.tz == "UTC"
    target = tmp_path / "a.csv"
    ask(
        "sql",
        "SELECT asset_id, nameplate, TIMESTAMPTZ '2026-11-20 01:00:00+01' AS at FROM assets ORDER BY 1",
        "--csv",
        str(target),
    )
    first, second = csv.DictReader(target.read_text().splitlines())
    assert (first["nameplate"][:17], first["at"], second["nameplate"]) == (
        '{"voltage_v": nul',
        "2026-11-20 00:00:00.000000Z",
        "",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "m.parquet"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("SELECT 1", "--csv", "{lake}/qualified/x.csv"), "inside of the lake"),
        (("SELECT 1", "--csv", "{folder}/there/is/none.csv"), "can't be written"),
        (("SELECT 1", "--csv", "{folder}/a.csv", "--parquet", "{folder}/b"), "not both"),
        (("SELECT 1; SELECT 2", "--csv", "{folder}/one.csv"), "only the first"),
        (("--csv", "{folder}/a.csv"), "give one"),
        (
            (
                "SELECT CAST(CASE WHEN i > 150000 THEN 'x' ELSE '1' END AS INT) FROM range(200000) t(i)",
                "--csv",
                "{folder}/a.csv",
            ),
            "Could not convert",
        ),
    ],
)
def test_a_file_that_can_not_be_made_leaves_no_half_of_it(
    ask: Ask, published: Lake, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    code, _, err = ask("sql", *(word.format(lake=published.root, folder=tmp_path) for word in words))
    assert code == 2
    assert says in err
    assert [path.name for path in tmp_path.iterdir()] == (["one.csv"] if says == "only the first" else [])


# --- what a statement must not do -------------------------------------------------------------------------------------

HOSTILE = (
    "COPY (SELECT 1) TO '{file}'",
    "COPY (SELECT 1) TO '{file}' (FORMAT parquet, USE_TMP_FILE false)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "explain (analyze, format json) COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "EXPLAIN /* */ ANALYZE COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "SELECT 1; COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "PREPARE p AS COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false); EXECUTE p",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{file}'' (USE_TMP_FILE false)')",
    "EXPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/new.db'",
    "ATTACH '{lake}/catalog.db' (TYPE sqlite)",
    "CREATE OR REPLACE VIEW measurements AS SELECT 1",
    "DROP VIEW measurements",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_profiling = 'json'",
    "INSTALL httpfs",
    "LOAD '{folder}/x.duckdb_extension'",
    "CALL enable_logging()",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('{lake}/catalog.db')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '{lake}/catalog.db'",
    "SELECT * FROM parquet_metadata('{folder}/secret.parquet')",
)


def content(path: Path) -> bytes:
    "Of a file; of a catalog its rows, since SQLite moves pages from its log into the file when a connection is closed."
    if path.name != "catalog.db":
        return path.read_bytes()
    with closing(sqlite3.connect(path)) as catalog:
        return "\n".join(catalog.iterdump()).encode()


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path): content(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "catalog.db-" not in path.name
    }


@pytest.mark.parametrize("statement", HOSTILE)
def test_a_statement_reads_tables_and_nothing_else(ask: Ask, published: Lake, tmp_path: Path, statement: str) -> None:
    pq.write_table(duckdb.sql("SELECT 1 AS a").to_arrow_table(), tmp_path / "secret.parquet")
    before, there = everything(Path(published.root)), everything(tmp_path)
    file = files_of(published)[0].uri
    code, out, err = ask("sql", statement.format(file=file, folder=tmp_path, lake=published.root))
    assert code == 2, out
    assert len(err.splitlines()) == 1
    assert everything(Path(published.root)) == before
    assert everything(tmp_path) == there


def test_the_second_lock_holds_without_the_first(
    published: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "refuse_writing", lambda connection, statement: None)
    session = open_session(published)
    for statement in (
        f"COPY (SELECT 1) TO '{tmp_path}/x.csv'",
        f"ATTACH '{tmp_path}/new.db'",
        f"EXPORT DATABASE '{tmp_path}/out'",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "INSTALL httpfs",
    ):
        with pytest.raises(QueryError, match=r"disabled|Cannot change|cannot be|Cannot access"):
            list(session.run(statement))
    assert list(tmp_path.iterdir()) == []
    session.close()


# --- the prompt -------------------------------------------------------------------------------------------------------


def test_the_prompt_survives_what_is_typed(published: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    typed: Iterator[str | type[BaseException]] = iter(
        [
            "", ".tables", ".nope", "SELECT", "  ';' AS semicolon,", "count(*) FROM measurements;", "SELECT nope;", "COPY measurements TO 'x';",
            "SELECT half", KeyboardInterrupt, "SELECT 'whole' AS answer;", ".quit", "SELECT 'never';",
        ]
    )  # fmt: skip
    prompts = []

    def type_next(prompt: str) -> str:
        prompts.append(prompt)
        one = next(typed)
        if isinstance(one, str):
            return one
        raise one

    session = open_session(published)
    converse(session, type_next, 10)
    output = capsys.readouterr()
    assert "│ quarantine_measurements " in output.out
    assert ".tables lists the tables" in output.out
    assert "│ ;         │           60 │" in output.out
    assert "whole" in output.out
    assert "nope" in output.err
    assert "this is COPY" in output.err
    assert prompts.count("        ...> ") == 3
    assert next(typed) == "SELECT 'never';"
    session.close()


def test_a_terminal_keeps_its_history_and_ctrl_c_ends_a_query_only(published: Lake, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "HOME": str(tmp_path), "TERM": "dumb", "COLUMNS": "100"}
    command = [sys.executable, "-m", "smartsensor.run.cli", "sql", "--lake", published.root]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    watch = threading.Timer(120, child.kill)
    watch.start()
    seen = ""

    def wait(text: str) -> None:
        nonlocal seen
        while text not in seen:
            ready, _, _ = select.select([ours], [], [], 100)
            assert ready, seen
            seen += os.read(ours, 65536).decode()
        seen = seen.partition(text)[2]

    try:
        wait("smartsensor> ")
        os.write(ours, b"SELECT max(hash(a.range * b.range)) FROM range(10000000) a, range(10000000) b;\n")
        wait("\n")
        select.select([ours], [], [], 2)  # it computes for days
        child.send_signal(signal.SIGINT)
        wait("smartsensor> ")
        os.write(ours, b"SELECT 40 + 2 AS answer;\n")
        wait("42")
        wait("smartsensor> ")
        os.write(ours, b"\x04")
        assert child.wait() == 0
    finally:
        watch.cancel()
        child.kill()
        child.wait()
        os.close(ours)
    assert "SELECT 40 + 2 AS answer;" in (tmp_path / ".smartsensor_sql_history").read_text()


# --- versions, diff, rollback -----------------------------------------------------------------------------------------


def test_versions_and_their_differences_are_listed(ask: Ask) -> None:
    code, out, _ = ask("versions", "measurements")
    assert code == 0
    rows = [line for line in out.splitlines() if line.startswith("│")]
    assert [("run-1" in rows[0], "newest" in rows[0]), ("run-3" in rows[2], "newest" in rows[2])] == [
        (True, False),
        (True, True),
    ]
    assert "metadata file:///" in out
    assert "│       1 │" in ask("versions", "measurements", "--quarantine")[1]
    code, out, _ = ask("diff", "measurements", "1", "3")
    assert code == 0
    assert "1 keys added, 1 changed, 1 removed" in out
    assert "measurement_id=m000001, value=1.0 → -1.0" in out
    assert "changed: value in 1" in out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("versions", "nope"), 2, "no such resource: nope"),
        (("versions", "events"), 8, "no table events in qualified; there are: assets"),
        (("diff", "measurements", "1", "9"), 8, "no version 9. Can be read: 1 to 3"),
        (("rollback", "measurements", "9"), 8, "no version 9"),
        (("rollback", "measurements", "3"), 2, "is the newest"),
    ],
)
def test_what_is_not_there_is_named(ask: Ask, words: tuple[str, ...], code: int, says: str) -> None:
    got, _, err = ask(*words)
    assert got == code
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_rollback_says_what_it_would_do_and_then_does_it(ask: Ask, tmp_path: Path) -> None:
    lake = begun(tmp_path)
    publish = Publisher(lake)
    publish([measurement(1, 1.0)])
    publish([measurement(1, 2.0), measurement(2)], replaced=files_of(lake))
    before = everything(tmp_path)
    code, out, _ = ask("rollback", "measurements", "1", lake=lake)
    assert code == 0
    assert "0 keys added, 1 changed, 1 removed" in out
    assert "promotes again what landed after version 1 of the ledger (now 2)" in out
    assert "Nothing was changed: --yes does it." in out
    assert everything(tmp_path) == before
    code, out, _ = ask("rollback", "measurements", "1", "--yes", lake=lake)
    assert code == 0
    assert "Published: version 3, 1 rows, the same as version 1." in out
    assert "rollback to 1; newest" in ask("versions", "measurements", lake=lake)[1]
    assert "│   1.0 │" in ask("sql", "SELECT value FROM measurements", lake=lake)[1]
