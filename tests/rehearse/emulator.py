"""AWS on 127.0.0.1, in this process: moto, mended where the rehearsal needs more than it has.

Glue job runs really run the job's script by spark-submit; Step Functions really interprets the state machine; IAM is enforced
for the roles of the project, bucket policies included; Spark sees the buckets as folders, without a jar. Written for moto
5.2.5: `Emulator` refuses another one, since the patches reach into it.
"""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

ACCOUNT, REGION, MOTO = "123456789012", "eu-central-1", "5.2.5"
ENDED = ("SUCCEEDED", "FAILED", "TIMEOUT", "STOPPED", "ERROR")
Environ = dict[str, Any]


def keys_of(principal: str) -> dict[str, str]:
    "The credentials of a role: its name is the access key, so that each request tells who sends it."
    return {
        "AWS_ACCESS_KEY_ID": principal,
        "AWS_SECRET_ACCESS_KEY": "emulated",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


# --- who asks for what --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    "One permission that a request needs."

    action: str  # s3:GetObject
    resource: str  # its ARN; "*" where this emulator can't tell
    context: Mapping[str, str]  # condition keys


TARGETS = {
    "AWSGlue": "glue",
    "AWSStepFunctions": "states",
    "secretsmanager": "secretsmanager",
    "Logs_20140328": "logs",
    "TrentService": "kms",
    "AmazonSQS": "sqs",
    "AWSEvents": "events",
    "AWSBudgetServiceGateway": "budgets",
    "AmazonAthena": "athena",
    "GraniteServiceVersion20100801": "cloudwatch",
}
SCOPES = {"monitoring": "cloudwatch"}  # where a signature names a service otherwise than policies do
# What a bucket has besides objects, by the word in the query; as in Get…, Put….
OF_BUCKET = {
    "accelerate": "AccelerateConfiguration", "acl": "BucketAcl", "cors": "BucketCORS", "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration", "location": "BucketLocation", "logging": "BucketLogging",
    "object-lock": "BucketObjectLockConfiguration", "ownershipControls": "BucketOwnershipControls", "policy": "BucketPolicy",
    "publicAccessBlock": "BucketPublicAccessBlock", "replication": "ReplicationConfiguration",
    "requestPayment": "BucketRequestPayment", "tagging": "BucketTagging", "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}  # fmt: skip


def principal_of(environ: Environ) -> tuple[str, str]:
    "Who signs a request, and for which service: the scope of the signature says both."
    found = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return (found[1], found[2]) if found else ("", "")


def asked_of(environ: Environ, service: str, body: bytes) -> list[Asked]:
    "The permissions that a request needs."
    if service == "s3":
        return s3_asked(environ, body)
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        values = json.loads(body or b"{}")
        prefix, _, action = target.partition(".")
        name = next((known for start, known in TARGETS.items() if prefix.startswith(start)), service)
        context = {"kms:ResourceAliases": alias_of(values["KeyId"])} if name == "kms" and "KeyId" in values else {}
        return [Asked(f"{name}:{action}", resource, context) for resource in resources_of(name, action, values)]
    values = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace")))
    if "Action" not in values or service == "sts":  # anybody may ask who they are
        return []
    resource = values.get("TopicArn") or values.get("PolicyArn") or "*"
    if "RoleName" in values:
        resource = f"arn:aws:iam::{ACCOUNT}:role/{values['RoleName']}"
    bound = {"iam:PermissionsBoundary": values["PermissionsBoundary"]} if "PermissionsBoundary" in values else {}
    return [Asked(f"{SCOPES.get(service, service)}:{values['Action']}", resource, bound)]


def resources_of(service: str, action: str, values: Mapping[str, Any]) -> list[str]:
    "The ARNs that a request of a JSON service is about; it must be allowed on each."
    here = f"{REGION}:{ACCOUNT}"
    if service == "glue" and "JobName" in values:
        return [f"arn:aws:glue:{here}:job/{values['JobName']}"]
    if service == "glue" and ("Database" in action or "Table" in action):
        return catalog_arns(action, values)
    if service == "logs" and "logGroupName" in values:
        return [f"arn:aws:logs:{here}:log-group:{values['logGroupName']}"]
    if service == "athena" and ("WorkGroup" in values or action.endswith("WorkGroup")):
        return [f"arn:aws:athena:{here}:workgroup/{values.get('WorkGroup') or values['Name']}"]
    return [str(values.get("SecretId") or values.get("stateMachineArn") or values.get("TopicArn") or "*")]


def catalog_arns(action: str, values: Mapping[str, Any]) -> list[str]:
    "What a call of the Glue catalog needs rights on: the catalog, the database, and the table if it is about one."
    arn = f"arn:aws:glue:{REGION}:{ACCOUNT}"
    database = values.get("DatabaseName") or values.get("DatabaseInput", {}).get("Name") or values.get("Name")
    if database is None:  # GetDatabases
        return [f"{arn}:catalog"]
    found = [f"{arn}:catalog", f"{arn}:database/{database}"]
    if "Table" in action:
        table = values.get("TableName") or values.get("TableInput", {}).get("Name") or values.get("Name") or "*"
        found.append(f"{arn}:table/{database}/{table}")
    return found


def object_of(line: str) -> dict[str, Any]:
    "What a line of a log holds as JSON; {} where it is anything else, which no filter matches."
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def alias_of(key: str) -> str:
    "The name that a key goes by."
    from moto.backends import get_backend

    if key.startswith("alias/"):
        return key
    names = get_backend("kms")[ACCOUNT][REGION].list_aliases(key.rpartition("/")[2])
    return next((one.alias_name for one in names), "")


def s3_asked(environ: Environ, body: bytes) -> list[Asked]:
    "The same for S3, path style."
    method, query = environ["REQUEST_METHOD"], urllib.parse.parse_qs(environ.get("QUERY_STRING", ""), True)
    bucket, _, key = urllib.parse.unquote(environ["PATH_INFO"]).lstrip("/").partition("/")
    arn, context = f"arn:aws:s3:::{bucket}", {"aws:SecureTransport": "true"}  # what the deployment's clients would use
    if not key:
        if method == "POST" and "delete" in query:
            names = re.findall(rb"<Key>(.*?)</Key>", body)
            return [Asked("s3:DeleteObject", f"{arn}/{name.decode()}", context) for name in names]
        if "uploads" in query:
            return [Asked("s3:ListBucketMultipartUploads", arn, context)]
        about = next((name for word, name in OF_BUCKET.items() if word in query), "")
        if about or method == "PUT":
            return [
                Asked(f"s3:{'Put' if method == 'PUT' else 'Get'}{about}" if about else "s3:CreateBucket", arn, context)
            ]
        prefix = {"s3:prefix": query["prefix"][0]} if "prefix" in query else {}
        return [Asked("s3:ListBucket", arn, context | prefix)]
    if method in ("GET", "HEAD"):
        return [Asked("s3:GetObject", f"{arn}/{key}", context)]
    if method == "DELETE":
        action = "s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject"
        return [Asked(action, f"{arn}/{key}", context)]
    if "HTTP_IF_NONE_MATCH" in environ:
        context["s3:if-none-match"] = environ["HTTP_IF_NONE_MATCH"]
    put = Asked("s3:PutObject", f"{arn}/{key}", context)
    source = urllib.parse.unquote(environ.get("HTTP_X_AMZ_COPY_SOURCE", "")).lstrip("/")
    return [put, Asked("s3:GetObject", f"arn:aws:s3:::{source}", context)] if source else [put]


# --- what policies say --------------------------------------------------------------------------------------------


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def like(pattern: str, text: str) -> bool:
    "IAM's wildcards: * and ?, nothing else."
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), text, re.DOTALL) is not None


