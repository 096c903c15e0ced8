"""What holds the project together: the lock, the requirement files, the version, and what must stand in no file."""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import smartsensor

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = tomllib.loads((ROOT / "poetry.lock").read_text())
SETS: dict[str, dict[str, list[str]]] = PYPROJECT["tool"]["smartsensor"]["requirements"]
# The machines that the two must agree on. A marker that neither of them mentions makes no difference.
MACHINES = [
    {
        "python_version": "3.11",
        "python_full_version": "3.11.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": os_name,
        "sys_platform": sys_platform,
        "platform_system": platform_system,
        "platform_machine": machine,
        "extra": "",
    }
    for (os_name, sys_platform, platform_system), machine in product(
        [("posix", "linux", "Linux"), ("posix", "darwin", "Darwin"), ("nt", "win32", "Windows")],
        ["x86_64", "aarch64", "arm64", "AMD64"],
    )
]


def load(name: str) -> ModuleType:
    "A script of .ci/ as a module."
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@cache
def committed() -> tuple[Path, ...]:
    "The files that are in git, or would be with the next `git add`."
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(sorted(path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()))


@cache
def text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


# --- the lock and the requirement files ---------------------------------------------------------------------------


def test_lock_is_of_this_pyproject() -> None:
    "The hash that Poetry itself compares (Locker._get_content_hash of Poetry 2): `make lock` renews it."
    project = PYPROJECT["project"]
    poetry = PYPROJECT["tool"]["poetry"]
    relevant: dict[str, Any] = {
        "project": {
            key: project[key] for key in ("requires-python", "dependencies", "optional-dependencies") if key in project
        },
        "dependency-groups": PYPROJECT["dependency-groups"],
    }
    of_poetry = {key: poetry[key] for key in ("dependencies", "source", "extras", "group") if key in poetry}
    relevant["tool"] = {"poetry": of_poetry}
    digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
    assert LOCK["metadata"]["content-hash"] == digest, "pyproject.toml has changed since the lock: run `make lock`"


def locked(name: str, machine: dict[str, str]) -> dict[str, tuple[str, frozenset[str]]]:
    "What the lock gives a set on a machine: version and hashes by package."
    groups, extras = SETS[name]["groups"], SETS[name]["extras"]
    found = {}
    for package in LOCK["package"]:
        wanted = [group for group in package["groups"] if group in groups]
        markers = package.get("markers")
        if any(
            applies(markers.get(group) if isinstance(markers, dict) else markers, machine, extras) for group in wanted
        ):
            hashes = frozenset(file["hash"] for file in package["files"])
            found[canonicalize_name(package["name"])] = (package["version"], hashes)
    return found


def applies(marker: str | None, machine: dict[str, str], extras: list[str]) -> bool:
    "Whether a marker holds on the machine with these extras, or with none."
    return marker is None or any(Marker(marker).evaluate({**machine, "extra": extra}) for extra in ["", *extras])


