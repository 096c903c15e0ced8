"""Every command against every failure: the exit code, and one sentence that names what it is about. The table stands in nbs/run/67_commands.ipynb."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from smartsensor.config import ApiSettings, Secret, Settings, as_env
from smartsensor.lake.lake import Lake
from smartsensor.lake.store import LakeError
from smartsensor.run import claims as claims_room
from smartsensor.run import exit_codes as exit_codes_room
from smartsensor.run import notebooks as notebooks_room
from smartsensor.run import options as options_room
from smartsensor.run import upkeep as upkeep_room
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import serve
from smartsensor.simulator.state import Limits

ROOT = Path(__file__).parents[2]
RUN = "20261120T100000Z-7f3a"
# The words of each command that need no lake, no API, or more than a name to begin.
WORDS: Mapping[str, Sequence[str]] = {
    "extract": ("--run-id", RUN),
    "promote": ("--run-id", RUN),
    "backfill": ("--from", "2026-11-01", "--to", "2026-11-02"),
    "replay": (RUN,),
    "exports cancel": ("exp_1",),
}


def names(app: Any, before: str = "") -> Iterator[str]:
    for one in app.registered_commands:
        yield before + (one.name or one.callback.__name__)
    for group in app.registered_groups:
        yield from names(group.typer_instance, f"{group.name or group.typer_instance.info.name} ")


COMMANDS = tuple(names(options_room.app))
ASK = ("run", "check", "plan", "backfill", "discover")  # the API, before anything else
LOOK = ("docs", "replay", "vacuum", "ledger show", "ledger gaps", "ledger verify", "exports list")
SETTLE = (*ASK, "extract", "promote", "exports cancel", "exports sweep")  # read settings


def in_process(notebook: Path, copy: Path, parameters: Mapping[str, Any], log: bool) -> tuple[str, str] | None:
    "What papermill does, without a kernel: the same cells, and the name and message of what ended them."
    cells, space = json.loads(notebook.read_text()), dict[str, Any]()
    for cell in (one for one in cells["cells"] if one["cell_type"] == "code"):
        try:
            exec("".join(line for line in cell["source"] if not line.startswith("%")), space)
        except Exception as error:
            return type(error).__name__, str(error)
        cell["execution_count"] = 1
        if "parameters" in cell["metadata"].get("tags", ()):
            space |= parameters
    copy.write_text(json.dumps(cells))
    return None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [one for one in os.environ if one.startswith("SMARTSENSOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(notebooks_room, "run_papermill", in_process)
    monkeypatch.setattr(notebooks_room, "as_page", lambda notebook: "")
    monkeypatch.chdir(ROOT)
    set_api(monkeypatch, f"http://127.0.0.1:{free_port()}/v1", tmp_path / "lake")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def set_api(monkeypatch: pytest.MonkeyPatch, url: str, lake: Path, secret: str = "simulator-secret") -> None:
    api = ApiSettings(url, f"{url}/oauth2/token", "simulator", Secret(secret), rate_per_s=0, max_attempts=1)
    for name, value in as_env(Settings(api, lake=str(lake), history=timedelta(hours=2))).items():
        monkeypatch.setenv(name, value)


@contextmanager
def nobody() -> Iterator[None]:
    "As another user, where this is root: it may read all."
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


Setter = Callable[[pytest.MonkeyPatch, Path], Sequence[str]]  # prepares a failure, and gives words that belong to it


def begun(lake: Path) -> None:
    Lake(str(lake)).put("runs/x/note.json", b"{}")


def down(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Sequence[str]:
    return ()


def no_settings(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Sequence[str]:
    monkeypatch.delenv("SMARTSENSOR_API_URL")
    return ()


def misspelt(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Sequence[str]:
    monkeypatch.setenv("SMARTSENSOR_LAKEE", "x")
    return ()


def is_file(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Sequence[str]:
    (folder / "lake").write_text("")
    return ()


def denied(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Sequence[str]:
    begun(folder / "lake")
    folder.chmod(0o755)
    (folder / "lake").chmod(0o700 if os.geteuid() == 0 else 0)
    return ()


def busy(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Sequence[str]:
    for scope in ("run", "backfill"):
        claims_room.claim(Lake(str(folder / "lake")), RUN, scope)
    return ()


def where(words: Sequence[str]) -> Setter:
    return lambda monkeypatch, folder: words


LAKES = ("run", "check", "plan", "backfill", *LOOK, "extract", "promote", "exports cancel", "exports sweep")
# failure: how it is made; the commands that it can meet; the code; what the sentence must name
FAILURES: Mapping[str, tuple[Setter, Sequence[str], int, str]] = {
    "an unknown option": (where(["--nope"]), COMMANDS, 2, "--nope"),
    "an unknown SMARTSENSOR_ variable": (misspelt, (*SETTLE, *LOOK), 2, "SMARTSENSOR_LAKEE"),
    "no API is configured": (no_settings, SETTLE, 2, "SMARTSENSOR_API_URL"),
    "an empty --lake": (where(["--lake", ""]), (*LAKES, "lab"), 2, "--lake"),
    "an unknown resource": (
        where(["--resource", "nope"]),
        ("run", "check", "extract", "promote", "plan", "backfill"),
        2,
        "no such resource: nope",
    ),
    "an unknown engine": (where(["--engine", "foo"]), ("run", "promote", "backfill"), 2, "foo"),
    "the API is down": (down, ASK, 3, "reach|connect|reply"),
    "the lake is denied": (denied, [one for one in LAKES if one != "plan"], 8, "access is denied"),
    "the lake is a file": (is_file, ("run", *LOOK), 8, "a file stands|there is no lake at"),
    "there is no lake": (down, (*LOOK, "extract"), 8, "there is no"),
    "another run is at work": (busy, ("run", "backfill", "vacuum"), 7, "at work"),
}


def met(failure: str, command: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    prepare, _, _, _ = FAILURES[failure]
    words = [*command.split(), *WORDS.get(command, ()), *prepare(monkeypatch, folder)]
    if (failure, command) == ("another run is at work", "vacuum"):
        words.append("--yes")
    with nobody() if failure == "the lake is denied" else nullcontext():
        return upkeep_room.run_command(words)


@pytest.mark.parametrize(
    ("failure", "command"), [(failure, command) for failure, (_, some, *_) in FAILURES.items() for command in some]
)
def test_a_failure_is_its_code_and_one_sentence(
    failure: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, code, says = FAILURES[failure]
    if (failure, command) == ("an unknown option", "simulate"):
        with pytest.raises(SystemExit) as ended:
            met(failure, command, monkeypatch, tmp_path)
        got = ended.value.code
    else:
        got = met(failure, command, monkeypatch, tmp_path)
    err = capsys.readouterr().err
    assert got == code, err
    assert "Traceback" not in err
    assert re.search(says, err), err
    lines = [
        line for line in err.splitlines() if line.strip() and not re.match(r"(check|extract|promote) …|Exit code", line)
    ]
    assert len(lines) == (2 if command == "simulate" else 1), err


def test_the_table_of_the_docs_is_what_the_commands_do() -> None:
    head = "| command | " + " | ".join(FAILURES) + " |"
    rows = [head, "| --- |" + " --- |" * len(FAILURES)]
    for command in COMMANDS:
        codes = [str(code) if command in some else "–" for _, some, code, _ in FAILURES.values()]
        rows.append(f"| `{command}` | " + " | ".join(codes) + " |")
    notebook = json.loads((ROOT / "nbs" / "nbs/run/67_commands.ipynb").read_text())
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    table = "\n".join(rows)
    assert table in text, f"put this table into nbs/run/67_commands.ipynb, below 'Errors become exit codes':\n\n{table}"


def test_each_error_of_the_package_has_a_code_by_its_own_name() -> None:
    inner = {
        "TokenError",
        "DeskError",
        "CheckFailed",
        "JobFailed",
        "Again",
        "_Slip",
        "Stopped",
        "_Unordered",
        "ExecutorsLost",
        "Problem",
        "Ended",
    }
    modules = [value for name, value in sys.modules.items() if name.startswith("smartsensor.")]
    kinds = {
        one.__name__
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, BaseException) and one.__module__.startswith("smartsensor.")
    }
    assert "ConfigError" in kinds
    assert kinds - inner <= set(exit_codes_room.CODES)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("backfill", "--from", "yesterday", "--to", "2026-11-02"), "--from 'yesterday'"),
        (("backfill", "--from", "2026-13-01", "--to", "2026-11-02"), "--from '2026-13-01'"),
        (("backfill", "--from", "2026-11-03", "--to", "2026-11-02"), "does not come before"),
        (("backfill", "--force"), "no effect"),
    ],
)
def test_an_option_that_can_have_no_effect_is_refused(
    words: Sequence[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upkeep_room.run_command(words) == 2
    assert says in capsys.readouterr().err


def test_a_fault_that_nobody_foresaw_says_its_kind_and_shows_where_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("client_secret=hunter2 broke")

    monkeypatch.setattr(options_room, "_opened", broken)
    assert upkeep_room.run_command(["vacuum"]) == 1
    err = capsys.readouterr().err
    assert "unexpected RuntimeError" in err
    assert "SMARTSENSOR_DEBUG=1" in err
    assert "Traceback" not in err
    assert "hunter2" not in err
    monkeypatch.setenv("SMARTSENSOR_DEBUG", "1")
    assert upkeep_room.run_command(["vacuum"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_days_on_a_lake_that_has_begun_are_refused_or_said_to_do_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(fleet=Fleet(assets=2, sensors=2), limits=Limits(burst=0, sustained=0)) as api:
        set_api(monkeypatch, api.base_url, tmp_path / "lake", api.client_secret)
        monkeypatch.setenv("SMARTSENSOR_CLIENT_ID", api.client_id)
        words = ["run", "--resource", "measurements", "--days"]
        assert upkeep_room.run_command([*words, "0.1"]) == 0
        capsys.readouterr()
        assert upkeep_room.run_command([*words, "7"]) == 2
        err = capsys.readouterr().err
        assert "smartsensor backfill --from" in err
        assert upkeep_room.run_command([*words, "0.1"]) == 0
        assert "--days 0.1 has no effect" in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = str(one.getsockname()[1])
        with pytest.raises(SystemExit) as ended:
            upkeep_room.run_command(["simulate", "--port", port])
    assert ended.value.code == 2
    assert port in capsys.readouterr().err


def test_a_lake_where_nothing_can_be_made_is_named() -> None:
    with pytest.raises(LakeError, match=r"/proc/lake/state/x/00000001\.json: nothing can be made here"):
        Lake("/proc/lake").log("x").append(1, {})


@pytest.mark.parametrize("moment", ["First run", "check …", "extract …"])
def test_ctrl_c_is_one_line_that_says_how_it_goes_on(moment: str, tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SMARTSENSOR_")}
    command = [sys.executable, "-m", "smartsensor.run.cli", "run", "--simulate", "--lake", str(tmp_path / "lake")]
    log = tmp_path / "log"
    with log.open("wb") as file:
        child = subprocess.Popen(
            command, cwd=ROOT, env={**clean, "PYTHONUNBUFFERED": "1"}, stdout=file, stderr=file, start_new_session=True
        )
    try:
        until = time.monotonic() + 60
        while moment not in log.read_text() and time.monotonic() < until and child.poll() is None:
            time.sleep(0.05)
        started = psutil.Process(child.pid).children(recursive=True)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(60) == 130
    finally:
        if child.poll() is None:
            child.kill()
    text = log.read_text()
    assert "Traceback" not in text, text
    assert "Fatal" not in text
    after = text.rstrip().splitlines()[-1]
    assert after == "Interrupted. What has landed stays; `make run` goes on from here."
    assert len(text.rstrip().splitlines()) <= 4, text
    assert not psutil.wait_procs(started, timeout=20)[1]