def holds(condition: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    "Whether a statement's condition is met. An operator that is not known here is an error, not a yes."
    tests: dict[str, Callable[[str, str], bool]] = {
        "StringEquals": str.__eq__,
        "StringLike": lambda text, pattern: like(pattern, text),
        "Bool": lambda text, wanted: text.lower() == wanted.lower(),
        "ForAnyValue:StringEquals": str.__eq__,
    }
    for operator, pairs in condition.items():
        for name, wanted in pairs.items():
            if operator.endswith("IfExists") and name not in context:
                continue
            if operator == "Null":
                if (name not in context) != (listed(wanted) == ["true"]):
                    return False
            elif name not in context or not any(
                tests[operator.removesuffix("IfExists")](context[name], one) for one in listed(wanted)
            ):
                return False
    return True


def about(statement: Mapping[str, Any], role: str) -> bool:
    "Whether a bucket's statement is about this role."
    who = statement["Principal"]
    return who == "*" or any(arn == "*" or arn.endswith(f"/{role}") for arn in listed(who.get("AWS")))


def excepted(statement: Mapping[str, Any], asked: Asked) -> bool:
    "Whether a statement is about all but some resources, and this is none of these."
    names = listed(statement.get("NotResource"))
    return bool(names) and not any(like(arn, asked.resource) for arn in names)


def matches(statement: Mapping[str, Any], asked: Asked) -> bool:
    return (
        any(like(action.lower(), asked.action.lower()) for action in listed(statement.get("Action")))
        and (
            asked.resource == "*"
            or any(like(arn, asked.resource) for arn in listed(statement.get("Resource")))
            or excepted(statement, asked)
        )
        and holds(statement.get("Condition", {}), asked.context)
    )


def statements(document: str | bytes) -> list[Any]:
    found = json.loads(document)["Statement"]
    return [found] if isinstance(found, dict) else list(found)


def documents(role: Any) -> list[str]:
    "A role's own policies, and those that are attached to it."
    attached = [
        version.document
        for policy in role.managed_policies.values()
        for version in policy.versions
        if version.is_default
    ]
    return [*role.policies.values(), *attached]


class Policies:
    "The policies that stand in the emulator just now."

    def __init__(self) -> None:
        self.used: Counter[tuple[str, str]] = Counter()  # by role and action
        self.denied: list[tuple[str, Asked]] = []

    def roles(self) -> dict[str, list[Any]]:
        "Statements by role."
        from moto.backends import get_backend

        roles = get_backend("iam")[ACCOUNT]["aws"].roles.values()
        return {role.name: [one for text in documents(role) for one in statements(text)] for role in roles}

    def count(self, role: str, asked: Iterable[Asked]) -> None:
        "Note the actions of a request, each once, however many resources it is about."
        if role in self.roles():
            self.used.update((role, action) for action in {one.action for one in asked})

    def allow(self, role: str, asked: Asked) -> bool:
        "Whether a role may: its own policy must say so, and no policy of the bucket may deny it."
        granted = self.roles().get(role)
        if granted is None:
            return True  # the person at the keyboard, not a role of the project
        allowed = any(one["Effect"] == "Allow" and matches(one, asked) for one in granted)
        allowed = allowed and not any(
            one["Effect"] == "Deny" and about(one, role) and matches(one, asked) for one in self.of_bucket(asked)
        )
        if not allowed:
            self.denied.append((role, asked))
        return allowed

    def of_bucket(self, asked: Asked) -> list[Any]:
        from moto.backends import get_backend

        name = asked.resource.removeprefix("arn:aws:s3:::").partition("/")[0]
        bucket = get_backend("s3")[ACCOUNT]["aws"].buckets.get(name) if asked.action.startswith("s3:") else None
        return statements(bucket.policy) if bucket and bucket.policy else []


# --- the server ---------------------------------------------------------------------------------------------------


@dataclass
class Emulator:
    "A running emulator: `with Emulator(folder) as aws: ...`."

    folder: Path  # buckets as folders below buckets/, logs of jobs below jobs/
    machine_role: str  # whom the state machine's requests come from
    spark: bool = True  # jobs by spark-submit; else by the same Python, on DuckDB
    published: list[dict[str, Any]] = field(default_factory=list)  # what topics were told
    runs: list[dict[str, Any]] = field(default_factory=list)  # job runs: name, state, seconds, log
    before_job: Callable[[str, "subprocess.Popen[str]"], None] | None = None  # a fault to be played

    def __post_init__(self) -> None:
        if version("moto") != MOTO:
            raise RuntimeError(
                f"the patches are for moto {MOTO}, here is {version('moto')}: look them through, then raise MOTO"
            )
        self.policies = Policies()
        self.buckets = self.folder / "buckets"
        self.buckets.mkdir(parents=True, exist_ok=True)
        self.known: dict[Path, float] = {}
        self.lock = threading.RLock()

    def __enter__(self) -> "Emulator":
        import socket

        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        os.environ["MOTO_PORT"] = str(self.port)  # where the state machine's tasks go
        os.environ.update(keys_of("person"))
        from moto.core.config import default_user_config

        default_user_config["stepfunctions"] = {"execute_state_machine": True}
        for patch in (
            patch_bucket_policy,
            patch_delete_markers,
            patch_state_machines,
            patch_budgets,
            patch_glue_sync,
            patch_update_job,
            patch_catalog,
            patch_optimizers,
            patch_athena,
            patch_execution_name,
            patch_sdk_names,
            patch_start_time,
        ):
            patch()
        self._patch_glue()
        self._patch_publish()
        from moto.moto_server.threaded_moto_server import ThreadedMotoServer
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication

        inner = DomainDispatcherApplication.__call__
        emulator = self

        def call(app: Any, environ: Environ, start: Any) -> Iterable[bytes]:
            return emulator._guarded(lambda: inner(app, environ, start), environ, start)

        DomainDispatcherApplication.__call__ = call
        self._unpatch = lambda: setattr(DomainDispatcherApplication, "__call__", inner)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()
        import logging

        for name in ("werkzeug", "moto"):  # the interpreter writes a page for each state that fails
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self._unpatch()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            config=Config(retries={"max_attempts": 1}),
            aws_access_key_id="person",
            aws_secret_access_key="emulated",
        )

    # --- each request: allowed?, then buckets and folders made the same ---

    def _guarded(self, handle: Callable[[], Iterable[bytes]], environ: Environ, start: Any) -> Iterable[bytes]:
        if environ.pop("HTTP_TRANSFER_ENCODING", "").lower() == "chunked":
            body = environ["wsgi.input"].read()
        else:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        principal, service = principal_of(environ)
        principal = self.machine_role if principal == "ak" else principal  # moto's interpreter signs as "ak"
        asked = asked_of(environ, service, body) if principal else []
        self.policies.count(principal, asked)
        refused = [one for one in asked if not self.policies.allow(principal, one)]
        if refused:
            return self._refuse(refused[0], principal, environ, start)
        if service == "s3":
            self._take_from_folders()
        answer = list(handle())
        if service == "s3" and environ["REQUEST_METHOD"] in ("PUT", "POST", "DELETE"):
            self._give_to_folders([one for one in asked if one.action in ("s3:PutObject", "s3:DeleteObject")])
        return answer

    def _refuse(self, asked: Asked, principal: str, environ: Environ, start: Any) -> list[bytes]:
        final_message = f"role {principal} is not authorized to perform {asked.action} on {asked.resource}"
        print(final_message, file=sys.stderr, flush=True)
        start(
            "403 Forbidden",
            [("Content-Type", "application/xml" if asked.action.startswith("s3:") else "application/json")],
        )
        if asked.action.startswith("s3:"):
            return [f"<Error><Code>AccessDenied</Code><Message>{final_message}</Message></Error>".encode()]
        return [json.dumps({"__type": "AccessDeniedException", "message": final_message}).encode()]

    def _backend(self) -> Any:
        from moto.backends import get_backend

        return get_backend("s3")[ACCOUNT]["aws"]

    def _take_from_folders(self) -> None:
        "Files that Spark wrote become objects."
        with self.lock:
            for path in self.buckets.rglob("*"):
                hidden = path.name.startswith((".", "_")) or "_temporary" in path.parts
                if hidden or not path.is_file() or self.known.get(path) == path.stat().st_mtime:
                    continue
                bucket, key = path.relative_to(self.buckets).as_posix().split("/", 1)
                if bucket in self._backend().buckets:
                    self._backend().put_object(bucket, key, path.read_bytes())
                    self.known[path] = path.stat().st_mtime

    def _give_to_folders(self, changed: list[Asked]) -> None:
        "Objects that boto3 wrote or removed become files, or go."
        with self.lock:
            for one in changed:
                bucket, _, key = one.resource.removeprefix("arn:aws:s3:::").partition("/")
                if bucket not in self._backend().buckets or not key or key.endswith("/"):  # pyarrow's mark of a folder
                    continue
                path, found = self.buckets / bucket / key, self._backend().get_object(bucket, key)
                if found is None or not hasattr(found, "value"):
                    path.unlink(missing_ok=True)
                    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
                    self.known.pop(path, None)
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
                    path.write_bytes(found.value)
                    self.known[path] = path.stat().st_mtime

    # --- Glue ---

    def _patch_glue(self) -> None:
        from moto.core.utils import utcnow
        from moto.glue import models

        class JobRun(models.FakeJobRun):  # type: ignore[misc]
            "A job run whose state its process decides."

            job: Any = None
            final_message: str = ""
            ended: Any = None
            state: str = "STARTING"
            status = property(lambda run: run.state, lambda run, value: None)
            completed_on = property(lambda run: run.ended, lambda run, value: None)

            def advance(self) -> None: ...

            def as_dict(self) -> dict[str, Any]:
                found: dict[str, Any] = super().as_dict()
                found["GlueVersion"] = self.job.glue_version
                found["LogGroupName"] = (self.arguments or {}).get("--custom-logGroup-prefix", "/aws-glue/jobs")
                found["ExecutionTime"] = int(((self.ended or utcnow()) - self.started_on).total_seconds())
                if self.ended is None:
                    found.pop("CompletedOn")
                if self.final_message:
                    found["ErrorMessage"] = self.final_message
                return found

        start = models.FakeJob.start_job_run

        def start_job_run(job: Any, *given: Any, **named: Any) -> str:
            run_id: str = start(job, *given, **named)  # keeps ConcurrentRunsExceeded and the arguments' merge
            job.job_runs[-1].job = job
            threading.Thread(target=self._run, args=(job, job.job_runs[-1]), daemon=True).start()
            return run_id

        models.FakeJobRun = JobRun
        models.FakeJob.start_job_run = start_job_run

    def _run(self, job: Any, run: Any) -> None:
        from moto.core.utils import utcnow

        began = time.monotonic()
        try:
            state, final_message = self._execute(job, run)
        except Exception as error:  # the script is missing, or its role may not read it
            state, final_message = "FAILED", f"{type(error).__name__}: {error}"
        run.final_message, run.ended = final_message, utcnow()
        self.runs.append(
            {
                "job": job.name,
                "lane": (run.arguments or {}).get("--lane", ""),
                "state": state,
                "seconds": time.monotonic() - began,
                "message": final_message,
            }
        )
        run.state = state
        if state != "SUCCEEDED":
            self._tell(job, run)

    def _execute(self, job: Any, run: Any) -> tuple[str, str]:
        import boto3

        role = job.role.rpartition("/")[2]
        env = {**os.environ, **keys_of(role), "AWS_ENDPOINT_URL": self.url}
        keys = {"aws_access_key_id": role, "aws_secret_access_key": "emulated"}
        place = self.folder / "jobs" / run.job_run_id
        place.mkdir(parents=True)
        arguments = {**(run.arguments or {}), "--JOB_NAME": job.name, "--JOB_RUN_ID": run.job_run_id}
        if not self.spark:
            arguments["--SMARTSENSOR_ENGINE"] = "duckdb"
        s3 = boto3.client("s3", endpoint_url=self.url, region_name=REGION, **keys)
        modules = arguments["--additional-python-modules"]
        for address in (job.command["ScriptLocation"], modules):
            bucket, _, key = address.removeprefix("s3://").partition("/")
            s3.download_file(bucket, key, str(place / Path(key).name))
        with zipfile.ZipFile(
            place / Path(modules).name
        ) as wheels:  # of these, this environment has all but the package
            ours = next(name for name in wheels.namelist() if name.startswith("wheels/smartsensor-"))
            env["PYTHONPATH"] = wheels.extract(ours, place)
        (place / Path(modules).name).unlink()
        command = self._command(place / Path(job.command["ScriptLocation"]).name, env)
        words = [word for name, value in arguments.items() for word in (name, str(value))]
        process = subprocess.Popen(
            [*command, *words],
            cwd=place,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        run.state = "RUNNING"
        if self.before_job:
            self.before_job(job.name, process)
        try:
            out, err = process.communicate(timeout=(run.timeout or job.timeout or 2880) * 60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return "TIMEOUT", f"Job run exceeded its timeout of {run.timeout} minutes"
        finally:
            shutil.rmtree(place, ignore_errors=True)
        self._log(arguments, run.job_run_id, out, err, keys)
        lines = [
            line
            for line in (out + err).strip().splitlines()
            if line.strip() and " INFO " not in line and " WARN " not in line
        ]
        final_message = next(
            (line for line in reversed(lines) if line.startswith("smartsensor:")), lines[-1] if lines else ""
        )
        code = next(
            (line for line in reversed(lines) if line.startswith("Exit code")), f"exit status {process.returncode}"
        )
        return ("SUCCEEDED", "") if process.returncode == 0 else ("FAILED", f"{final_message} {code}"[:2000])

    def _command(self, script: Path, env: dict[str, str]) -> list[str]:
        if not self.spark:
            return [sys.executable, str(script)]
        from smartsensor.jobs.engine_spark import bucket_folders

        env |= {"PYSPARK_PYTHON": sys.executable, "PYSPARK_DRIVER_PYTHON": sys.executable}
        conf = {"spark.ui.enabled": "false", "spark.master": "local[2]", "spark.sql.shuffle.partitions": "4"}
        names = list(self._backend().buckets)
        for name in names:
            (self.buckets / name).mkdir(parents=True, exist_ok=True)
        conf |= bucket_folders(self.buckets, names)
        return [
            str(Path(sys.executable).parent / "spark-submit"),
            *[word for one in conf.items() for word in ("--conf", "=".join(one))],
            str(script),
        ]

    def _log(self, arguments: Mapping[str, str], run_id: str, out: str, err: str, keys: Mapping[str, str]) -> None:
        import boto3

        logs = boto3.client("logs", endpoint_url=self.url, region_name=REGION, **keys)
        prefix = arguments.get("--custom-logGroup-prefix", "/aws-glue/jobs")
        for name, text in (("output", out), ("error", err)):
            events = [
                {"timestamp": int(time.time() * 1000), "message": line} for line in text.splitlines() if line.strip()
            ]
            logs.create_log_stream(logGroupName=f"{prefix}/{name}", logStreamName=run_id)
            for at in range(0, len(events), 1000):
                logs.put_log_events(
                    logGroupName=f"{prefix}/{name}", logStreamName=run_id, logEvents=events[at : at + 1000]
                )

        self._measure(f"{prefix}/output", out.splitlines())

    # --- metrics and alarms: moto keeps filters and alarms, and does nothing with them ---

    def _measure(self, group: str, lines: Iterable[str]) -> None:
        "What the group's metric filters make of some lines."
        filters = self.client("logs").describe_metric_filters(logGroupName=group)["metricFilters"]
        for one in filters:
            wanted = re.fullmatch(r'\{ \$\.(\w+) = "([^"]*)" \}', one["filterPattern"])
            if wanted is None:
                raise ValueError(f"{one['filterPattern']}: this emulator knows no such pattern")
            for line in lines:
                found = object_of(line)
                if found.get(wanted[1]) == wanted[2]:
                    for made in one["metricTransformations"]:
                        value = found[made["metricValue"].removeprefix("$.")]
                        self.measure(made["metricNamespace"], made["metricName"], float(value), {})

    def measure(self, namespace: str, name: str, value: float, dimensions: Mapping[str, str]) -> None:
        "One figure for CloudWatch."
        pairs = [{"Name": one, "Value": text} for one, text in dimensions.items()]
        data = [{"MetricName": name, "Value": value, "Dimensions": pairs}]
        self.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)

    def ringing(self) -> list[str]:
        "Alarms whose condition holds just now, over their last periods; those on a band of their own past are left out."
        watch, now = self.client("cloudwatch"), datetime.now(UTC)
        found = []
        for alarm in watch.describe_alarms()["MetricAlarms"]:
            if "MetricName" not in alarm:
                continue
            since = now - timedelta(seconds=alarm["Period"] * alarm["EvaluationPeriods"])
            points = watch.get_metric_statistics(
                Namespace=alarm["Namespace"], MetricName=alarm["MetricName"], Dimensions=alarm["Dimensions"],
                StartTime=since, EndTime=now + timedelta(seconds=1), Period=int((now - since).total_seconds()) + 1,
                Statistics=[alarm["Statistic"]],
            )["Datapoints"]  # fmt: skip
            values = [point[alarm["Statistic"]] for point in points]
            above = alarm["ComparisonOperator"] == "GreaterThanThreshold"
            breach = [value > alarm["Threshold"] if above else value < alarm["Threshold"] for value in values]
            if any(breach) or (not values and alarm["TreatMissingData"] == "breaching"):
                found.append(alarm["AlarmName"])
        return sorted(found)

    def _tell(self, job: Any, run: Any) -> None:
        "The event that Glue sends when a job ends badly; rules that match it have their targets told."
        detail = {"jobName": job.name, "jobRunId": run.job_run_id, "state": run.state, "message": run.final_message}
        from moto.events.models import EventPattern

        event: Any = {"source": "aws.glue", "detail-type": "Glue Job State Change", "detail": detail, "resources": []}
        for rule in self.client("events").list_rules()["Rules"]:
            if rule.get("EventPattern") and EventPattern.load(rule["EventPattern"]).matches_event(event):
                message = f"{job.name} {run.state}: {run.final_message}"
                self.published.append({"from": rule["Name"], "subject": "", "message": message})

    # --- SNS ---

    def _patch_publish(self) -> None:
        from moto.sns.models import SNSBackend

        publish = SNSBackend.publish
        messages = self.published

        def keep(backend: Any, message: str, *given: Any, **named: Any) -> Any:
            messages.append({"from": "state machine", "subject": named.get("subject") or "", "message": message})
            return publish(backend, message, *given, **named)

        SNSBackend.publish = keep


# --- gaps of moto 5.2.5 -------------------------------------------------------------------------------------------


def patch_bucket_policy() -> None:
    "moto knows no conditions, so that a denial of what comes without TLS denies everything. `Policies` judges instead."
    from moto.iam.access_control import PermissionResult
    from moto.s3.models import FakeBucket

    FakeBucket.get_permission = lambda bucket, action, resource: PermissionResult.NEUTRAL


def patch_delete_markers() -> None:
    "Objects are disposed of when they go; delete markers can't be, so that a bucket that has one can't be emptied."
    from moto.s3.models import FakeDeleteMarker

    FakeDeleteMarker.dispose = lambda marker: None


def patch_state_machines() -> None:
    "Two calls of the provider that moto answers with 500, which the provider takes for a reason to try 25 times."
    from moto.core.responses import ActionResult
    from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
    from moto.stepfunctions.responses import StepFunctionResponse

    def validate(response: Any) -> Any:
        try:
            AmazonStateLanguageParser.parse(response._get_param("definition"))
        except Exception as error:
            wrong = {"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": str(error), "location": "/"}
            return ActionResult({"result": "FAIL", "truncated": False, "diagnostics": [wrong]})
        return ActionResult({"result": "OK", "truncated": False, "diagnostics": []})

    StepFunctionResponse.validate_state_machine_definition = validate
    StepFunctionResponse.list_state_machine_versions = lambda response: ActionResult({"stateMachineVersions": []})


def patch_budgets() -> None:
    "moto keeps whom a budget tells, and has no call that says so."
    from moto.budgets.responses import BudgetsResponse

    def subscribers(response: Any) -> str:
        budget = response.backend.budgets[response._get_param("AccountId")][response._get_param("BudgetName")]
        kind = response._get_param("Notification")["NotificationType"]
        found = [one.subscribers for one in budget.notifications if one.details["NotificationType"] == kind]
        return json.dumps({"Subscribers": found[0] if found else []})

    create, tags = BudgetsResponse.create_budget, []

    def create_budget(response: Any) -> str:
        tags[:] = response._get_param("ResourceTags") or []
        answer: str = create(response)
        return answer

    BudgetsResponse.create_budget = create_budget
    BudgetsResponse.describe_subscribers_for_notification = subscribers
    BudgetsResponse.list_tags_for_resource = lambda response: json.dumps({"ResourceTags": tags})


def patch_glue_sync() -> None:
    "`glue:startJobRun.sync` always ends with an error of moto's own, and leaves dates in what must be JSON."
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_glue as glue

    def wait(
        task: Any, env: Any, resource_runtime_part: Any, normalised_parameters: Any, state_credentials: Any
    ) -> None:
        resolver = task._build_sync_resolver(
            env=env,
            resource_runtime_part=resource_runtime_part,
            normalised_parameters=normalised_parameters,
            state_credentials=state_credentials,
        )
        out = task._eval_sync(
            env=env, sync_resolver=resolver, timeout_seconds=None, callback_endpoint=None, heartbeat_endpoint=None
        )
        plain = {
            name: int(value.timestamp() * 1000) if hasattr(value, "timestamp") else value for name, value in out.items()
        }
        env.stack.append(plain)

    glue.StateTaskServiceGlue._eval_integration_pattern = wait


def patch_update_job() -> None:
    "moto can't change a job, which the provider takes for a reason to try for minutes."
    from moto.core.responses import ActionResult
    from moto.glue.responses import GlueResponse

    def update_job(response: Any) -> Any:
        job = response.glue_backend.get_job(response._get_param("JobName"))
        for name, value in response._get_param("JobUpdate").items():
            setattr(job, re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), value)
        return ActionResult({"JobName": job.name})

    GlueResponse.update_job = update_job