def pinned(name: str) -> list[tuple[Requirement, frozenset[str]]]:
    "The lines of a requirement file, each with its hashes. Anything else in it, an option say, fails here."
    lines = (ROOT / ".ci" / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ").splitlines()
    rows = []
    for line in lines:
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        assert hashes, f"{name}.txt: not pinned by a hash: {line[:80]}"
        rows.append((Requirement(requirement), frozenset(hashes)))
    return rows


def required(name: str, machine: dict[str, str]) -> dict[str, tuple[str, frozenset[str]]]:
    "What the requirement file gives a set on a machine."
    return {
        canonicalize_name(requirement.name): (str(requirement.specifier).removeprefix("=="), hashes)
        for requirement, hashes in pinned(name)
        if requirement.marker is None or requirement.marker.evaluate(machine)
    }


@pytest.mark.parametrize("name", SETS)
def test_requirement_file_is_what_the_lock_says(name: str) -> None:
    for machine in MACHINES:
        assert required(name, machine) == locked(name, machine), f"run `make lock` ({machine['sys_platform']})"


def needs(package: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    "The packages that a locked one cannot do without: name and marker."
    for name, constraint in package.get("dependencies", {}).items():
        for each in constraint if isinstance(constraint, list) else [constraint]:
            if not isinstance(each, dict):
                yield name, None
            elif not each.get("optional"):
                yield name, each.get("markers")


@pytest.mark.parametrize("name", [name for name in SETS if name != "java"])
def test_requirement_file_is_complete(name: str) -> None:
    "It is installed with --no-deps, so whatever a package in it needs must be in it too."
    for machine in MACHINES:
        there = locked(name, machine)
        for package in LOCK["package"]:
            if canonicalize_name(package["name"]) in there:
                missing = {
                    other
                    for other, marker in needs(package)
                    if applies(marker, machine, []) and canonicalize_name(other) not in there
                }
                assert not missing, f"{package['name']} needs {missing} on {machine['sys_platform']}"


def declared(name: str) -> Iterator[Requirement]:
    "What pyproject.toml asks for in a set, groups that include others followed."
    groups = list(SETS[name]["groups"])
    while groups:
        group = groups.pop()
        entries = PYPROJECT["project"]["dependencies"] if group == "main" else PYPROJECT["dependency-groups"][group]
        groups += [entry["include-group"] for entry in entries if isinstance(entry, dict)]
        yield from (Requirement(entry) for entry in entries if isinstance(entry, str))
    for extra in SETS[name]["extras"]:
        yield from map(Requirement, PYPROJECT["project"]["optional-dependencies"][extra])


@pytest.mark.parametrize("name", SETS)
def test_requirement_file_satisfies_pyproject(name: str) -> None:
    there = required(name, MACHINES[0])
    for requirement in declared(name):
        version, _ = there[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement} is locked at {version}"


def test_one_version_of_a_package_in_all_sets() -> None:
    "The sets are installed into one environment, one over the other."
    versions: dict[str, set[str]] = {}
    for name in SETS:
        for package, (version, _) in required(name, MACHINES[0]).items():
            versions.setdefault(package, set()).add(version)
    assert {package: seen for package, seen in versions.items() if len(seen) > 1} == {}


def test_requirement_files_are_those_declared() -> None:
    assert {path.stem for path in (ROOT / ".ci" / "requirements").glob("*.txt")} == set(SETS)


def test_one_version_of_the_project() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini")
    assert PYPROJECT["project"]["version"] == settings["DEFAULT"]["version"] == smartsensor.__version__


# --- the environment and the check --------------------------------------------------------------------------------


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    "The set-up script over a checkout of its own, whose environment looks finished."
    module = load("environment")
    for name in (
        "pyproject.toml",
        ".ci/requirements/build.txt",
        ".ci/requirements/run.txt",
        ".ci/requirements/lab.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    place = tmp_path / ".venv"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "VENV", place)
    monkeypatch.setattr(module, "PYTHON", place / "bin" / "python")
    monkeypatch.setattr(module, "BUSY", place / module.BUSY.name)
    monkeypatch.setattr(module, "PLACE", place / module.PLACE.name)
    module.PLACE.write_text(str(tmp_path))
    module.stamp("run").write_text(module.fingerprint("run"))
    return module


def test_environment_in_place_is_left_alone(environment: ModuleType) -> None:
    assert environment.in_place("run")
    assert environment.usable()


def test_environment_is_renewed_when_its_requirements_change(environment: ModuleType) -> None:
    with (environment.ROOT / ".ci/requirements/run.txt").open("a") as file:
        file.write("\n")
    assert not environment.in_place("run")
    assert environment.usable()  # by adding to it


def test_environment_that_was_not_finished_is_made_anew(environment: ModuleType) -> None:
    environment.BUSY.touch()
    assert not environment.in_place("run")
    assert not environment.usable()


def test_environment_of_another_folder_is_made_anew(environment: ModuleType) -> None:
    environment.PLACE.write_text("/elsewhere")
    assert not environment.in_place("run")
    assert not environment.usable()


def test_environment_with_more_will_do(environment: ModuleType) -> None:
    environment.stamp("run").unlink()
    assert not environment.in_place("run")
    environment.stamp("lab").write_text(environment.fingerprint("lab"))
    assert environment.in_place("run")


def test_check_counts_each_test(tmp_path: Path) -> None:
    case = tmp_path / "test_case.py"
    case.write_text(
        "import pytest\n\ndef test_good(): pass\n\ndef test_bad(): assert False\n\ndef test_not(): pytest.skip('why')\n"
    )
    outcome = load("check").pytest(str(case))
    assert (outcome.passed, outcome.failed, outcome.skipped) == (1, 1, 1)


def test_check_fails_where_nothing_is_tested(tmp_path: Path) -> None:
    case = tmp_path / "test_case.py"
    case.write_text("")
    outcome = load("check").pytest(str(case))
    assert (outcome.passed, outcome.failed) == (0, 1)


def test_links_of_the_index_hold_in_the_readme() -> None:
    readme = load("readme")
    source = (
        '[a](source/003_auth.ipynb) [b](../LICENSE) [c](#words) [d](https://example.invalid/x) <img src="img/flow.svg">'
    )
    linked = '[a](nbs/source/003_auth.ipynb) [b](LICENSE) [c](#words) [d](https://example.invalid/x) <img src="nbs/img/flow.svg">'
    code = "\n```mermaid\na --> b[x](y)\n```\n`f[x](y)`\n"
    assert readme.relink(source + code + source) == linked + code + linked


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def refused(*workflows: Path) -> str:
    "What GitHub's schema says against some workflows; nothing where they are as they must be."
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    ended = subprocess.run([*command, *map(str, workflows)], capture_output=True, text=True, timeout=120)
    return ended.stdout + ended.stderr if ended.returncode else ""


def test_workflows_are_what_github_takes(tmp_path: Path) -> None:
    assert len(WORKFLOWS) == 3
    assert refused(*WORKFLOWS) == ""
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("on: push\njobs:\n  one:\n    runs-on: ubuntu-24.04\n    steps:\n      - runs: make\n")
    assert "runs" in refused(wrong)


def test_no_script_of_a_workflow_holds_an_expression() -> None:
    "What comes from outside reaches a script as a variable, so that nothing of it can be run."
    for path in WORKFLOWS:
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            assert not [step for step in job.get("steps", []) if "${{" in step.get("run", "")], path.name


def test_workflow_runs_what_a_developer_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert ".ci/run" in [step.get("run") for step in steps]
    for action in (step["uses"] for step in steps if "uses" in step):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), f"not pinned to a commit: {action}"


# --- notebooks ----------------------------------------------------------------------------------------------------


def tagged(notebook: Path, tag: str) -> int:
    cells = json.loads(notebook.read_text())["cells"]
    return sum(tag in cell["metadata"].get("tags", []) for cell in cells)


def test_job_notebooks_keep_their_tags() -> None:
    "papermill only warns when the cell is missing, and runs with the defaults; nbdev_clean drops tags unless told not to."
    notebooks = {path.stem: path for path in (ROOT / "glue_notebooks").glob("*.ipynb")}
    assert set(notebooks) == {"check", "extract", "promote"}
    for name, path in notebooks.items():
        assert (tagged(path, "parameters"), tagged(path, "session")) == (1, 1), name


def test_job_notebooks_hold_no_output() -> None:
    "Their outputs could hold a customer's data."
    notebooks = sorted((ROOT / "glue_notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        for cell in json.loads(path.read_text())["cells"]:
            assert not cell.get("outputs"), path.name
            assert cell.get("execution_count") is None, path.name


def test_nbdev_keeps_tags_and_pyproject() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini")
    assert "tags" in settings["DEFAULT"]["allowed_cell_metadata_keys"].split()
    assert settings["DEFAULT"]["update_pyproject"] == "False"
    assert settings["DEFAULT"]["clear_all"] == "False"


# --- what must stand in no file -----------------------------------------------------------------------------------

# Written so that no pattern matches itself; the samples below carry a ~ for the same reason.
ADDRESSES = re.compile(
    r"pypi[.]org/simple"
    r"|files[.]pythonhosted[.]org"
    r"|registry[.]npmjs[.]org"
    r"|--(?:extra-)?index-url[ =]\S*://"
    r"|\[\[?(?:tool[.]poetry[.]|package[.])source\]"
    r"|https?://[^\s\"'<>]+/simple/?(?=[\s\"'<>]|$)"
)
SECRETS = re.compile(
    r"\b(?:AKIA|ASIA)(?![A-Z0-9]*EXAMPLE)[A-Z0-9]{16}\b"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[\w-]{15,}\.eyJ[\w-]{15,}\.[\w-]{15,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{36}\b"
)
PLACES = re.compile(r"(?<![\w.~-])/(?:root|Users/\w+|home/(?!runner\b)\w+)/[\w.-]+")


def test_no_package_registry_address() -> None:
    "Packages come from where the user's pip is configured to; an address in a file would override or betray it."
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}" for path in committed() for match in ADDRESSES.finditer(text(path))
    }
    assert found == set()


def test_no_secret() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {match[0][:8]}" for path in committed() for match in SECRETS.finditer(text(path))
    }
    assert found == set()


def test_no_place_of_somebodys_machine() -> None:
    "The outputs of a notebook are committed, and tracebacks like to name folders."
    found = {f"{path.relative_to(ROOT)}: {match[0]}" for path in committed() for match in PLACES.finditer(text(path))}
    assert found == set()


@pytest.mark.parametrize(
    ("pattern", "sample"),
    [
        (ADDRESSES, "--index~-url https://mirror.example.invalid/x"),
        (ADDRESSES, "https://mirror.example.invalid/pypi/~simple/"),
        (ADDRESSES, "[package.~source]"),
        (SECRETS, "AKIA~ABCDEFGHIJKLMNOP"),
        (SECRETS, "-----BEGIN RSA ~PRIVATE KEY-----"),
        (PLACES, "/home~/somebody/project"),
    ],
)
def test_what_is_looked_for_is_found(pattern: re.Pattern[str], sample: str) -> None:
    assert pattern.search(sample.replace("~", ""))


LINK = re.compile(r"\]\((?!#|[a-z][a-z0-9+.-]*:)([^)\s#]+)")


def prose(path: Path) -> str:
    "The Markdown of a file; of a notebook, its Markdown cells."
    if path.suffix == ".md":
        return text(path)
    cells = json.loads(text(path))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def test_links_lead_somewhere() -> None:
    broken = set()
    for path in committed():
        if path.suffix in {".md", ".ipynb"}:
            outside_code = re.sub(r"```.*?```|`[^`\n]*`", "", prose(path), flags=re.DOTALL)
            targets = LINK.findall(outside_code)
            broken |= {f"{path.relative_to(ROOT)}: {link}" for link in targets if not (path.parent / link).exists()}
    assert broken == set()


def dry_make(*words: str) -> subprocess.CompletedProcess[str]:
    "What make would do; not as a part of the make that runs the tests."
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", "--dry-run", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (("run", "RESET=maybe"), "RESET=maybe: say 1 or 0"),
        (("run", "DAY=7"), "DAY: without effect on `make run`"),
        (("docs", "DAYS=7"), "DAYS: without effect on `make docs`"),
    ],
)
def test_make_refuses_what_would_be_without_effect(words: tuple[str, ...], output: str) -> None:
    done = dry_make(*words)
    assert done.returncode == 2
    assert output in done.stderr


def test_make_lab_hands_options_on() -> None:
    assert "smartsensor lab  -- --no-browser" in dry_make("lab", "ARGS=--no-browser").stdout
