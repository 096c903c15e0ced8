"""Run the job notebooks in AWS Glue's own kernel: `.venv/bin/python tests/spark/real_kernel.py /path/to/its/python`.

That Python's environment has aws-glue-sessions (the extra `glue-kernel`). What the kernel asks of AWS is answered here, on
127.0.0.1: a session that is ready at once, and statements that run in this process, with DuckDB, against the simulator. So this
shows that the real kernel takes our files as they are; what Glue's session then does with them, only Glue can show.
"""

import ast
import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
RUN = "20261120T100000Z-real"
PROFILE = """[default]
region = eu-central-1
glue_iam_role = arn:aws:iam::123456789012:role/session
aws_access_key_id = none
aws_secret_access_key = none
"""


class Session:
    """An interactive session that is a Python namespace."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}  # of CreateSession
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._done: list[dict[str, Any]] = []

    def answer(self, action: str, body: dict[str, Any]) -> dict[str, Any]:
        "What Glue replies."
        if action == "CreateSession":
            self.asked = body
        if action == "RunStatement":
            self._done.append(self._run(body["Code"]))
            return {"Id": len(self._done) - 1}
        if action == "GetStatement":
            return {"Statement": {"Id": body["Id"], "State": "AVAILABLE", "Output": self._done[body["Id"]]}}
        return {"Session": {"Id": self.asked["Id"], "Status": "READY"}, "Id": self.asked["Id"]}

    def _run(self, code: str) -> dict[str, Any]:
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(io.StringIO()):
                tree = ast.parse(code)
                last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
                exec(compile(tree, "statement", "exec"), self._names)
                value = eval(compile(ast.Expression(last.value), "statement", "eval"), self._names) if last else None
                if value is not None:
                    print(repr(value)[:500])
        except Exception as error:
            lines = traceback.format_exc().splitlines()
            return {"Status": "error", "ErrorName": type(error).__name__, "ErrorValue": str(error), "Traceback": lines}
        return {"Status": "ok", "Data": {"TextPlain": output.getvalue()}}


@contextlib.contextmanager
def service(session: Session) -> Iterator[str]:
    "The service on 127.0.0.1; its address."

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            reply = json.dumps(session.answer(self.headers["X-Amz-Target"].partition(".")[2], body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def wanted(notebook: Path) -> dict[str, str]:
    "What the session cell asks for."
    cells = json.loads(notebook.read_text())["cells"]
    lines = "".join(next(one for one in cells if "session" in one["metadata"].get("tags", []))["source"]).splitlines()
    return {line[1:].split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("%")}


def run(python: str, notebook: Path, folder: Path) -> tuple[Path, Session]:
    "One notebook in the real kernel, by papermill."
    import papermill

    session, copy = Session(), folder / notebook.name
    place = folder / "kernels" / "glue_pyspark"
    place.mkdir(parents=True, exist_ok=True)
    argv = [python, "-m", "aws_glue_interactive_sessions_kernel.glue_pyspark.GlueKernel", "-f", "{connection_file}"]
    (place / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Glue PySpark", "language": "python"}))
    (folder / ".aws").mkdir(exist_ok=True)
    (folder / ".aws" / "config").write_text(PROFILE)
    environment = {"HOME": str(folder), "JUPYTER_PATH": str(folder), "AWS_EC2_METADATA_DISABLED": "true"}
    environment |= {"request_origin": "GlueStudioNotebook"}  # else it asks for its newest version
    with service(session) as address:
        # With a profile the kernel follows AWS_ENDPOINT_URL, without one it would not: both ways lead here.
        os.environ.update(
            {**environment, "AWS_ENDPOINT_URL": address, "glue_profile": "default", "glue_endpoint_url": address}
        )
        parameters = {"run_id": RUN}
        papermill.execute_notebook(
            notebook, copy, parameters, kernel_name="glue_pyspark", language="python", progress_bar=False
        )
    return copy, session


def main(python: str) -> int:
    from smartsensor.run.notebooks import session_fault
    from smartsensor.simulator.server import start_process

    with tempfile.TemporaryDirectory() as name, start_process() as api:
        folder = Path(name)
        settings = {"API_URL": api.base_url, "CLIENT_ID": api.client_id, "CLIENT_SECRET": api.client_secret}
        settings |= {"LAKE": str(folder / "lake"), "HISTORY_DAYS": "0.1", "ENGINE": "duckdb"}
        os.environ.update({f"SMARTSENSOR_{key}": value for key, value in settings.items()})
        os.environ["SMARTSENSOR_EXPECTATIONS"] = str(ROOT / "expectations")
        for job in ("check", "extract", "promote"):
            notebook = ROOT / "glue_notebooks" / f"{job}.ipynb"
            before = hashlib.sha256(notebook.read_bytes()).hexdigest()
            copy, session = run(python, notebook, folder)
            if fault := session_fault(copy.read_bytes()):
                sys.exit(f"{job}: {fault}")
            cell, asked = wanted(notebook), session.asked
            assert hashlib.sha256(notebook.read_bytes()).hexdigest() == before
            assert (cell["glue_version"], cell["worker_type"]) == (asked["GlueVersion"], asked["WorkerType"])
            assert (int(cell["number_of_workers"]), int(cell["idle_timeout"])) == (
                asked["NumberOfWorkers"],
                asked["IdleTimeout"],
            )
            assert asked["DefaultArguments"]["--additional-python-modules"] == cell["additional_python_modules"]
            assert asked["DefaultArguments"]["--conf"] == cell["spark_conf"]
            print(
                f"{job}: {before[:12]}, session {asked['GlueVersion']} of {asked['NumberOfWorkers']} {asked['WorkerType']}"
            )
        promoted = json.loads((folder / "lake" / "runs" / RUN / "promote.json").read_text())["promotions"]
    print(f"3 notebooks ran unmodified in Glue's own kernel; {sum(one['new'] for one in promoted)} rows published")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