def patch_catalog() -> None:
    "moto takes every update of a table; Glue refuses one that was made from a version that is not the newest."
    from moto.core.exceptions import JsonRESTError
    from moto.glue.responses import GlueResponse

    update, lock = GlueResponse.update_table, threading.Lock()

    def update_table(response: Any) -> Any:
        with lock:
            names = response._get_param("DatabaseName"), response._get_param("TableInput")["Name"]
            newest = response.glue_backend.get_table(*names).as_dict()["VersionId"]
            if response._get_param("VersionId") not in (None, newest):
                raise JsonRESTError("ConcurrentModificationException", f"{names[1]} is at version {newest}")
            return update(response)

    GlueResponse.update_table = update_table


def patch_optimizers() -> None:
    "moto has no table optimizers. These are kept and told; they tend nothing."
    from moto.core.responses import ActionResult, EmptyResult
    from moto.glue.exceptions import EntityNotFoundException
    from moto.glue.responses import GlueResponse

    kept: dict[tuple[str, str, str], Any] = {}

    def key(response: Any) -> tuple[str, str, str]:
        database, table, kind = (response._get_param(name) for name in ("DatabaseName", "TableName", "Type"))
        found = response.glue_backend.get_table(database, table).as_dict()
        if found.get("Parameters", {}).get("table_type") != "ICEBERG":
            raise EntityNotFoundException(f"{table} is no Iceberg table")
        return database, table, kind

    def put(response: Any) -> Any:
        kept[key(response)] = response._get_param("TableOptimizerConfiguration")
        return EmptyResult()

    def known(response: Any) -> tuple[str, str, str]:
        if key(response) not in kept:
            raise EntityNotFoundException(f"Optimizer {key(response)} not found.")
        return key(response)

    def get(response: Any) -> Any:
        database, table, kind = known(response)
        one = {"type": kind, "configuration": kept[database, table, kind]}
        return ActionResult({"DatabaseName": database, "TableName": table, "CatalogId": ACCOUNT, "TableOptimizer": one})

    def delete(response: Any) -> Any:
        del kept[known(response)]
        return EmptyResult()

    GlueResponse.create_table_optimizer = put
    GlueResponse.update_table_optimizer = put
    GlueResponse.get_table_optimizer = get
    GlueResponse.delete_table_optimizer = delete


