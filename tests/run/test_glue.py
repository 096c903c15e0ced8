"""The job notebooks in three kernels, and the entry script that Glue starts: what it takes, what it keeps, how it ends."""

import hashlib
import importlib
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from moto.server import ThreadedMotoServer
from nbclient.exceptions import DeadKernelError

from smartsensor.jobs.engine_spark import find_java
from smartsensor.run import kernel as kernel_room
from smartsensor.run import notebooks as notebooks_room
from smartsensor.run.glue import parse_arguments, run_job, typed_parameters
from smartsensor.run.kernel import CELL_MAGICS, KERNEL, LINE_MAGICS, install_kernel, kernel_path
from smartsensor.run.notebooks import session_fault

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "glue_notebooks"
RUN = "20261120T100000Z-7f3a"


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("API_URL", "http://127.0.0.1:9/v1"), ("CLIENT_ID", "id"), ("CLIENT_SECRET", "hush")):
        monkeypatch.setenv(f"SMARTSENSOR_{name}", value)
    monkeypatch.setenv("SMARTSENSOR_LAKE", str(tmp_path / "lake"))
    for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_SUBMIT_ARGS"):
        monkeypatch.delenv(name, raising=False)


def notebook(path: Path, *cells: str, parameters: str = 'run_id = ""') -> Path:
    "A job notebook of some cells."
    code = nbformat.v4.new_code_cell
    made = nbformat.v4.new_notebook(cells=[code(parameters, metadata={"tags": ["parameters"]}), *map(code, cells)])
    made.metadata["kernelspec"] = {"name": KERNEL, "display_name": KERNEL, "language": "python"}
    nbformat.write(made, path)
    return path


def executed(path: Path, *cells: str) -> tuple[str, str] | None:
    "Run cells in the local kernel; what ended them."
    notebook(path, *cells)
    with kernel_path() as kernels, notebooks_room.set_variables({"JUPYTER_PATH": kernels}):
        return notebooks_room.run_papermill(path, path.with_suffix(".out.ipynb"), {}, log=False)


