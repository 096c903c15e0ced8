"""A cluster of executors on this machine, each a process of its own, that leaves nothing behind."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import psutil

CONF = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.host": "127.0.0.1"}


def spark_home(
    folder: Path,  # made here; the caller removes it
) -> Path:  # for SPARK_HOME
    "A local cluster keeps its executors' files in $SPARK_HOME/work and knows no other place: so here is another home."
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    folder.mkdir(parents=True)
    for path in Path(spec.origin).parent.iterdir():
        if path.name != "work":
            (folder / path.name).symlink_to(path)
    return folder


def environment(
    java: Path,
    folder: Path,  # made here; the caller removes it, and with it what killed processes leave behind
    python: str = sys.executable,
) -> dict[str, str]:
    "What a driver finds in its environment, and its executors with it."
    settings = {"SPARK_HOME": str(spark_home(folder / "home")), "JAVA_HOME": str(java), "SPARK_LOCAL_IP": "127.0.0.1"}
    (folder / "tmp").mkdir()
    settings |= {
        "TMPDIR": str(folder / "tmp"),
        "JAVA_TOOL_OPTIONS": f"-Djava.io.tmpdir={folder / 'tmp'} -XX:-UsePerfData",
    }
    return {**settings, "PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python}


def executors() -> list[psutil.Process]:
    "The executors that this process has, oldest first."
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if any("CoarseGrainedExecutorBackend" in word for word in child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return sorted(found, key=lambda one: one.pid)


@contextlib.contextmanager
def two_hosts(
    env: Mapping[str, str],  # of `environment`
) -> Iterator[str]:  # address of the master
    "A master, and two workers that Spark takes for two machines: the copy of a slow task runs on another machine only."
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address, deploy = f"spark://127.0.0.1:{port}", "org.apache.spark.deploy"
    with contextlib.ExitStack() as stack:

        def start(host: str, *words: str) -> None:
            command = [f"{env['SPARK_HOME']}/bin/spark-class", *words, "--host", host, "--webui-port", "0"]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            child = subprocess.Popen(command, env={**os.environ, **env, "SPARK_LOCAL_IP": host}, **quiet)
            stack.callback(child.wait)
            stack.callback(child.terminate)

        start("127.0.0.1", f"{deploy}.master.Master", "--port", str(port))
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        for host in ("127.0.0.1", "127.0.0.2"):
            start(host, f"{deploy}.worker.Worker", address, "--cores", "1", "--memory", "1g")
        yield address