def patch_athena() -> None:
    "moto can't remove a saved query nor change a workgroup, and has no error for one that is not there."
    from moto.athena.responses import AthenaResponse

    named, group = AthenaResponse.get_named_query, AthenaResponse.get_work_group

    def delete(response: Any) -> str:
        response.athena_backend.named_queries.pop(response._get_param("NamedQueryId"), None)
        return "{}"

    def get_named_query(response: Any) -> Any:
        if response._get_param("NamedQueryId") not in response.athena_backend.named_queries:
            return response.error(f"NamedQuery {response._get_param('NamedQueryId')} does not exist", 400)
        return named(response)

    def get_work_group(response: Any) -> Any:
        name = response._get_param("WorkGroup")
        found = response.athena_backend.get_work_group(name)
        return group(response) if found else response.error(f"WorkGroup {name} is not found.", 400)

    def update_work_group(response: Any) -> str:
        configuration = response.athena_backend.work_groups[response._get_param("WorkGroup")].configuration
        changes = response._get_param("ConfigurationUpdates")
        configuration["ResultConfiguration"] |= changes.pop("ResultConfigurationUpdates", {})
        configuration.update(changes)
        return "{}"

    AthenaResponse.delete_named_query = delete
    AthenaResponse.update_work_group = update_work_group
    AthenaResponse.get_named_query = get_named_query
    AthenaResponse.get_work_group = get_work_group


