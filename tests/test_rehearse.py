"""What the rehearsal stands on: policies are enforced as IAM does, steps of workflows run as GitHub's runner runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "rehearse"))

from emulator import ACCOUNT, REGION, Asked, asked_of, holds, like, matches, object_of  # noqa: E402
from workflow import Job, checkout, filled  # noqa: E402

AUTH = "AWS4-HMAC-SHA256 Credential=smartsensor-dev-extract/20261120/eu-central-1/s3/aws4_request, SignedHeaders=host"


def request(method: str, path: str, query: str = "", **headers: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "HTTP_AUTHORIZATION": AUTH, **headers}


@pytest.mark.parametrize(
    ("environ", "action", "resource"),
    [
        (request("GET", "/raw-1/raw/a/part.parquet"), "s3:GetObject", "arn:aws:s3:::raw-1/raw/a/part.parquet"),
        (request("GET", "/raw-1", "list-type=2&prefix=raw/"), "s3:ListBucket", "arn:aws:s3:::raw-1"),
        (request("GET", "/raw-1", "policy"), "s3:GetBucketPolicy", "arn:aws:s3:::raw-1"),
        (request("PUT", "/raw-1", "lifecycle"), "s3:PutLifecycleConfiguration", "arn:aws:s3:::raw-1"),
        (request("PUT", "/raw-1"), "s3:CreateBucket", "arn:aws:s3:::raw-1"),
        (request("DELETE", "/raw-1/raw/x", "uploadId=1"), "s3:AbortMultipartUpload", "arn:aws:s3:::raw-1/raw/x"),
        (request("DELETE", "/raw-1/raw/x"), "s3:DeleteObject", "arn:aws:s3:::raw-1/raw/x"),
    ],
)
def test_what_a_request_needs(environ: dict[str, Any], action: str, resource: str) -> None:
    (asked,) = asked_of(environ, "s3", b"")
    assert (asked.action, asked.resource) == (action, resource)


def test_a_copy_needs_both_objects() -> None:
    environ = request("PUT", "/raw-1/b", HTTP_X_AMZ_COPY_SOURCE="/raw-1/a")
    assert {one.action for one in asked_of(environ, "s3", b"")} == {"s3:PutObject", "s3:GetObject"}


def test_a_removal_of_many_needs_each() -> None:
    body = b"<Delete><Object><Key>a/1</Key></Object><Object><Key>a/2</Key></Object></Delete>"
    asked = asked_of(request("POST", "/raw-1", "delete"), "s3", body)
    assert [one.resource for one in asked] == ["arn:aws:s3:::raw-1/a/1", "arn:aws:s3:::raw-1/a/2"]


@pytest.mark.parametrize(
    ("action", "values", "names"),
    [
        ("GetDatabase", {"Name": "d"}, ["catalog", "database/d"]),
        ("GetDatabases", {}, ["catalog"]),
        ("GetTable", {"DatabaseName": "d", "Name": "t"}, ["catalog", "database/d", "table/d/t"]),
        ("GetTables", {"DatabaseName": "d"}, ["catalog", "database/d", "table/d/*"]),
        ("UpdateTable", {"DatabaseName": "d", "TableInput": {"Name": "t"}}, ["catalog", "database/d", "table/d/t"]),
        ("CreateTableOptimizer", {"DatabaseName": "d", "TableName": "t"}, ["catalog", "database/d", "table/d/t"]),
    ],
)
def test_a_call_of_the_catalog_needs_rights_on_all_above_it(
    action: str, values: dict[str, Any], names: list[str]
) -> None:
    environ = request("POST", "/", HTTP_X_AMZ_TARGET=f"AWSGlue.{action}")
    asked = asked_of(environ, "glue", json.dumps(values).encode())
    arns = [f"arn:aws:glue:{REGION}:{ACCOUNT}:{name}" for name in names]
    assert [(one.action, one.resource) for one in asked] == [(f"glue:{action}", arn) for arn in arns]


CATALOG = """
import sys
from pathlib import Path
import pyarrow as pa
from pyiceberg.catalog import load_catalog
from emulator import REGION, Emulator

with Emulator(Path(sys.argv[1]), "nobody") as aws:
    aws.client("s3").create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": REGION})
    aws.client("glue").create_database(DatabaseInput={"Name": "d"})
    open_table = lambda: load_catalog("glue", type="glue", **{"glue.endpoint": aws.url, "s3.endpoint": aws.url}).load_table("d.t")
    rows = pa.table({"n": [1]})
    load_catalog("glue", type="glue", **{"glue.endpoint": aws.url, "s3.endpoint": aws.url}).create_table(
        "d.t", rows.schema, location="s3://lake/qualified/t"
    )
    first, second = open_table(), open_table()
    first.append(rows)
    second.append(rows)  # from an older version: refused, then committed on top
    glue = aws.client("glue")
    newest = glue.get_table(DatabaseName="d", Name="t")["Table"]
    stale = {name: newest[name] for name in ("Name", "Parameters", "StorageDescriptor")}
    try:
        glue.update_table(DatabaseName="d", TableInput=stale, VersionId="1")
    except glue.exceptions.ConcurrentModificationException:
        print(newest["VersionId"], len(open_table().scan().to_arrow()))
    # a destroy takes the catalog's entries along; the files give the table back, as the runbook says
    glue.delete_database(Name="d")
    glue.create_database(DatabaseInput={"Name": "d"})
    catalog = load_catalog("glue", type="glue", **{"glue.endpoint": aws.url, "s3.endpoint": aws.url})
    print(len(catalog.register_table("d.t", newest["Parameters"]["metadata_location"]).scan().to_arrow()))