def printed(path: Path) -> str:
    cells = json.loads(path.with_suffix(".out.ipynb").read_text())["cells"]
    return "".join("".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", []))


# --- the kernel ---------------------------------------------------------------------------------------------------


def test_the_local_kernel_takes_every_magic(tmp_path: Path) -> None:
    "All but %%sql, which needs Java, and which a test below runs."
    values = {
        "idle_timeout": "60",
        "timeout": "120",
        "number_of_workers": "5",
        "spark_conf": "spark.a.b=1 --conf spark.c=2",
    }
    lines = [f"%{name} {values.get(name, 'x')}" for name in LINE_MAGICS]
    cells = [
        "%%configure\n{'--conf': 'spark.d=3', 'worker_type': 'G.1X'}",
        "%%tags\n{'team': 'data'}",
        "%%assume_role\n'arn:role'",
    ]
    show = "import os\nprint(glue_session['worker_type'], len(glue_session), os.environ['PYSPARK_SUBMIT_ARGS'])"
    path = tmp_path / "magics.ipynb"
    assert executed(path, "# a comment may stand first\n" + "\n".join(lines), *cells, show) is None
    message = printed(path)
    assert "--conf spark.a.b=1 --conf spark.c=2 --conf spark.d=3 pyspark-shell" in message
    assert "G.1X" in message
    assert "arn:role" not in message, "the cell of %%assume_role may hold a key"
    for name in set(LINE_MAGICS) - {"help", "status", "stop_session"}:
        assert f"Recorded, for AWS Glue: {name}" in message
    assert len(set(LINE_MAGICS)) == 25
    assert set(CELL_MAGICS) == {"sql", "configure", "tags", "assume_role"}


def test_an_unknown_magic_ends_a_job(tmp_path: Path) -> None:
    assert executed(tmp_path / "wrong.ipynb", "%glue_versions 5.1") is not None
    assert executed(tmp_path / "wrong.ipynb", "%%squl\nSELECT 1") is not None


def test_what_the_real_kernel_does_not_take_fails_here_too() -> None:
    shell = InteractiveShell()
    kernel_room.load_ipython_extension(shell)
    assert shell.run_cell("%glue_version 5.1").success
    for cell in (
        "%glue_versions 5.1",
        "%%squl\nSELECT 1",
        "%idle_timeout soon",
        "%spark_conf spark.a",
        "%%configure\n{'a': true}",
    ):
        assert not shell.run_cell(cell).success, cell


def test_session_cells_hold_what_both_kernels_take() -> None:
    "The real kernel takes magics at the head of a cell only, each on a line of its own, and no cell magic among them here."
    for path in sorted(JOBS.glob("*.ipynb")):
        content = json.loads(path.read_text())
        assert content["metadata"]["kernelspec"]["name"] == KERNEL
        cell = next(one for one in content["cells"] if "session" in one["metadata"].get("tags", []))
        lines = "".join(cell["source"]).splitlines()
        names = [line[1:].split()[0] for line in lines if not line.startswith("#")]
        assert all(line.startswith(("%", "#")) for line in lines)
        assert set(names) <= set(LINE_MAGICS)
        assert {"glue_version", "idle_timeout", "worker_type", "number_of_workers"} <= set(names)
        assert "/releases/latest/smartsensor.gluewheels.zip" in "".join(cell["source"]), "where .ci/release.py puts it"
        others = ["".join(one["source"]) for one in content["cells"] if one is not cell and one["cell_type"] == "code"]
        assert not any(re.search(r"(?m)^[%!]", other) for other in others)


def test_another_kernel_of_the_name_is_left_alone(tmp_path: Path) -> None:
    place = install_kernel(tmp_path)
    assert json.loads((place / "kernel.json").read_text())["argv"][0] == sys.executable
    install_kernel(tmp_path)  # again
    (place / "kernel.json").write_text('{"argv": ["python", "-m", "aws_glue_interactive_sessions_kernel"]}')
    with pytest.raises(ValueError, match="Glue's own kernel"):
        install_kernel(tmp_path)


# --- the entry: what it takes -------------------------------------------------------------------------------------


def test_arguments_are_sorted_and_strangers_refused(tmp_path: Path) -> None:
    glues = ["--JOB_ID", "j_1", "--JOB_RUN_ID", "jr_1", "--JOB_NAME", "extract", "--TempDir", "s3://t/", "--enable-metrics", "true",
             "--job-bookmark-option", "job-bookmark-disable", "--additional-python-modules", "s3://w",
             "--python-modules-installer-option", "--no-index", "--enable-job-insights"]  # fmt: skip
    order = parse_arguments(
        [*glues, "--notebook", "x.ipynb", "--start", "", "--SMARTSENSOR_RATE_PER_S=5", "--time_limit_s", "60"]
    )
    assert dict(order.parameters) == {"start": ""}
    assert dict(order.variables) == {"SMARTSENSOR_RATE_PER_S": "5"}
    assert order.time_limit_s == 60
    for wrong in (["--notebook", "a", "--notebook", "b"], ["a"], ["--start", "x"], ["--notebook", ""]):
        with pytest.raises(ValueError, match=r"notebook|arguments"):
            parse_arguments(wrong)


def test_parameters_take_the_type_of_the_default(tmp_path: Path) -> None:
    path = notebook(tmp_path / "n.ipynb", parameters='run_id = ""\nresources = []\nlimit = 3\nfull = False')
    given = {"run_id": RUN, "resources": "events, plants", "limit": "4", "full": "true"}
    assert typed_parameters(path, given) == {"run_id": RUN, "resources": ["events", "plants"], "limit": 4, "full": True}
    assert typed_parameters(path, {"run_id": RUN, "resources": '["events"]'})["resources"] == ["events"]
    assert typed_parameters(path, {"run_id": RUN, "resources": ""})["resources"] == []
    for wrong in (
        {"run_id": RUN, "limit": "many"},
        {"run_id": RUN, "full": "1"},
        {"run_id": RUN, "run-id": "x"},
        {},
        {"run_id": ""},
    ):
        with pytest.raises(ValueError, match=r"limit|full|no parameter run-id|needs the parameter run_id"):
            typed_parameters(path, wrong)


def outcome(tmp_path: Path, *cells: str, arguments: tuple[str, ...] = ()) -> int:
    "Run a job of some cells in this process."
    path = notebook(tmp_path / "job.ipynb", *cells)
    return run_job(["--notebook", str(path), "--run_id", RUN, *arguments])


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "lake" / "runs" / RUN).iterdir())


