"""Lock the dependencies anew and export the requirement files: `make lock`, or `make lock UPDATE=1` for newer versions.

Poetry comes in an environment of its own (.venv-lock), or say which: POETRY=/path/to/poetry, with the plugins `export` and
`pypi-mirror`. The mirror plugin makes it ask the index that pip asks, by the interface that every mirror has; the address
is handed over in the environment and stands in no file.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
POETRY = ("poetry==2.5.1", "poetry-plugin-export==1.10.1", "poetry-plugin-pypi-mirror==0.6.5")


def poetry_of_our_own() -> Path:
    "A Poetry of the version that wrote the lock, in .venv-lock."
    place = ROOT / ".venv-lock"
    poetry = place / "bin" / "poetry"
    if not poetry.exists():
        print("Fetching Poetry ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", *POETRY], check=True)
    return poetry


def index_of_pip() -> str:
    "The address that pip takes packages from on this machine."
    pip = [sys.executable, "-m", "pip"]
    for setting in (":env:.index-url", "global.index-url", "install.index-url"):
        answer = subprocess.run([*pip, "config", "get", setting], capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.strip():
            return answer.stdout.strip()
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    "Write poetry.lock and every file that [tool.smartsensor.requirements] names."
    poetry = os.environ.get("POETRY") or poetry_of_our_own()
    env = {**os.environ, "POETRY_PYPI_MIRROR_URL": index_of_pip()}
    regenerate = ["--regenerate"] if os.environ.get("UPDATE") in ("1", "yes", "true") else []
    subprocess.run([poetry, "lock", "--no-interaction", *regenerate], check=True, cwd=ROOT, env=env)
    sets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["smartsensor"]["requirements"]
    for name, chosen in sets.items():
        extras = [f"--extras={extra}" for extra in chosen["extras"]]
        choice = [f"--only={','.join(chosen['groups'])}", *extras]
        target = ROOT / ".ci" / "requirements" / f"{name}.txt"
        command = [poetry, "export", "--no-interaction", "--without-urls", *choice, f"--output={target}"]
        subprocess.run(command, check=True, cwd=ROOT, env=env)
        print(f"{target.relative_to(ROOT)}: {target.read_text().count(' ; ')} packages", file=sys.stderr)


if __name__ == "__main__":
    main()
