"""Check everything: `make test`, which is also what CI runs. Each step runs whatever became of those before it.

Steps that pytest runs count by their tests, every other step counts as one. The last line is the sum. No step changes a
file of the checkout. Standard library only; `.venv/bin/python .ci/check.py ruff mypy` runs the steps of these names.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
PYTHON = str(BIN / "python")
STEP_LIMIT_S = 2700
TAIL_LINES = 80


@dataclass(frozen=True)
class Outcome:
    "What came of a step."

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    output: str = ""
    note: str = ""  # a few words for the summary


def environment() -> dict[str, str]:
    "What the steps see: .venv's programs first, no settings of the user's, no way to a real AWS account."
    foreign = ("SMARTSENSOR_", "AWS_", "PYTEST_", "PYTHONPATH", "PYTHONHOME", "JUPYTER_", "NBDEV_", "RUFF_", "MYPY")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return env | {
        "PATH": f"{BIN}{os.pathsep}{env['PATH']}",
        "VIRTUAL_ENV": str(BIN.parent),
        "TZ": "UTC",
        "NO_COLOR": "1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "GX_ANALYTICS_ENABLED": "false",
    }


def run(*command: str, cwd: Path = ROOT) -> tuple[int, str]:
    "Exit code and output of a command, which is ended with its children when it takes too long or we are interrupted."
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=STEP_LIMIT_S)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        output = end(process)
        return 124, f"{output}\nStopped after {STEP_LIMIT_S} s."
    except KeyboardInterrupt:
        end(process)
        raise


def end(process: subprocess.Popen[str]) -> str:
    "Kill the process group that the command leads; what it had printed."
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    return output


def step(*command: str) -> Outcome:
    "A command that passes by exiting with 0."
    code, output = run(*command)
    return Outcome(passed=1, output=output) if code == 0 else Outcome(failed=1, output=output)


def pytest(*arguments: str) -> Outcome:
    "A pytest run, counted by its tests; one that ends badly without a failed test counts as one failure."
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code, output = run(
            PYTHON, "-m", "pytest", "-q", "--color=no", f"--junitxml={report}", "-n", "2", "--dist=loadfile", *arguments
        )
        if not report.exists():
            return Outcome(failed=1, output=output)
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    failed = min(failures + errors, total)
    passed = total - failed - skipped
    if code != 0 and failed == 0:
        failed = 1
    return Outcome(passed, failed, skipped, output, f"{total} tests")


def files(folder: Path) -> dict[str, bytes]:
    "What the notebooks and the modules are made of, by path."
    found = [path for part in ("nbs", "smartsensor", "glue_notebooks") for path in (folder / part).rglob("*")]
    kept = [path for path in found if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def in_step() -> Outcome:
    "nbdev_clean and nbdev_export change nothing. Tried on a copy: uncommitted work is neither in the way nor touched."
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        before = files(ROOT)
        for name, content in before.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
        for name in ("settings.ini", "pyproject.toml"):
            shutil.copy(ROOT / name, copy)
        for command in (("nbdev_clean",), ("nbdev_clean", "--fname", "glue_notebooks"), ("nbdev_export",)):
            code, output = run(*command, cwd=copy)
            if code != 0:
                return Outcome(failed=1, output=f"{' '.join(command)} failed:\n{output}")
        after = files(copy)
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if differing:
        listed = "\n  ".join(differing)
        return Outcome(failed=1, output=f"These are not as nbdev leaves them; run `make prepare`:\n  {listed}")
    return Outcome(passed=1, note=f"{len(before)} files")


def nbdev_test() -> Outcome:
    "Every notebook in nbs/ runs from top to bottom. nbdev_test calls it a success when it finds none: counted here."
    found = (path.relative_to(ROOT) for path in (ROOT / "nbs").rglob("*.ipynb"))
    notebooks = [
        path for path in found if not any(part.startswith((".", "_")) for part in path.parts)
    ]  # as nbdev has it
    code, output = run("nbdev_test", "--n_workers", "2", "--do_print", "--timing")
    completed = output.count("- Completed ")
    note = f"{completed} notebooks"
    if code == 0 and completed == len(notebooks) > 0:
        return Outcome(passed=1, output=output, note=note)
    return Outcome(failed=1, output=f"{output}\n{completed} of {len(notebooks)} notebooks ran.", note=note)


def nbval() -> Outcome:
    "The notebooks whose output is the point give the same output again. pyproject.toml lists them."
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["smartsensor"]
    listed = [ROOT / name for name in settings["outputs-compared"]]
    silent = [path.name for path in listed if not path.exists() or not has_output(path)]
    if silent or not listed:
        return Outcome(failed=1, output=f"No output to compare in: {', '.join(silent) or 'an empty list'}")
    sanitize = f"--nbval-sanitize-with={ROOT / '.ci' / 'nbval.ini'}"
    return pytest("--nbval", "--nbval-current-env", sanitize, *map(str, listed))


def has_output(notebook: Path) -> bool:
    return any(cell.get("outputs") for cell in json.loads(notebook.read_text())["cells"])


def readme() -> Outcome:
    "README.md is what nbs/index.ipynb says."
    if not (ROOT / "nbs" / "index.ipynb").exists():
        return Outcome(failed=1, output="nbs/index.ipynb is missing")
    return step(PYTHON, ".ci/readme.py", "--check")


STEPS: dict[str, Callable[[], Outcome]] = {
    "packages": lambda: step(PYTHON, "-m", "pip", "check"),
    "nbdev": in_step,
    "house": lambda: step(PYTHON, ".ci/house.py"),
    "readme": readme,
    "ruff": lambda: step("ruff", "check", "--no-cache", "."),
    "format": lambda: step("ruff", "format", "--no-cache", "--check", "."),
    "mypy": lambda: step("mypy"),
    "notebooks": nbdev_test,
    "pytest": lambda: pytest(),
    "outputs": nbval,
}


def attempt(name: str) -> tuple[Outcome, float]:
    "Run a step, say how it went, and show the end of its output when it failed."
    print(f"{name:<10} ", end="", flush=True)
    started = time.monotonic()
    outcome = STEPS[name]()
    seconds = time.monotonic() - started
    print(f"{'FAILED' if outcome.failed else 'ok':<7}{seconds:6.1f} s", flush=True)
    if outcome.failed:
        lines = outcome.output.rstrip().splitlines()
        cut = [f"... {len(lines) - TAIL_LINES} lines above left out"] if len(lines) > TAIL_LINES else []
        print("\n".join(f"    | {line}" for line in cut + lines[-TAIL_LINES:]), flush=True)
    return outcome, seconds


def summary(results: dict[str, tuple[Outcome, float]]) -> None:
    "The table, and the sum as the last line."
    print(f"\n{'step':<10} {'result':<7}{'passed':>7}{'failed':>7}{'skipped':>8}{'seconds':>9}")
    for name, (outcome, seconds) in results.items():
        word = "FAILED" if outcome.failed else "ok"
        counts = f"{outcome.passed:>7}{outcome.failed:>7}{outcome.skipped:>8}{seconds:>9.1f}"
        print(f"{name:<10} {word:<7}{counts}  {outcome.note}".rstrip())
    outcomes = [outcome for outcome, _ in results.values()]
    passed, failed, skipped = (sum(getattr(each, key) for each in outcomes) for key in ("passed", "failed", "skipped"))
    print(f"{'':<42}{sum(seconds for _, seconds in results.values()):>6.1f}\n")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")


def main(names: list[str]) -> int:
    "0 when nothing failed and something passed."
    unknown = [name for name in names if name not in STEPS]
    if unknown:
        print(f"No such step: {', '.join(unknown)}. There are: {', '.join(STEPS)}", file=sys.stderr)
        return 2
    results = {name: attempt(name) for name in names or STEPS}
    summary(results)
    return int(any(outcome.failed for outcome, _ in results.values()))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
