"""Make .venv hold what a make target needs: `.ci/python .ci/environment.py run|spark|lab|test`.

Packages come by pip from the hash-pinned files in .ci/requirements/, which `make lock` exports from poetry.lock. A set
that is in place costs a few milliseconds; one whose files changed is installed again; a set-up that was killed half-way
is done anew from nothing. Standard library only, so that it runs before anything is installed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
BUSY = VENV / ".set-up-unfinished"
PLACE = VENV / ".made-for"
LOG = VENV / "set-up.log"

# What each set brings beyond `run`, by a module that is slow to import: imported once at set-up, which proves that the
# packages work together and leaves their bytecode behind. Compiling everything instead takes longer and 130 MB.
RUN_MODULES = (
    "great_expectations papermill pandas pyarrow.parquet pyiceberg.catalog.sql duckdb duckdb_engine matplotlib.pyplot fastapi fastapi_offline"
    " uvicorn boto3 requests typer tqdm IPython ipykernel.kernelapp nbconvert.exporters"
)
MODULES = {
    "run": RUN_MODULES,
    "spark": RUN_MODULES + " pyspark.sql",
    "lab": RUN_MODULES + " jupyterlab.labapp nbdev.export nbdev.test nbval.plugin",
    "test": RUN_MODULES + " pyspark.sql jupyterlab.labapp nbdev.export nbdev.test nbval.plugin moto.server polars",
}
# The sets that hold another one whole: whoever has `test` needs nothing more for `run`.
HELD_BY = {"run": ("spark", "lab", "test"), "spark": ("test",), "lab": ("test",), "test": ()}


def has_java_17() -> bool:
    "Whether Spark finds a Java 17 on this machine, in JAVA_HOME or on the PATH."
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None:
        return False
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30)
    except OSError:
        return False
    return answer.returncode == 0 and 'version "17' in answer.stderr


def requirement_files(name: str) -> list[Path]:
    "The files of a set, in the order in which they are installed: what builds, what is needed, a Java if there is none."
    names = ["build", name]
    if name == "spark" and not has_java_17():
        names.append("java")
    return [ROOT / ".ci" / "requirements" / f"{each}.txt" for each in names]


def fingerprint(name: str) -> str:
    "What the set was made from: its files, and what pip reads of pyproject.toml."
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    content = json.dumps([pyproject["project"], pyproject["build-system"], pyproject["tool"]["poetry"]], sort_keys=True)
    digest = hashlib.sha256(content.encode())
    for file in requirement_files(name):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def stamp(name: str) -> Path:
    return VENV / f".set-{name}"


def in_place(name: str) -> bool:
    "Whether the set, or one that holds it, was installed to the end from the files as they are now."
    if BUSY.exists() or not PYTHON.exists() or moved():
        return False
    sets = (name, *HELD_BY[name])
    return any(stamp(each).exists() and stamp(each).read_text() == fingerprint(each) for each in sets)


def moved() -> bool:
    "Whether .venv was made for another folder: its scripts name their interpreter by its absolute path."
    return PLACE.exists() and PLACE.read_text() != str(ROOT)


def usable() -> bool:
    "Whether .venv can be added to: finished, made for this folder, and of Python 3.11."
    if BUSY.exists() or moved() or not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 11))"]).returncode == 0


def start_over() -> None:
    "Put an empty environment in the place of what is there. Renamed before it is deleted: a kill leaves no half of it."
    discarded = ROOT / ".venv-discarded"
    shutil.rmtree(discarded, ignore_errors=True)
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        VENV.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)
    VENV.mkdir()
    BUSY.touch()
    venv.create(VENV, symlinks=True)


def set_up(name: str) -> None:
    "Install the set; the stamp is written last, so that what is killed on the way is done again from nothing."
    if not usable():
        start_over()
    BUSY.touch()
    call(PYTHON, "-m", "ensurepip", "--default-pip")
    # --no-deps: the files are complete (a test holds them so). What comes as source (pyspark) and this package are built
    # with the pinned tools of build.txt, which is installed first.
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--no-input", "--no-compile", "--no-deps", "--no-build-isolation")
    for file in requirement_files(name):
        call(*pip, "--use-pep517", "--require-hashes", "-r", file)
    call(*pip, "--editable", ROOT)
    call(PYTHON, "-W", "ignore", "-c", "; ".join(f"import {module}" for module in MODULES[name].split()))
    PLACE.write_text(str(ROOT))
    stamp(name).write_text(fingerprint(name))
    BUSY.unlink()


def call(*command: str | Path) -> None:
    "Run a command, its output to the log, without the user's settings that would lead pip or Python elsewhere."
    hidden = {"PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "PIP_USER", "PIP_TARGET", "PIP_PREFIX"}
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    env |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "GX_ANALYTICS_ENABLED": "false"}
    with LOG.open("a") as log:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        subprocess.run(command, check=True, env=env, cwd=ROOT, close_fds=False, **quiet)


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    "Hold off a second set-up of the same checkout, also while a pip lives on whose set-up was killed: it holds the lock too."
    folder = os.open(ROOT / ".ci", os.O_RDONLY)
    os.set_inheritable(folder, True)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def main(name: str) -> int:
    "Make the set be there; 0 when it is."
    if in_place(name):
        return 0
    with one_at_a_time():
        if in_place(name):
            return 0
        again = usable() and any(stamp(each).exists() for each in MODULES)
        minutes = "about two minutes" if name == "test" else "about a minute"
        how_long = "bringing it up to date" if again else f"first time, {minutes}"
        print(f"Setting up the environment ({how_long}) ...", end="", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            set_up(name)
        except subprocess.CalledProcessError as error:
            print(" failed.", file=sys.stderr)
            report(error)
            return 1
        print(f" done in {time.monotonic() - started:.0f} s.", file=sys.stderr)
    return 0


def report(error: subprocess.CalledProcessError) -> None:
    "Say what failed and show the end of its output."
    lines = [line for line in LOG.read_text(errors="replace").splitlines() if not line.startswith("WARNING: Location")]
    print("\n".join(lines[-30:]), file=sys.stderr)
    print(f"\nThis failed: {' '.join(map(str, error.cmd))[:300]}\nThe whole log: {LOG}", file=sys.stderr)
    print("pip takes packages from where your pip is configured to; run make again to start over.", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in MODULES:
        sys.exit(f"usage: .ci/python .ci/environment.py {'|'.join(MODULES)}")
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; the next make starts the set-up over.")