"""


def test_the_catalog_refuses_a_commit_from_an_older_version_and_takes_a_table_back(tmp_path: Path) -> None:
    "In a process of its own: the emulator mends moto for good."
    words = [sys.executable, "-c", CATALOG, str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "rehearse")}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["3 2", "2"], done.stderr


def test_wildcards_are_those_of_iam() -> None:
    assert like("arn:aws:s3:::raw/*", "arn:aws:s3:::raw/a/b.parquet")
    assert not like("arn:aws:s3:::raw/*", "arn:aws:s3:::raw")
    assert like("secret:dev/api-??????", "secret:dev/api-Ab3xYz")
    assert not like("secret:dev/api-??????", "secret:dev/api-Ab3xYzz")
    assert not like("a[b]", "ab"), "nothing else is a wildcard"


def test_conditions() -> None:
    once = {"Null": {"s3:if-none-match": "true"}}
    assert holds(once, {})
    assert not holds(once, {"s3:if-none-match": "*"})
    prefix = {"StringLikeIfExists": {"s3:prefix": ["runs/*"]}}
    assert holds(prefix, {})
    assert holds(prefix, {"s3:prefix": "runs/1"})
    assert not holds(prefix, {"s3:prefix": "state/1"})
    with pytest.raises(KeyError):
        holds({"DateLessThan": {"aws:CurrentTime": "2026"}}, {"aws:CurrentTime": "2025"})


def test_a_statement_allows_what_it_names_only() -> None:
    statement = {"Effect": "Allow", "Action": ["s3:Get*"], "Resource": "arn:aws:s3:::raw/raw/*"}
    assert matches(statement, Asked("s3:GetObject", "arn:aws:s3:::raw/raw/a", {}))
    assert not matches(statement, Asked("s3:PutObject", "arn:aws:s3:::raw/raw/a", {}))
    assert not matches(statement, Asked("s3:GetObject", "arn:aws:s3:::raw/state/a", {}))
    other = {"Effect": "Deny", "Action": "s3:PutObject", "NotResource": "arn:aws:s3:::raw/state/*"}
    assert matches(other, Asked("s3:PutObject", "arn:aws:s3:::raw/raw/a", {}))
    assert not matches(other, Asked("s3:PutObject", "arn:aws:s3:::raw/state/a", {}))


@pytest.mark.parametrize("line", ["", "{", "{'metric': 1}", "[1]", "3", "a line"])
def test_a_line_that_is_no_object_is_no_figure(line: str) -> None:
    assert object_of(line) == {}
    assert object_of('{"metric": "rows_landed", "value": 3}')["value"] == 3


def job(folder: Path, *steps: dict[str, Any]) -> Job:
    place = folder / ".github" / "workflows"
    place.mkdir(parents=True)
    named = {"env": {"WHERE": "${{ inputs.environment }}"}, "steps": [{"uses": "actions/checkout"}, *steps]}
    (place / "a.yml").write_text(yaml.safe_dump({"jobs": {"one": named}}))
    values = {"inputs.environment": "dev", "github.sha": "abc"}
    return Job(folder, "a.yml", "one", values, {"PATH": "/usr/bin:/bin"})


def test_steps_run_as_they_stand(tmp_path: Path) -> None:
    made = job(
        tmp_path,
        {"name": "first", "run": 'echo "MACHINE=arn of $WHERE" >> "$GITHUB_ENV"'},
        {"name": "second", "run": 'echo "$MACHINE, $GITHUB_SHA, $MORE"', "env": {"MORE": "${{ github.sha }}"}},
    )
    for step in made.steps:
        made.run(step)
    assert made.outputs == {"first": "", "second": "arn of dev, abc, abc\n"}


@pytest.mark.parametrize("script", ["false\ntrue", "false | cat", "exit 3"])
def test_a_step_that_fails_is_told(tmp_path: Path, script: str) -> None:
    made = job(tmp_path, {"name": "it", "run": f"echo before\n{script}"})
    with pytest.raises(RuntimeError, match=r"'it' ended with [13]:\nbefore"):
        made.run(made.steps[0])


def test_an_expression_without_a_value_is_refused() -> None:
    assert filled("a ${{ github.sha }}", {"github.sha": "1"}) == "a 1"
    with pytest.raises(KeyError):
        filled("${{ secrets.KEY }}", {})


def test_a_checkout_has_what_git_carries(tmp_path: Path) -> None:
    target = checkout(tmp_path)
    assert (target / "Makefile").read_bytes() == (ROOT / "Makefile").read_bytes()
    assert (target / "terraform/environments/prod/main.tf").is_symlink()
    assert not (target / ".git").exists()
    assert not (target / ".venv").exists()
