"""The columns of the raw tables in the Glue catalog, from the package's own declarations: `python tests/rehearse/catalog.py` writes the file that Terraform reads."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import RESOURCES

TABLES = Path(__file__).resolve().parents[2] / "terraform" / "modules" / "glue" / "tables.json"


def glue_type(kind: pa.DataType) -> str:
    "The name of an Arrow type in Glue and Athena."
    if pa.types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        return f"struct<{','.join(f'{field.name}:{glue_type(field.type)}' for field in fields)}>"
    names = {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double", pa.bool_(): "boolean"}
    return "timestamp" if pa.types.is_timestamp(kind) else names[kind]


def tables() -> dict[str, dict[str, Any]]:
    "A table of raw for each resource, by its name; promotion makes the Iceberg tables of qualified and quarantine by itself."
    return {f"raw_{name.replace('-', '_')}": table(resource) for name, resource in RESOURCES.items()}


def table(resource: Resource) -> dict[str, Any]:
    "Its folder and its columns."
    columns = [{"name": field.name, "type": glue_type(field.type)} for field in resource.raw_schema]
    return {"resource": resource.name, "columns": columns}


def written() -> str:
    "The text of the file."
    return json.dumps(tables(), indent=1) + "\n"


if __name__ == "__main__":
    TABLES.write_text(written())
    print(f"{len(tables())} tables in {TABLES}")
