"""The whole deployment on this machine: `make rehearse`.

Terraform builds environments/dev against an emulator; the deployment workflow's own shell steps build a release, plan, upload,
apply and start a first run, as their role; then the schedule starts the state machine. Each Glue job runs for real by
spark-submit against the simulated API, with its role's policies enforced; its figures become metrics, and alarms ring. Then
faults. Then a plan that must be empty, and a destroy that must leave nothing. Exits with 0 when all was as the runbook says.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent))

from emulator import ACCOUNT, REGION, Emulator, Policies, keys_of, listed  # noqa: I001
from terraform import ROOT, Terraform, environment
from workflow import Job, checkout

NAME = "smartsensor-dev"
out = Console(width=None if sys.stdout.isatty() else 150, highlight=False)

# What is granted, and not used here, and why it is granted all the same.
UNUSED = {
    "glue:GetJobRuns": "Step Functions asks for it where a run is looked for after a fault",
    "glue:BatchStopJobRun": "stops a job whose execution is stopped",
    "kms:": "S3, SNS, SQS and Secrets Manager ask in the caller's name; the emulator encrypts nothing",
    "logs:": "log delivery of Step Functions, which the emulator does by itself; Glue's own stream",
    "xray:": "tracing, off by default",
    "cloudwatch:PutMetricData": "Glue's own metrics",
    "s3:AbortMultipartUpload": "a large file whose upload breaks off",
    "s3:DeleteObject": "progress of large windows, files of expired snapshots and old pages: only where there are some",
    "s3:GetObject": "Glue fetches with it",
    "sns:Publish": "tells people of a failure",
    "sqs:SendMessage": "a start that could not be delivered",
    "states:StartExecution": "used by the schedule",
}


@dataclass
class Rehearsal:
    "What is at hand while it runs."

    aws: Emulator
    terraform: Terraform
    outputs: dict[str, Any]
    failed: list[str] = field(default_factory=list)

    def say(self, what: str, right: bool, more: str = "") -> None:
        "One line of the log; what is not right makes the rehearsal fail."
        out.print(
            f"{'ok  ' if right else 'BAD '} {what}{'  ' + more if more else ''}",
            style=None if right else "red",
            markup=False,
        )
        if not right:
            self.failed.append(what)

    def start(self) -> str:
        "Start the state machine as the schedule would: its target, its input, its role."
        schedules = self.aws.client("scheduler")
        one = schedules.get_schedule(Name="daily", GroupName=NAME)["Target"]
        import boto3

        keys = keys_of(one["RoleArn"].rpartition("/")[2])
        states = boto3.client(
            "stepfunctions", endpoint_url=self.aws.url, region_name=REGION,
            aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key="emulated",
        )  # fmt: skip
        return str(states.start_execution(stateMachineArn=one["Arn"], input=one["Input"])["executionArn"])

    def wait(self, execution: str, limit_s: float = 900) -> dict[str, Any]:
        "How it ended."
        states, until = self.aws.client("stepfunctions"), time.monotonic() + limit_s
        while time.monotonic() < until:
            found: dict[str, Any] = states.describe_execution(executionArn=execution)
            if found["status"] != "RUNNING":
                self.count(found)
                return found
            time.sleep(0.5)
        raise TimeoutError(f"{execution} still runs after {limit_s:g} s")

    def count(self, ended: dict[str, Any]) -> None:
        "What CloudWatch is told of an execution's end."
        names = {"SUCCEEDED": "ExecutionsSucceeded", "FAILED": "ExecutionsFailed", "ABORTED": "ExecutionsAborted"}
        self.aws.measure("AWS/States", names[ended["status"]], 1, {"StateMachineArn": ended["stateMachineArn"]})

    def run(self) -> tuple[dict[str, Any], list[str], list[dict[str, Any]]]:
        "One execution: how it ended, the jobs that ran, what was told."
        jobs, messages = len(self.aws.runs), len(self.aws.published)
        ended = self.wait(self.start())
        for one in self.aws.runs[jobs:]:
            if one["state"] != "SUCCEEDED":
                out.print(
                    f"     {one['job']} {one['lane']} {one['state']}: {one['message']}", style="dim", markup=False
                )
        return (
            ended,
            [f"{one['job'].removeprefix(NAME + '-')} {one['lane']}".strip() for one in self.aws.runs[jobs:]],
            self.aws.published[messages:],
        )

    def history(self, execution: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self.aws.client("stepfunctions").get_execution_history(
            executionArn=execution, maxResults=1000
        )["events"]
        return events


# --- tables -------------------------------------------------------------------------------------------------------


def history_table(events: list[dict[str, Any]]) -> Table:
    "The state machine's history: what began when, in which lane, and how each task ended."
    table = Table(title="History of the state machine", title_justify="left")
    for name, side in (("seconds", "right"), ("lane", "left"), ("state", "left"), ("what", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    before = {event["id"]: event["previousEventId"] for event in events}
    entered = {
        event["id"]: event["stateEnteredEventDetails"] for event in events if "stateEnteredEventDetails" in event
    }

    def within(at: int) -> dict[str, Any]:
        "The state that an event belongs to: the last one that was entered on its way."
        while at not in entered:
            at = before[at]
        return entered[at]

    for event in events:
        kind = event["type"]
        ended = kind in ("TaskSucceeded", "TaskFailed", "TaskTimedOut", "ExecutionSucceeded", "ExecutionFailed")
        if event["id"] in entered or ended:
            state = within(event["id"]) if kind.startswith("Task") or event["id"] in entered else {}
            given = json.loads(state.get("input") or "{}")
            failed = event.get("taskFailedEventDetails", event.get("executionFailedEventDetails", {})).get("error", "")
            table.add_row(
                f"{(event['timestamp'] - events[0]['timestamp']).total_seconds():.1f}",
                given.get("lane", "") if isinstance(given, dict) else "",
                state.get("name", ""),
                "" if event["id"] in entered else f"{kind} {failed}".strip(),
            )
    return table


def reconciliation_rows(lake: Any, run: str) -> list[dict[str, Any]]:
    "A row for each resource, from the records of all lanes."
    from smartsensor.run.pipeline import resource_rows

    records: dict[str, dict[str, list[Any]]] = {"extract": {"totals": []}, "promote": {"promotions": []}}
    for key in lake.list(f"runs/{run}"):
        job = Path(key).stem.split("-")[0]
        if key.endswith(".json") and job in records:
            for name, rows in records[job].items():
                rows += lake.json(key)[name]
    return resource_rows(records["extract"], records["promote"])


def reconciliation_table(run: str, rows: list[dict[str, Any]]) -> Table:
    "The same table as after `make run`."
    from smartsensor.run.commands import reconciliation
    from smartsensor.run.pipeline import Outcome

    return reconciliation(Outcome(run, "published", 0, "", False, False, {}, {}, rows, {}))


def uneven(table_rows: list[dict[str, Any]]) -> list[str]:
    "Resources whose counts do not add up."
    return [
        row["resource"]
        for row in table_rows
        if not row["declared"]
        == row["received"]
        == row["raw"]
        == row["new"] + row["updated"] + row["already"] + row["quarantined"]
    ]


def unused(policies: Policies) -> dict[str, list[str]]:
    "What each role is granted and has not used; the deployment's is granted by wildcards, the optimizers tend nothing here: left out."
    found = {}
    for role, statements in sorted(policies.roles().items()):
        if not role.endswith(("-deploy", "-optimizer")):
            granted = {action for one in statements if one["Effect"] == "Allow" for action in listed(one["Action"])}
            found[role] = sorted(granted - {action for who, action in policies.used if who == role})
    return found


def reason(action: str) -> str:
    "Why an action is granted that was not used."
    return next((why for start, why in UNUSED.items() if action.startswith(start)), "")


def iam_table(policies: Policies) -> Table:
    "What roles are granted, against what they used."
    table = Table(title="Actions granted and used", title_justify="left", show_lines=True)
    for name in ("role", "used", "granted and not used: why"):
        table.add_column(name, overflow="fold")
    for role, rest in {**unused(policies), f"{NAME}-deploy": list[str]()}.items():
        used = {action: number for (who, action), number in policies.used.items() if who == role}
        reasons: dict[str, list[str]] = {}
        for action in rest:
            reasons.setdefault(reason(action), []).append(action)
        table.add_row(
            role.removeprefix(f"{NAME}-"),
            (", " if role.endswith("-deploy") else "\n").join(
                f"{action} {number}" for action, number in sorted(used.items())
            ),
            "\n".join(f"{', '.join(actions)}: {why}" for why, actions in reasons.items()),
        )
    return table


# --- acts ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    out.print(f"     {what}: {time.monotonic() - began:.0f} s", style="dim")


def put_secret(act: Rehearsal, client_id: str, client_secret: str) -> None:
    "As the runbook has a person do it."
    text = json.dumps({"client_id": client_id, "client_secret": client_secret})
    act.aws.client("secretsmanager").put_secret_value(SecretId=act.outputs["secret_arn"], SecretString=text)


@contextlib.contextmanager
def reader(act: Rehearsal) -> Iterator[Any]:
    "The catalog as pyiceberg opens it for somebody who has the readers' policy, attached as the runbook has a person do it."
    from pyiceberg.catalog import load_catalog

    iam, arn = act.aws.client("iam"), act.outputs["reader_policy_arn"]
    iam.create_role(RoleName="analyst", AssumeRolePolicyDocument="{}")
    iam.attach_role_policy(RoleName="analyst", PolicyArn=arn)
    keys = keys_of("analyst")
    given = {
        "access-key-id": keys["AWS_ACCESS_KEY_ID"],
        "secret-access-key": keys["AWS_SECRET_ACCESS_KEY"],
        "region": REGION,
        "endpoint": act.aws.url,
    }
    yield load_catalog(
        "glue", type="glue", **{f"{service}.{name}": one for service in ("glue", "s3") for name, one in given.items()}
    )
    iam.detach_role_policy(RoleName="analyst", PolicyArn=arn)
    iam.delete_role(RoleName="analyst")


def tables_hold(act: Rehearsal, rows: list[dict[str, Any]]) -> None:
    "A reader finds in the tables what the first run says that it promoted, and can change nothing."
    wanted = {row["resource"].replace("-", "_"): row["new"] for row in rows}
    wanted |= {f"quarantine_{row['resource'].replace('-', '_')}": row["quarantined"] for row in rows}
    database = act.outputs["database_name"]
    with reader(act) as catalog:
        found = {
            name: len(catalog.load_table((database, name)).scan().to_arrow())
            for _, name in catalog.list_tables(database)
        }
        act.say(
            "the Iceberg tables hold what the run promoted",
            bool(found)
            and {name: count for name, count in found.items() if count}
            == {name: count for name, count in wanted.items() if count},
            ", ".join(f"{name} {count}" for name, count in sorted(found.items())),
        )
        try:
            catalog.drop_table((database, "measurements"))
            refused = False
        except catalog.glue.exceptions.ClientError as error:
            refused = error.response["Error"]["Code"] == "AccessDeniedException"
        act.aws.policies.denied = [one for one in act.aws.policies.denied if one[0] != "analyst"]
        act.say("... and a reader can't drop one", refused)


def optimizers(act: Rehearsal) -> None:
    "The workflow's last step has them on for each table that is there."
    glue, database = act.aws.client("glue"), act.outputs["database_name"]
    tables = [one["Name"] for one in glue.get_tables(DatabaseName=database)["TableList"] if is_iceberg(one)]
    kinds = ("compaction", "retention", "orphan_file_deletion")
    on = [
        glue.get_table_optimizer(CatalogId=ACCOUNT, DatabaseName=database, TableName=table, Type=kind)["TableOptimizer"]
        for table in tables
        for kind in kinds
    ]
    right = all(one["configuration"]["enabled"] for one in on) and len(on) == len(kinds) * len(tables) > 0
    act.say("AWS tends each Iceberg table", right, f"{len(on)} optimizers")
    act.terraform.env["TF_VAR_optimized_tables"] = json.dumps(tables)  # as the workflow's next plan would have them


def is_iceberg(table: dict[str, Any]) -> bool:
    return table.get("Parameters", {}).get("table_type") == "ICEBERG"


def good_run(act: Rehearsal, api: Any) -> None:
    "What the workflow's smoke test has run: its history, rows, tables, notebooks, metrics."
    from smartsensor.lake.lake import Lake

    states, jobs = act.aws.client("stepfunctions"), list(act.aws.runs)
    execution = states.list_executions(stateMachineArn=act.outputs["state_machine_arn"])["executions"][-1]
    ended = states.describe_execution(executionArn=execution["executionArn"])
    act.count(ended)
    act.say("the first run ends SUCCEEDED", ended["status"] == "SUCCEEDED", f"{len(jobs)} jobs")
    out.print(history_table(act.history(ended["executionArn"])))
    lake, run = Lake(act.outputs["lake"]), json.loads(ended["output"])["run_id"]
    rows = reconciliation_rows(lake, run)
    out.print(reconciliation_table(run, rows))
    act.say("all rows are accounted for", bool(rows) and not uneven(rows), ", ".join(uneven(rows)))
    tables_hold(act, rows)
    optimizers(act)
    kept = [key for key in lake.list(f"runs/{run}") if key.endswith(".ipynb")]
    act.say("each job's executed notebook is kept", len(kept) == len(jobs), ", ".join(Path(key).name for key in kept))
    filters = act.aws.client("logs").describe_metric_filters(logGroupName=f"/smartsensor/{NAME}/jobs/output")
    wanted = {made["metricName"] for one in filters["metricFilters"] for made in one["metricTransformations"]}
    have = {
        one["MetricName"]
        for one in act.aws.client("cloudwatch").list_metrics(Namespace=f"Smartsensor/{NAME}")["Metrics"]
    }
    act.say("each metric has arrived", wanted == have, ", ".join(sorted(have)))
    act.say("no alarm rings", not act.aws.ringing(), ", ".join(act.aws.ringing()))


def second_run(act: Rehearsal, api: Any) -> None:
    "The schedule starts a run: what was published is there already."
    ended, jobs, _ = act.run()
    act.say("the scheduled run ends SUCCEEDED", ended["status"] == "SUCCEEDED", ", ".join(jobs))
    if ended["status"] == "SUCCEEDED":
        from smartsensor.lake.lake import Lake

        run = json.loads(ended["output"])["run_id"]
        rows = reconciliation_rows(Lake(act.outputs["lake"]), run)
        out.print(reconciliation_table(run, rows))
        act.say("all its rows are accounted for", bool(rows) and not uneven(rows), ", ".join(uneven(rows)))


def two_at_once(act: Rehearsal, api: Any) -> None:
    before = len(act.aws.runs)
    first, second = act.start(), act.start()
    ended = [act.wait(one) for one in (first, second)]
    outcomes = sorted(json.loads(one.get("output") or '{"outcome": "failed"}')["outcome"] for one in ended)
    jobs = len(act.aws.runs) - before
    act.say(
        "two at once: one runs, the other is skipped", outcomes == ["skipped", "succeeded"], f"{outcomes}, {jobs} jobs"
    )


def wrong_credentials(act: Rehearsal, api: Any) -> None:
    put_secret(act, api.client_id, "nobody-gave-us-this")
    ended, jobs, messages = act.run()
    put_secret(act, api.client_id, api.client_secret)
    text = " ".join(one["message"] for one in messages)
    act.say(
        "wrong credentials: FAILED, only the check ran",
        ended["status"] == "FAILED" and jobs == ["check"],
        ", ".join(jobs),
    )
    act.say(
        "... the alarm of failed runs rings", f"{NAME}-run-failed" in act.aws.ringing(), ", ".join(act.aws.ringing())
    )
    act.say(
        "... people are told what to mend, and nothing of the secret",
        "Exit code 4" in text and "nobody-gave-us-this" not in text,
        text[:230],
    )


def killed(act: Rehearsal, api: Any) -> None:
    def kill(name: str, process: "subprocess.Popen[str]") -> None:
        if name.endswith("-extract") and not struck:
            struck.append(name)
            time.sleep(4)
            os.killpg(process.pid, signal.SIGKILL)

    struck: list[str] = []
    act.aws.before_job = kill
    ended, _, messages = act.run()
    act.aws.before_job = None
    failed = [one for one in messages if "extract" in one["subject"]]
    act.say(
        "a job is killed: FAILED, other lanes go on, people are told which",
        ended["status"] == "FAILED" and bool(failed),
        failed[0]["subject"] if failed else "",
    )
    ended, jobs, _ = act.run()
    act.say("... and the next run makes good", ended["status"] == "SUCCEEDED", ", ".join(jobs))


def gate_holds(act: Rehearsal, api: Any) -> None:
    s3, bucket = act.aws.client("s3"), act.outputs["bucket_names"]["artifacts"]
    key = f"releases/{act.terraform.env['TF_VAR_release']}/expectations/plants.raw.json"
    before = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    suite = json.loads(before)
    suite["expectations"].append(
        {
            "type": "expect_table_row_count_to_be_between",
            "kwargs": {"min_value": 10**9},
            "meta": {"name": "many-plants", "why": "Played by the rehearsal: no fleet has so many."},
            "severity": "critical",
        }
    )
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(suite).encode())
    ended, _, messages = act.run()
    s3.put_object(Bucket=bucket, Key=key, Body=before)
    text = " ".join(one["message"] for one in messages)
    act.say(
        "the gate holds: FAILED with exit code 6", ended["status"] == "FAILED" and "Exit code 6" in text, text[:230]
    )
    act.say("... the alarm of the gate rings", f"{NAME}-gate-held" in act.aws.ringing(), ", ".join(act.aws.ringing()))


def api_down(act: Rehearsal, api: Any) -> None:
    os.kill(api.pid, signal.SIGTERM)
    time.sleep(1)
    ended, jobs, messages = act.run()
    text = " ".join(one["message"] for one in messages)
    act.say(
        "the API is down: FAILED as retryable, only the check ran",
        ended["status"] == "FAILED" and jobs == ["check"] and "Exit code 3" in text,
        text[:230],
    )


def nothing_left(aws: Emulator) -> list[str]:
    "What a destroy should have taken away."
    buckets = [one["Name"] for one in aws.client("s3").list_buckets()["Buckets"]]
    left = [name for name in buckets if not name.startswith("smartsensor-terraform-")]  # Terraform's own state stays
    left += [one["Name"] for one in aws.client("glue").get_jobs()["Jobs"]]
    left += [one["Name"] for one in aws.client("glue").get_databases()["DatabaseList"]]
    left += [one["Name"] for one in aws.client("athena").list_work_groups()["WorkGroups"] if one["Name"] != "primary"]
    left += [one["PolicyName"] for one in aws.client("iam").list_policies(Scope="Local")["Policies"]]
    left += [one["RoleName"] for one in aws.client("iam").list_roles()["Roles"] if one["RoleName"].startswith(NAME)]
    left += [one["name"] for one in aws.client("stepfunctions").list_state_machines()["stateMachines"]]
    left += [one["Name"] for one in aws.client("scheduler").list_schedules()["Schedules"]]
    left += [one["TopicArn"] for one in aws.client("sns").list_topics()["Topics"]]
    left += [one["logGroupName"] for one in aws.client("logs").describe_log_groups()["logGroups"]]
    return left + [one["AlarmName"] for one in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]]


FAULTS: dict[str, Callable[[Rehearsal, Any], None]] = {
    "schedule": second_run,
    "twice": two_at_once,
    "credentials": wrong_credentials,
    "killed": killed,
    "gate": gate_holds,
    "down": api_down,
}


def build(aws: Emulator, folder: Path, api: Any) -> Rehearsal:
    "The first deployment, as the runbook has a person do it: state bucket, apply, credentials."
    place = checkout(folder) / "terraform" / "environments" / "dev"
    given = {"api": {"url": api.base_url, "rate_per_s": 180, "history_days": 1}}
    (place / "rehearsal.auto.tfvars.json").write_text(json.dumps(given))
    where = {"LocationConstraint": REGION}
    aws.client("s3").create_bucket(Bucket=f"smartsensor-terraform-{ACCOUNT}", CreateBucketConfiguration=where)
    env = environment(folder) | keys_of("person") | {"AWS_ENDPOINT_URL": aws.url, "AWS_MAX_ATTEMPTS": "3"}
    env |= {"TF_CLI_ARGS_apply": "-parallelism=30", "TF_CLI_ARGS_destroy": "-parallelism=30", "TF_VAR_release": "first"}
    terraform = Terraform(place, env)
    with timed("terraform init and apply, by a person"):
        terraform("init", "-input=false", "-backend-config=backend.hcl")
        terraform("apply", "-auto-approve", "-input=false")
    outputs = {name: one["value"] for name, one in json.loads(terraform("output", "-json")).items()}
    act = Rehearsal(aws, terraform, outputs)
    put_secret(act, api.client_id, api.client_secret)
    return act


def command_line(folder: Path) -> Path:
    "The folder of the program aws, which GitHub's runners have: installed beside, since it pins another boto3 than ours."
    place = folder / "aws"
    venv.create(place, with_pip=True)
    pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "awscli"]
    subprocess.run(pip, check=True)
    return place / "bin"


def deploy(act: Rehearsal, folder: Path) -> None:
    "The deployment workflow: its shell steps as they stand, by its role; checkout, OIDC and artifacts are done already."
    release = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    values = {
        "inputs.environment": "dev",
        "github.sha": release or "rehearsal",
        "github.run_id": "1",
        "github.run_attempt": "1",
    }
    place = folder / "checkout"
    runner = {**act.terraform.env, **keys_of(f"{NAME}-deploy"), "PATH": f"{command_line(folder)}:{os.environ['PATH']}"}
    runner.pop("TF_VAR_release")
    for file, name in (("deploy.yml", "build"), ("deploy-environment.yml", "deploy")):
        job, final_message = Job(place, file, name, values, dict(runner)), ""
        try:
            for step in job.steps:
                with timed(f"{file}: {step['name']}"):
                    job.run(step)
        except RuntimeError as error:
            final_message = f"{error}\n{[one for one in act.aws.runs if one['state'] != 'SUCCEEDED']}"
        act.say(f"{file}: all {len(job.steps)} shell steps of {name} end well", not final_message, final_message)
    act.terraform.env["TF_VAR_release"] = values["github.sha"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Rehearse the deployment on this machine.")
    parser.add_argument("--faults", nargs="*", default=list(FAULTS), choices=list(FAULTS), help="default all")
    parser.add_argument("--engine", choices=("spark", "duckdb"), default="spark", help="what promotion runs on")
    options = parser.parse_args()
    from smartsensor.simulator.server import start_process

    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rehearsal-")))
        api = stack.enter_context(start_process("--burst", "200", "--sustained", "12000"))
        aws = stack.enter_context(Emulator(folder, f"{NAME}-machine", spark=options.engine == "spark"))
        os.environ["AWS_ENDPOINT_URL"] = aws.url
        act = build(aws, folder, api)
        deploy(act, folder)
        if not act.failed:
            good_run(act, api)
        for name in FAULTS if not act.failed else []:
            if name in options.faults:
                with timed(name):
                    FAULTS[name](act, api)
        out.print(iam_table(aws.policies))
        act.say(
            "no role was refused anything",
            not aws.policies.denied,
            str(aws.policies.denied[:3]) if aws.policies.denied else "",
        )
        strange = [action for rest in unused(aws.policies).values() for action in rest if not reason(action)]
        act.say("what is granted and was not used has a reason", not strange, ", ".join(strange))
        with timed("plan and destroy"):
            drift = act.terraform("plan", "-input=false", "-detailed-exitcode", codes=(0, 2))
            act.say("plan shows no drift", "No changes" in drift, "" if "No changes" in drift else drift[-1500:])
            act.terraform("destroy", "-auto-approve", "-input=false", "-parallelism=30")
        left = nothing_left(aws)
        act.say("destroy leaves nothing", not left, ", ".join(left))
    out.print(
        f"\n{'Rehearsed' if not act.failed else 'FAILED: ' + '; '.join(act.failed)} in {time.monotonic() - began:.0f} s"
    )
    return int(bool(act.failed))


if __name__ == "__main__":
    sys.exit(main())
