"""Every command against every failure: the exit code, and one sentence that names what it is about. The table stands in nbs/run/110_cli.ipynb."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
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
from smartsensor.run.cli import app, run_command
from smartsensor.run.options import job_notebooks, suites
from smartsensor.simulator.faults import Fault, FaultPlan
from smartsensor.simulator.fleet import Fleet
from smartsensor.simulator.server import Running, serve
from smartsensor.simulator.state import Limits
from smartsensor.simulator.world import World

ROOT = Path(__file__).parents[2]
RUN = "20261120T100000Z-7f3a"
ONE_RESOURCE = ("--resource", "measurements")
NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
# What a command needs so that it can begin at all.
WORDS: Mapping[str, Sequence[str]] = {
    "extract": ("--run-id", RUN),
    "promote": ("--run-id", RUN),
    "backfill": ("--from", "2026-11-20T06:00:00Z", "--to", "2026-11-20T08:00:00Z"),
    "replay": (RUN,),
    "exports cancel": ("exp_1",),
    "sql": ("SELECT 1",),
    "versions": ("measurements",),
    "diff": ("measurements", "1", "2"),
    "rollback": ("measurements", "1"),
}


def names(typer_app: Any, before: str = "") -> Iterator[str]:
    "The words of each command, in the order of the help."
    for command in typer_app.registered_commands:
        yield before + (command.name or command.callback.__name__)
    for group in typer_app.registered_groups:
        name = group.typer_instance.info.name
        yield from names(group.typer_instance, f"{before}{name} " if isinstance(name, str) else before)


COMMANDS = tuple(names(app))
ASK = ("run", "check", "plan", "backfill", "discover")  # the API, before anything else
LOOK = (
    "docs", "sql", "versions", "diff", "rollback", "replay", "vacuum", "convert", "compact",
    "ledger show", "ledger gaps", "ledger verify", "exports list", "gate list", "quarantine list",
)  # fmt: skip
SETTLE = (*ASK, "extract", "promote", "exports cancel", "exports sweep")  # read settings
LAKES = ("run", "check", "plan", "backfill", *LOOK, "extract", "promote", "exports cancel", "exports sweep")
READ = (*ASK, "extract")  # the API


def in_process(notebook: Path, copy: Path, parameters: Mapping[str, Any], log: bool) -> tuple[str, str] | None:
    "What papermill does, without a kernel: the same cells, and the name and message of what ended them."
    cells, space = json.loads(notebook.read_text()), dict[str, Any]()
    for cell in (cell for cell in cells["cells"] if cell["cell_type"] == "code"):
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
    "No kernels, no pages, and an address where no API is."
    for name in [name for name in os.environ if name.startswith("SMARTSENSOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(notebooks_room, "run_papermill", in_process)
    monkeypatch.setattr(notebooks_room, "as_page", lambda notebook: "")
    monkeypatch.chdir(ROOT)
    set_api(monkeypatch, f"http://127.0.0.1:{free_port()}/v1", tmp_path / "lake")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def set_api(monkeypatch: pytest.MonkeyPatch, url: str, lake: Path, secret: str = "simulator-secret") -> None:
    api = ApiSettings(url, f"{url}/oauth2/token", "simulator", Secret(secret), rate_per_s=0, max_attempts=1)
    for name, value in as_env(Settings(api, lake=str(lake), history=timedelta(hours=2))).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def simulators() -> Iterator[Callable[[Fault | None], Running]]:
    "Simulators that have a fault for ever, or None; one for each."
    world = World(Fleet(assets=2, sensors=2))
    with ExitStack() as stack:

        @cache
        def simulator(fault: Fault | None) -> Running:
            plan, limits = FaultPlan((fault,) if fault else ()), Limits(burst=0, sustained=0)
            return stack.enter_context(serve(world=world, clock=lambda: NOON, limits=limits, plan=plan))

        yield simulator


@dataclass(frozen=True)
class Setting:
    """Where a command meets a failure."""

    command: str
    monkeypatch: pytest.MonkeyPatch
    folder: Path  # holds the lake, when there is one
    simulators: Callable[[Fault | None], Running]

    def serve(self, fault: Fault | None = None) -> None:
        api = self.simulators(fault)
        set_api(self.monkeypatch, api.base_url, self.folder / "lake", api.client_secret)
        self.monkeypatch.setenv("SMARTSENSOR_CLIENT_ID", api.client_id)

    def prepare(self, *jobs: str) -> None:
        "Run jobs that come before the command."
        for job in jobs:
            assert run_command([job, *ONE_RESOURCE, "--run-id", RUN]) == 0

    def begin_lake(self) -> None:
        Lake(str(self.folder / "lake")).put("runs/x/note.json", b"{}")


# --- the failures: each prepares one, and gives the words that belong to it ------------------------------------------

Words = Sequence[str]


def down(setting: Setting) -> Words:
    return ()


def no_settings(setting: Setting) -> Words:
    setting.monkeypatch.delenv("SMARTSENSOR_API_URL")
    return ()


def misspelt(setting: Setting) -> Words:
    setting.monkeypatch.setenv("SMARTSENSOR_LAKEE", "x")
    return ()


def is_file(setting: Setting) -> Words:
    (setting.folder / "lake").write_text("")
    return ()


def denied(setting: Setting) -> Words:
    setting.begin_lake()
    setting.folder.chmod(0o755)
    (setting.folder / "lake").chmod(0o700 if os.geteuid() == 0 else 0)
    return ()


def begun(setting: Setting) -> Words:
    setting.begin_lake()
    return ()


def busy(setting: Setting) -> Words:
    for scope in ("run", "backfill"):
        claims_room.claim(Lake(str(setting.folder / "lake")), RUN, scope)
    return ("--yes",) if setting.command == "vacuum" else ()


def full(setting: Setting) -> Words:
    "fsync is where a disk that delays its writes says that it is full."
    setting.serve()
    setting.begin_lake()

    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    setting.monkeypatch.setattr("smartsensor.lake.store.os.fsync", no_space)
    return ("--yes",) if setting.command == "vacuum" else ()


def no_suites(setting: Setting) -> Words:
    setting.serve()
    if setting.command == "promote":
        setting.prepare("check", "extract")
    (setting.folder / "suites").mkdir()
    setting.monkeypatch.setenv("SMARTSENSOR_EXPECTATIONS", str(setting.folder / "suites"))
    return ONE_RESOURCE


def held(setting: Setting) -> Words:
    "The source declares more rows than it gives, so nobody knows what is missing."
    setting.serve(Fault("lying_count", "/measurements/count", times=0, value=3))
    if setting.command == "promote":
        setting.prepare("check", "extract")
    return ONE_RESOURCE


def faulty(fault: Fault) -> Callable[[Setting], Words]:
    def prepare(setting: Setting) -> Words:
        if setting.command == "extract":
            setting.serve()
            setting.prepare("check")
        setting.serve(fault)
        return () if setting.command == "discover" else ONE_RESOURCE

    return prepare


def malformed(setting: Setting) -> Words:
    return ("nope",) if setting.command == "replay" else ("--run-id", "nope")


def words(*given: str) -> Callable[[Setting], Words]:
    return lambda setting: given


# failure: how it is made; the commands that can meet it; the code; what the sentence must name
FAILURES: Mapping[str, tuple[Callable[[Setting], Words], Sequence[str], int, str]] = {
    "an unknown option": (words("--nope"), COMMANDS, 2, "--nope"),
    "an unknown SMARTSENSOR_ variable": (misspelt, (*SETTLE, *LOOK), 2, "SMARTSENSOR_LAKEE"),
    "no API is configured": (no_settings, SETTLE, 2, "SMARTSENSOR_API_URL"),
    "an empty --lake": (words("--lake", ""), (*LAKES, "lab"), 2, "--lake"),
    "an unknown resource": (
        words("--resource", "nope"),
        ("run", "check", "extract", "promote", "plan", "backfill"),
        2,
        "no such resource: nope",
    ),
    "an unknown engine": (words("--engine", "foo"), ("run", "promote", "backfill"), 2, "foo"),
    "a malformed run id": (malformed, ("check", "extract", "promote", "replay"), 2, "'nope' is no run id"),
    "a suite is missing": (no_suites, ("run", "check", "promote", "plan", "backfill"), 2, r"measurements\.\w+\.json"),
    "the API is down": (down, ASK, 3, "reach|connect|reply"),
    "the API fails (503)": (faulty(Fault("status", "*", times=0, value=503)), READ, 3, "503"),
    "the client is unknown (401)": (faulty(Fault("invalid_client", times=0)), READ, 4, "invalid_client"),
    "the client may not read (403)": (
        faulty(Fault("status", "/measurements", times=0, value=403)),
        READ,
        4,
        "403|scope",
    ),
    "a page is none": (faulty(Fault("error_in_200", "/measurements", times=0)), READ, 5, "a page must be"),
    "the gate holds": (held, ("run", "promote", "backfill"), 6, "held|row"),
    "another run is at work": (busy, ("run", "backfill", "vacuum"), 7, "at work"),
    "the lake is denied": (denied, [name for name in LAKES if name != "plan"], 8, "access is denied"),
    "the lake is a file": (is_file, ("run", *LOOK), 8, "a file stands|there is no lake at"),
    "nothing was published": (begun, ("sql", "versions", "diff", "rollback"), 8, "has no table"),
    "there is no lake": (down, (*LOOK, "extract"), 8, "there is no|has no plan in"),
    "the disk is full": (full, ("run", "check", "extract", "promote", "backfill", "vacuum"), 8, "the disk is full"),
}


@contextmanager
def nobody() -> Iterator[None]:
    "As another user, where this is root: root may read all."
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("failure", "command"), [(failure, command) for failure, (_, meets, *_) in FAILURES.items() for command in meets]
)
def test_a_failure_is_its_code_and_one_sentence(
    failure: str,
    command: str,
    simulators: Callable[[Fault | None], Running],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare, _, code, says = FAILURES[failure]
    own = prepare(Setting(command, monkeypatch, tmp_path, simulators))
    capsys.readouterr()
    first = () if (failure, command) == ("a malformed run id", "replay") else WORDS.get(command, ())
    with nobody() if failure == "the lake is denied" else nullcontext():
        got = run_command([*command.split(), *first, *own])
    err = capsys.readouterr().err
    assert got == code, err
    assert "Traceback" not in err
    assert re.search(says, err), err
    beside = r"(check|extract|promote) …|Exit code|Note: |Look:   |Decide: |measurements: 1 window is held"  # the last: what a person does
    lines = [line for line in err.splitlines() if line.strip() and not re.match(beside, line)]
    assert len(lines) == 1, err


def test_the_table_of_the_docs_is_what_the_commands_do() -> None:
    head = "| command | " + " | ".join(FAILURES) + " |"
    rows = [head, "| --- |" + " --- |" * len(FAILURES)]
    for command in COMMANDS:
        codes = [str(code) if command in meets else "–" for _, meets, code, _ in FAILURES.values()]
        rows.append(f"| `{command}` | " + " | ".join(codes) + " |")
    notebook = json.loads((ROOT / "nbs/run/110_cli.ipynb").read_text())
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    table = "\n".join(rows)
    assert table in text, f"put this table into nbs/run/110_cli.ipynb, below 'Errors become exit codes':\n\n{table}"


def test_a_disk_that_is_really_full_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        Lake(str(disk)).put("runs/x/note.json", b"{}")
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(1 << 20))
        assert run_command(["run", "--lake", str(disk)]) == 8
        assert "the disk is full" in capsys.readouterr().err
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_each_error_of_the_package_has_a_code_by_its_own_name() -> None:
    inner = {
        "TokenError",
        "RateServerError",
        "CheckFailed",
        "JobFailed",
        "RetryExport",
        "_DownloadInterrupted",
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
    assert run_command(words) == 2
    assert says in capsys.readouterr().err


def test_a_fault_that_nobody_foresaw_says_its_kind_and_shows_where_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("client_secret=hunter2 broke")

    monkeypatch.setattr("smartsensor.run.upkeep.open_lake", broken)
    assert run_command(["vacuum"]) == 1
    err = capsys.readouterr().err
    assert "unexpected RuntimeError" in err
    assert "SMARTSENSOR_DEBUG=1" in err
    assert "Traceback" not in err
    assert "hunter2" not in err
    monkeypatch.setenv("SMARTSENSOR_DEBUG", "1")
    assert run_command(["vacuum"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_days_on_a_lake_that_has_begun_are_refused_or_said_to_do_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(fleet=Fleet(assets=2, sensors=2), limits=Limits(burst=0, sustained=0)) as api:
        set_api(monkeypatch, api.base_url, tmp_path / "lake", api.client_secret)
        monkeypatch.setenv("SMARTSENSOR_CLIENT_ID", api.client_id)
        words = ["run", "--resource", "measurements", "--days"]
        assert run_command([*words, "0.1"]) == 0
        capsys.readouterr()
        assert run_command([*words, "7"]) == 2
        err = capsys.readouterr().err
        assert "smartsensor backfill --from" in err
        assert run_command([*words, "0.1"]) == 0
        assert "--days 0.1 has no effect" in capsys.readouterr().err


def test_a_port_in_use_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run_command(["simulate", "--port", port]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert port in line


def test_job_notebooks_and_suites_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMARTSENSOR_EXPECTATIONS", raising=False)
    assert (job_notebooks(), suites()) == (ROOT / "glue_notebooks", ROOT / "expectations")
    (tmp_path / "glue_notebooks").mkdir()  # a project's own come first
    assert (job_notebooks(), suites()) == (tmp_path / "glue_notebooks", ROOT / "expectations")
    monkeypatch.setenv("SMARTSENSOR_EXPECTATIONS", "elsewhere")
    assert suites() == Path("elsewhere")


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
