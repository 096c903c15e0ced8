"""The columns of the raw tables in the Glue catalog, from declarations: `python tests/rehearse/catalog.py` writes the file that Terraform reads.

`… catalog.py nbs/source.ipynb raw_tables.json` writes those of a project's source, for the variable project.raw_tables.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from smartsensor.source.resources import Resource
from smartsensor.source.smartsensor_api import RESOURCES, SOURCE
from smartsensor.source.sources import load_source

TABLES = Path(__file__).resolve().parents[2] / "terraform" / "modules" / "glue" / "tables.json"


def glue_type(kind: pa.DataType) -> str:
    "The name of an Arrow type in Glue and Athena."
    if pa.types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        return f"struct<{','.join(f'{field.name}:{glue_type(field.type)}' for field in fields)}>"
    names = {pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double", pa.bool_(): "boolean"}
    return "timestamp" if pa.types.is_timestamp(kind) else names[kind]


def tables(resources: Mapping[str, Resource] = RESOURCES) -> dict[str, dict[str, Any]]:
    "A table of raw for each resource, by its name; promotion makes the Iceberg tables of qualified and quarantine by itself."
    return {f"raw_{name.replace('-', '_')}": table(resource) for name, resource in resources.items()}


def table(resource: Resource) -> dict[str, Any]:
    "Its folder and its columns."
    columns = [{"name": field.name, "type": glue_type(field.type)} for field in resource.raw_schema]
    return {"resource": resource.name, "columns": columns}


def written(resources: Mapping[str, Resource] = RESOURCES) -> str:
    "The text of the file."
    return json.dumps(tables(resources), indent=1) + "\n"


if __name__ == "__main__":
    source, path = (load_source(sys.argv[1]), Path(sys.argv[2])) if len(sys.argv) == 3 else (SOURCE, TABLES)
    path.write_text(written(source.resources))
    print(f"{len(source.resources)} tables in {path}")