def test_a_good_job_streams_its_output_and_keeps_its_notebook(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert outcome(tmp_path, "print('seen', run_id)") == 0
    assert f"seen {RUN}" in capfd.readouterr().out
    assert kept(tmp_path) == ["job.html", "job.ipynb"]


@pytest.mark.parametrize(
    ("cell", "code", "message"),
    [
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import sys\nsys.exit(3)", 1, "SystemExit"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 1, DeadKernelError.__name__),
        ("from smartsensor.lake.store import Conflict\nraise Conflict('another')", 7, "Conflict"),
    ],
)
def test_a_failing_job_keeps_its_notebook_and_ends_badly(
    cell: str, code: int, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert outcome(tmp_path, "print('first')", cell, "print('never')") == code
    assert message in capfd.readouterr().err
    assert kept(tmp_path) == ["job.html", "job.ipynb"]


def test_strange_parameters_are_refused_before_anything_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert outcome(tmp_path, "print(1)", arguments=("--runid", "x")) == 2
    assert outcome(tmp_path, "print(1)", arguments=("--SMARTSENSOR_LAKES", "x")) == 2
    assert outcome(tmp_path, "print(1)", arguments=("--SMARTSENSOR_CLIENT_SECRET", "x")) == 2
    assert run_job(["--notebook", str(tmp_path / "none.ipynb"), "--run_id", RUN]) == 2
    assert not (tmp_path / "lake" / "runs").exists()


def test_time_over_ends_the_job_and_keeps_what_was_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cells = (f"open({str(tmp_path / 'began')!r}, 'w').close()\nprint('began')", "import time\ntime.sleep(60)")
    began = time.monotonic()
    assert outcome(tmp_path, *cells, arguments=("--time_limit_s", "4")) == 124
    assert time.monotonic() - began < 30
    assert kept(tmp_path) == ["job.html", "job.ipynb"]
    assert (tmp_path / "began").exists()
    assert "began" in (tmp_path / "lake" / "runs" / RUN / "job.ipynb").read_text()


SWALLOWING = """
import sys
from ipykernel.kernelbase import Kernel
from ipykernel.kernelapp import IPKernelApp

class Swallowing(Kernel):
    implementation, implementation_version, banner = "swallowing", "1", ""
    language_info = {"name": "Python_Glue_Session", "mimetype": "text/x-python", "file_extension": ".py"}
    def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False):
        text = "Exception encountered while creating session: An error occurred (AccessDeniedException) \\n"
        self.send_response(self.iopub_socket, "stream", {"name": "stderr", "text": text})
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

IPKernelApp.launch_instance(kernel_class=Swallowing)
"""


def test_a_session_that_never_started_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    "A kernel that does as Glue's does: it answers 'ok' to each cell and prints what went wrong. papermill alone says 0."

    def write_swallowing(folder: Path) -> Path:
        place = folder / "kernels" / KERNEL
        place.mkdir(parents=True)
        (place / "kernel.py").write_text(SWALLOWING)
        argv = [sys.executable, str(place / "kernel.py"), "-f", "{connection_file}"]
        (place / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "x", "language": "python"}))
        return place

    monkeypatch.setattr(kernel_room, "write_kernel", write_swallowing)
    assert outcome(tmp_path, "print('never seen')") == 1
    assert "SessionFailed: Exception encountered while creating session" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Exception encountered: no role\n", True),
        ("An error occurred (ExpiredTokenException) when calling the CreateSession operation: expired\n", True),
        ("Current session is in an unhealthy state: STOPPED\n", True),
        ("FutureWarning: in a future version An error occurred (X) when calling the Y operation\n", False),
    ],
)
def test_what_glues_kernel_says_of_a_session_is_a_fault(text: str, fault: bool) -> None:
    messages = nbformat.v4.new_output("stream", name="stderr", text=text)
    cell = nbformat.v4.new_code_cell("1", execution_count=1, outputs=[messages])
    message = session_fault(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])).encode())
    assert message == (("SessionFailed", text.strip()) if fault else None)


