"""Commits whose answers are lost."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Transaction

from smartsensor.lake.catalogs import QUALIFIED, table_key
from smartsensor.lake.commits import commit
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import Conflict
from smartsensor.lake.tables import Tables, Version, versions

SCHEMA = pa.schema([("sensor_id", pa.string())])


def staged(lake: Lake, name: str) -> str:
    path = Path(lake.uri(f"{table_key(QUALIFIED, 'sensors')}/data/{name}.parquet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"sensor_id": [name]}), path)
    return str(path)


@pytest.mark.parametrize("answer", [CommitFailedException("sent twice"), OSError("connection lost")])
def test_a_commit_that_landed_and_was_answered_by_an_error_has_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Exception
) -> None:
    lake = Lake(str(tmp_path))
    table = Tables(lake).ensure(QUALIFIED, "sensors", SCHEMA, None)
    land, answers = SqlCatalog.commit_table, [answer]

    def lost(*arguments: Any, **more: Any) -> Any:
        output = land(*arguments, **more)
        if answers:
            raise answers.pop()
        return output

    monkeypatch.setattr(SqlCatalog, "commit_table", lost)
    assert commit(table, Version(1, run="r", attempt="a"), [staged(lake, "one")]).number == 1
    found = Tables(lake).find(QUALIFIED, "sensors")
    assert found is not None
    assert found.scan().to_arrow()["sensor_id"].to_pylist() == ["one"], "its manifests are there"


def test_a_commit_that_was_planned_on_an_older_version_does_not_land(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    tables = Tables(lake)
    ours, theirs = (tables.ensure(QUALIFIED, "sensors", SCHEMA, None) for _ in range(2))
    commit(theirs, Version(1, run="r", attempt="a"), [staged(lake, "one")])
    with pytest.raises(Conflict, match="changed by another run"):
        commit(ours, Version(1, run="r", attempt="b"), [staged(lake, "two")])
    found = tables.find(QUALIFIED, "sensors")
    assert found is not None
    assert [one.attempt for one in versions(found)] == ["a"]


def test_a_declaration_that_has_not_changed_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    "pyiceberg copies all snapshots several times to find that nothing changes: a second and more, after some hundred."
    nested = pa.field("nameplate", pa.struct([("model", pa.string())]))
    schema = pa.schema([*SCHEMA, pa.field("at", pa.timestamp("us", "UTC")), nested])
    tables, changes = Tables(Lake(str(tmp_path))), list[str]()
    tables.ensure(QUALIFIED, "sensors", schema, None)
    update = Transaction.update_schema
    monkeypatch.setattr(
        Transaction, "update_schema", lambda *words, **more: changes.append("") or update(*words, **more)
    )
    tables.ensure(QUALIFIED, "sensors", schema, None)
    assert not changes
    table = tables.ensure(QUALIFIED, "sensors", schema.append(pa.field("unit", pa.string())), None)
    assert (len(changes), table.schema().find_field("unit").name) == (1, "unit")
