"""The Glue catalog's columns, from the package's own declarations: `python tests/rehearse/catalog.py` writes the file that Terraform reads."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from smartsensor.source.resources import RESOURCES, Resource

TABLES = Path(__file__).resolve().parents[2] / "terraform" / "modules" / "glue" / "tables.json"
WHY = ("_reasons", "_run_id", "_window")  # what quarantine adds to each row


def glue_type(kind: pa.DataType) -> str:
    "The name of an Arrow type in Glue and Athena."
    if pa.types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        return f"struct<{','.join(f'{field.name}:{glue_type(field.type)}' for field in fields)}>"
    names = {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double", pa.bool_(): "boolean"}
    return "timestamp" if pa.types.is_timestamp(kind) else names[kind]


def table(zone: str, resource: Resource) -> dict[str, Any]:
    "One table: its columns, and the date that its folders are named by."
    columns = [{"name": field.name, "type": glue_type(field.type)} for field in resource.raw_schema]
    columns += [{"name": name, "type": "string"} for name in WHY if zone == "quarantine"]
    partition = resource.partition if zone == "qualified" else "ingest_date"
    return {"zone": zone, "resource": resource.name, "partition": partition, "columns": columns}


def tables() -> dict[str, dict[str, Any]]:
    "All tables, by their names: a zone for each resource."
    zones = ("raw", "qualified", "quarantine")
    return {f"{zone}_{name.replace('-', '_')}": table(zone, one) for zone in zones for name, one in RESOURCES.items()}


def written() -> str:
    "The text of the file."
    return json.dumps(tables(), indent=1) + "\n"


if __name__ == "__main__":
    TABLES.write_text(written())
    print(f"{len(tables())} tables in {TABLES}")
