"""Terraform as it stands: formatted, valid, tested module by module, and planned in both environments without an account."""

import json
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "rehearse"))

import catalog  # noqa: E402, I001
import modules  # noqa: E402
from terraform import MISSING, Terraform, environment, workplace  # noqa: E402

MODULES = ("s3", "iam", "glue", "stepfunctions", "eventbridge", "monitoring")
ENVIRONMENTS = ("dev", "prod")
OFFLINE = """terraform {
  backend "local" {}
}

provider "aws" {
  access_key                  = "nobody"
  secret_key                  = "nothing"
  allowed_account_ids         = null
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A copy of terraform/ where every folder is initialised, with one copy of the provider for all."
    if shutil.which("terraform") is None:
        pytest.fail(MISSING)
    folder = tmp_path_factory.mktemp("terraform")
    copy = workplace(folder)
    cache = folder / "plugins"
    cache.mkdir()
    for name in ENVIRONMENTS:
        (copy / "environments" / name / "offline_override.tf").write_text(OFFLINE)
    for one in [copy / "environments" / name for name in ENVIRONMENTS] + [copy / "modules" / name for name in MODULES]:
        at(one, cache)("init", "-input=false")
    return copy


def at(folder: Path, cache: Path | None = None) -> Terraform:
    root = next(parent for parent in folder.parents if parent.name == "terraform").parent
    return Terraform(folder, environment(root) | {"TF_PLUGIN_CACHE_DIR": str(cache or root / "plugins")})


@pytest.fixture(scope="module")
def plans(place: Path) -> dict[str, dict[str, Any]]:
    "The plan of each environment, from nothing and without credentials."

    def plan(name: str) -> dict[str, Any]:
        terraform = at(place / "environments" / name)
        terraform("plan", "-input=false", "-refresh=false", "-out=plan")
        found: dict[str, Any] = json.loads(terraform("show", "-json", "plan"))
        return found

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(ENVIRONMENTS, pool.map(plan, ENVIRONMENTS), strict=True))


def planned(plan: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    "What a plan makes of one kind, by address."
    return {
        one["address"]: one["change"]["after"]
        for one in plan["resource_changes"]
        if one["type"] == kind and one["mode"] == "managed"
    }


@pytest.mark.slow
def test_formatted(place: Path) -> None:
    Terraform(ROOT / "terraform", environment(place.parent))("fmt", "-check", "-recursive", "-diff")


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_valid(place: Path, name: str) -> None:
    assert json.loads(at(place / "environments" / name)("validate", "-json"))["valid"]


@pytest.mark.slow
def test_modules(place: Path) -> None:
    def tested(name: str) -> str:
        return at(place / "modules" / name)("test")

    with ThreadPoolExecutor(2) as pool:
        answers = dict(zip(MODULES, pool.map(tested, MODULES), strict=True))
    assert all("0 failed" in text and not text.count("Success! 0 passed") for text in answers.values()), answers


@pytest.mark.slow
def test_plans_differ_only_where_the_environments_do(plans: dict[str, dict[str, Any]]) -> None:
    def kinds(name: str) -> set[str]:
        return {one["type"] for one in plans[name]["resource_changes"]}

    assert kinds("dev") == kinds("prod")
    buckets = {name: planned(plans[name], "aws_s3_bucket") for name in ENVIRONMENTS}
    assert len(buckets["dev"]) == len(buckets["prod"]) == 5
    assert not any(bucket["force_destroy"] for bucket in buckets["prod"].values())
    assert {one["state"] for one in planned(plans["prod"], "aws_scheduler_schedule").values()} == {"ENABLED"}
    assert {one["state"] for one in planned(plans["dev"], "aws_scheduler_schedule").values()} == {"DISABLED"}


@pytest.mark.slow
def test_every_policy_that_is_planned_is_bounded(plans: dict[str, dict[str, Any]]) -> None:
    roles = {
        one["address"]: one["change"] for one in plans["prod"]["resource_changes"] if one["type"] == "aws_iam_role"
    }
    unbounded = [name for name, change in roles.items() if not change["after_unknown"].get("permissions_boundary")]
    assert len(roles) == 7
    assert unbounded == ['module.iam.aws_iam_role.deploy["github"]']  # it can't change itself, nor lift a boundary
    for address, policy in planned(plans["prod"], "aws_iam_role_policy").items():
        for statement in json.loads(policy["policy"])["Statement"]:
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            assert "*" not in actions, address
            assert not any(action.startswith("iam:Attach") for action in actions), address


def test_catalog_is_what_the_package_declares() -> None:
    assert catalog.TABLES.read_text() == catalog.written(), "make it anew: .venv/bin/python tests/rehearse/catalog.py"


def test_the_saved_query_runs_over_the_declared_columns() -> None:
    "On DuckDB, which has the functions that the query uses under Athena's names."
    import duckdb

    from smartsensor.source.smartsensor_api import MEASUREMENTS

    now = datetime.now(UTC).replace(minute=30)
    row = dict.fromkeys(MEASUREMENTS.raw_schema.names) | {"plant_id": "p", "sensor_id": "s", "measurement_type_id": 1}
    rows = [
        row | {"measured_at": now - timedelta(hours=1, minutes=minute), "value": value}
        for minute, value in ((0, 1.0), (9, 3.0))
    ]
    measurements = pa.Table.from_pylist(
        [*rows, row | {"measured_at": now - timedelta(days=8)}], MEASUREMENTS.raw_schema
    )
    with duckdb.connect() as connection:
        connection.register("measurements", measurements)
        connection.execute("SET TimeZone = 'UTC'")
        query = (ROOT / "terraform" / "modules" / "glue" / "hours.sql").read_text()
        (found,) = connection.execute(query).to_arrow_table().to_pylist()
    hour = found.pop("hour")
    assert (hour.timestamp(), found) == (
        (now - timedelta(hours=1)).replace(minute=0, second=0, microsecond=0).timestamp(),
        {
            "plant_id": "p",
            "measurement_type_id": 1,
            "readings": 2,
            "sensors": 1,
            "lowest": 1.0,
            "mean": 2.0,
            "highest": 3.0,
        },
    )


def test_environments_are_the_same_code() -> None:
    dev, prod = (ROOT / "terraform" / "environments" / name for name in ENVIRONMENTS)
    for file in (
        "main.tf",
        "variables.tf",
        "outputs.tf",
        "providers.tf",
        "terraform.tf",
        "backend.tf",
        ".terraform.lock.hcl",
    ):
        assert (dev / file).read_bytes() == (prod / file).read_bytes(), file
    assert (dev / "backend.tf").resolve() == ROOT / "terraform" / "backend.tf"


@pytest.mark.parametrize("name", MODULES)
def test_readme_of_a_module_says_what_it_takes_and_gives(name: str) -> None:
    readme = ROOT / "terraform" / "modules" / name / "README.md"
    assert readme.read_text() == modules.written(name), "make it anew: .venv/bin/python tests/rehearse/modules.py"


def test_every_module_has_the_files_that_readers_look_for() -> None:
    for name in MODULES:
        folder = ROOT / "terraform" / "modules" / name
        files = {path.name for path in folder.iterdir() if path.name != ".terraform"}
        assert {"main.tf", "variables.tf", "outputs.tf", "terraform.tf", f"{name}.tftest.hcl", "README.md"} <= files, (
            name
        )
        text = "".join(path.read_text() for path in folder.glob("*.tf"))
        variables = (folder / "variables.tf").read_text()
        assert variables.count('variable "') == len(re.findall(r"^  type ", variables, re.M)), (
            f"{name}: a variable without a type"
        )
        assert not re.search(r"\bany\b", "".join(re.findall(r"type\s*=.*", variables))), f"{name}: any is no type"
        if name != "iam":
            assert "aws_iam_policy_document" not in text, f"{name}: only iam writes policies"


def test_metrics_are_those_that_jobs_print() -> None:
    from smartsensor.run import glue

    source = Path(str(glue.__file__)).read_text()
    monitoring = (ROOT / "terraform" / "modules" / "monitoring" / "main.tf").read_text()
    names = [
        line.split("=")[0].strip()
        for line in monitoring.split("metrics = {")[1].split("}")[0].splitlines()
        if "=" in line
    ]
    assert names
    assert [name for name in names if f'"{name}"' not in source] == []


def test_no_real_account_is_named() -> None:
    found = "".join(path.read_text() for path in (ROOT / "terraform").rglob("*.tfvars"))
    assert "123456789012" in found


@pytest.mark.slow
def test_state_machine_is_valid_asl(place: Path, tmp_path: Path) -> None:
    "The template, rendered for lanes of all shapes, against the schema of Amazon States Language that cfn-lint brings."
    import cfnlint.data.schemas.other.step_functions as language
    import jsonschema

    template = ROOT / "terraform" / "modules" / "stepfunctions" / "pipeline.asl.json"
    jobs = ("check", "extract", "promote")
    values = {
        "job_names": {job: f"x-{job}" for job in jobs},
        "timeouts": dict.fromkeys(jobs, 600),
        "state_bucket": "b-state-1",
        "topic_arn": "arn:aws:sns:eu-central-1:123456789012:x-alarms",
        "name": "x",
        "lanes": {"master": ["plants", "measurement-types"], "measurements": ["measurements"], "events": ["events"]},
        "lanes_at_once": 2,
    }
    (tmp_path / "main.tf.json").write_text(
        json.dumps(
            {
                "locals": {"values": values},
                "output": {"definition": {"value": f'${{templatefile("{template}", local.values)}}'}},
            }
        )
    )
    terraform = Terraform(tmp_path, environment(place.parent))
    terraform("apply", "-auto-approve")
    definition = json.loads(terraform("output", "-raw", "definition"))
    schema = json.loads((Path(str(language.__file__)).parent / "statemachine.json").read_text())
    jsonschema.Draft7Validator(schema).validate(definition)
    assert [lane["resources"] for lane in definition["States"]["Find due lanes"]["Parameters"]["all"]] == [
        "events",
        "plants,measurement-types",
        "measurements",
    ]