# --- the entry: all of it from S3 ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    "S3, emulated, with a release in one bucket and an empty lake in another."
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    message = {"ACCESS_KEY_ID": "none", "SECRET_ACCESS_KEY": "none", "DEFAULT_REGION": "eu-central-1"}
    message |= {"EC2_METADATA_DISABLED": "true", "ENDPOINT_URL_S3": "http://{}:{}".format(*server.get_host_and_port())}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in message.items():
            patch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3")
        for bucket in ("artifacts", "lake"):
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        yield client
    server.stop()


def started_from_s3(client: Any, tmp_path: Path, cell: str, notebook_name: str = "job.ipynb") -> tuple[int, str]:
    "The entry script in a process, with nothing but addresses: exit code, and what it said."
    package = shutil.make_archive(str(tmp_path / "package"), "zip", ROOT, base_dir="smartsensor")
    files = {"smartsensor.whl": Path(package), "job.ipynb": notebook(tmp_path / "job.ipynb", SEEN, cell)}
    files |= {f"expectations/{path.name}": path for path in (ROOT / "expectations").glob("*.json")}
    files["nbs/source.ipynb"] = ROOT / "nbs" / "_new_project" / "nbs" / "source.ipynb"
    for name, path in files.items():
        client.upload_file(str(path), "artifacts", f"releases/1/{name}")
    release, order = "s3://artifacts/releases/1", ["--run_id", RUN, "--SMARTSENSOR_LAKE", "s3://lake/dev"]
    order += ["--package", f"{release}/smartsensor.whl", "--expectations", f"{release}/expectations/"]
    order += ["--SMARTSENSOR_SOURCE", f"{release}/nbs/source.ipynb"]
    words = [sys.executable, JOBS / "job.py", *order, "--notebook", f"{release}/{notebook_name}", "--JOB_NAME", "job"]
    ended = subprocess.run([*map(str, words)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    return ended.returncode, ended.stdout + ended.stderr


SEEN = """
import os
import smartsensor
from smartsensor.source.sources import current_source
print("source", *current_source().resources)
print("suites", len(os.listdir(os.environ["SMARTSENSOR_EXPECTATIONS"])), "package", smartsensor.__file__)
"""


@pytest.mark.parametrize(("cell", "code"), [("print(run_id)", 0), ("1 / 0", 1)])
def test_notebook_source_suites_and_package_come_from_s3_and_the_record_goes_there(
    cell: str, code: int, s3: Any, tmp_path: Path
) -> None:
    ended, message = started_from_s3(s3, tmp_path, cell)
    assert ended == code, message
    number = len(list((ROOT / "expectations").glob("*.json")))
    assert "source stations readings" in message
    assert re.search(rf"suites {number} package \S+/smartsensor.zip/smartsensor/", message), message
    for name, sign in (("job.ipynb", '"output_type": "error"'), ("job.html", "ZeroDivisionError")):
        record = s3.get_object(Bucket="lake", Key=f"dev/runs/{RUN}/{name}")["Body"].read().decode()
        assert (sign in record) == bool(code)
        assert f"suites {number} package" in record
        s3.delete_object(Bucket="lake", Key=f"dev/runs/{RUN}/{name}")


def test_a_notebook_that_is_not_on_s3_leaves_nothing(s3: Any, tmp_path: Path) -> None:
    ended, message = started_from_s3(s3, tmp_path, "print(1)", "other.ipynb")
    assert (ended, "s3://artifacts/releases/1/other.ipynb" in message) == (8, True), message
    assert "Contents" not in s3.list_objects_v2(Bucket="lake")


# --- the entry: as Glue starts it ---------------------------------------------------------------------------------


def submitted(tmp_path: Path, *arguments: str, conf: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    "spark-submit of the entry script."
    python = dict.fromkeys(("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"), sys.executable)
    local = (
        "spark.ui.enabled=false",
        "spark.driver.host=127.0.0.1",
        "spark.driver.bindAddress=127.0.0.1",
        "spark.driver.memory=1g",
    )
    flags = [word for one in (*local, *conf) for word in ("--conf", one)]
    return subprocess.Popen(
        [Path(sys.executable).parent / "spark-submit", "--master", "local[2]", *flags, str(JOBS / "job.py"), *arguments],
        env={**os.environ, **python, "JAVA_HOME": str(find_java())}, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


SETTING = "%spark_conf spark.sql.shuffle.partitions=7 --conf spark.driver.memory=2g"
ATTACHED = """
from smartsensor.jobs.engine_spark import inherited_session
spark = inherited_session()
print("kernel", spark.sparkContext.applicationId, spark.conf.get("spark.sql.shuffle.partitions"), spark.range(10).count())
"""


@pytest.mark.spark
def test_spark_submit_runs_the_entry_and_the_kernel_takes_the_sessions_place(tmp_path: Path) -> None:
    path = notebook(tmp_path / "job.ipynb", SETTING, "%%sql\nSELECT 6 * 7 AS answer;", ATTACHED, "%status")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    child = submitted(
        tmp_path, "--notebook", str(path), "--run_id", RUN, "--SMARTSENSOR_ENGINE", "spark", "--JOB_NAME", "x"
    )
    out, err = child.communicate(timeout=90)
    assert child.returncode == 0, err
    assert re.search(r"kernel local-\d+ 7 10", out), out
    assert re.search(r"\|\s+42\|", out), "%%sql runs in the session of the job"
    assert "not to the session that runs: spark.driver.memory" in out
    assert err.count("Submitted application: smartsensor") == 1, "one session for the driver and the kernel"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before, "the notebook runs unmodified"
    assert kept(tmp_path) == ["job.html", "job.ipynb"]


@pytest.mark.spark
def test_spark_submit_fails_when_the_session_can_not_start(tmp_path: Path) -> None:
    path = notebook(tmp_path / "job.ipynb", ATTACHED)
    child = submitted(
        tmp_path,
        "--notebook",
        str(path),
        "--run_id",
        RUN,
        "--SMARTSENSOR_ENGINE=spark",
        conf=("spark.executor.memory=1m",),
    )
    _, err = child.communicate(timeout=90)
    assert child.returncode == 1
    assert "Executor memory" in err


@pytest.mark.spark
def test_a_signal_ends_the_job_and_leaves_what_was_done(tmp_path: Path) -> None:
    began = tmp_path / "began"
    cells = (f"open({str(began)!r}, 'w').close()", "import time\ntime.sleep(120)")
    path = notebook(tmp_path / "job.ipynb", *cells)
    child = submitted(tmp_path, "--notebook", str(path), "--run_id", RUN)
    deadline = time.monotonic() + 60
    while not began.exists() and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.1)
    os.kill(child.pid, signal.SIGTERM)  # to the JVM alone; the driver ends with its parent
    child.communicate(timeout=60)
    assert child.returncode != 0
    record = tmp_path / "lake" / "runs" / RUN / "job.ipynb"
    while not record.with_suffix(".html").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert record.exists(), "the executed notebook is kept"


def test_what_a_job_installs_is_pinned_and_no_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    dist = importlib.import_module("dist")
    wanted = dist.needed()
    assert {"papermill", "great-expectations", "ipykernel", "nbconvert"} <= wanted
    assert not {"nbdev", "pytest", "fastapi", "duckdb", "pyspark", "jupyterlab"} & wanted, (
        "extras and groups stay at home"
    )
    ours = dist.installed_by_a_job()
    assert not {"pandas", "numpy", "pyarrow", "boto3", "requests"} & ours, "Glue's own will do"
    assert wanted - dist.shipped().keys() <= ours <= wanted
    blocks = dist.pins(ours)
    assert len(blocks) == len(ours)
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)