def patch_sdk_names() -> None:
    "In AWS, aws-sdk tasks take and give names in PascalCase, and bodies as text; here all is as in boto3."
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_aws_sdk as sdk

    evaluate = sdk.StateTaskServiceAwsSdk._eval_service_task

    def renamed(value: Any, first: Callable[[str], str]) -> Any:
        if isinstance(value, dict):
            return {first(name[0]) + name[1:]: renamed(one, first) for name, one in value.items()}
        return [renamed(one, first) for one in value] if isinstance(value, list) else value

    def eval_task(
        task: Any, env: Any, resource_runtime_part: Any, normalised_parameters: Any, state_credentials: Any
    ) -> None:
        if task.resource.api_name == "sfn":
            normalised_parameters = renamed(normalised_parameters, str.lower)
        evaluate(task, env, resource_runtime_part, normalised_parameters, state_credentials)
        answer = env.stack.pop()
        if hasattr(answer.get("Body"), "read"):
            answer["Body"] = answer["Body"].read().decode()
        plain = json.loads(json.dumps(answer, default=str))
        env.stack.append(renamed(plain, str.upper))

    sdk.StateTaskServiceAwsSdk._eval_service_task = eval_task


def patch_start_time() -> None:
    "`$$.Execution.StartTime` is a text in AWS, and a datetime here."
    from moto.stepfunctions.parser.backend import execution_worker as worker

    made = worker.ExecutionData

    def execution(**values: Any) -> Any:
        at = values["StartTime"].astimezone(UTC)
        return made(**{**values, "StartTime": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"})

    worker.ExecutionData = execution


def patch_execution_name() -> None:
    'Executions that are started without a name are all called "None".'
    from moto.stepfunctions.parser.models import StepFunctionsParserBackend

    start = StepFunctionsParserBackend.start_execution

    def named(backend: Any, state_machine_arn: str, name: str | None = None, *given: Any, **more: Any) -> Any:
        return start(backend, state_machine_arn, name or str(uuid.uuid4()), *given, **more)

    StepFunctionsParserBackend.start_execution = named
