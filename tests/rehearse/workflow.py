"""The shell steps of a GitHub workflow, run here as they stand: what deploys in the cloud is what the rehearsal runs."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = Path(".github") / "workflows"


def filled(text: str, values: Mapping[str, str]) -> str:
    "A text with its ${{ expressions }}; KeyError where a value is not given: nothing is left empty in silence."
    return re.sub(r"\$\{\{\s*([\w.]+)\s*\}\}", lambda found: values[found[1]], text)


@dataclass
class Job:
    "One job of a workflow in a checkout; steps that are actions (checkout, OIDC, artifacts) are what the caller does."

    checkout: Path
    file: str  # deploy.yml
    name: str
    values: Mapping[str, str]  # of expressions: github.sha, inputs.environment, …
    env: dict[str, str]  # what the runner would have
    outputs: dict[str, str] = field(default_factory=dict)  # output by step

    def __post_init__(self) -> None:
        text = (self.checkout / WORKFLOWS / self.file).read_text()
        self.job: dict[str, Any] = yaml.safe_load(text)["jobs"][self.name]
        self.notes = {name: self.checkout / f".{name.lower()}" for name in ("GITHUB_ENV", "GITHUB_STEP_SUMMARY")}
        self.env |= {name: filled(str(value), self.values) for name, value in self.job.get("env", {}).items()}
        self.env |= {name: str(path) for name, path in self.notes.items()}
        self.env |= {name.upper().replace(".", "_"): text for name, text in self.values.items() if "github." in name}

    @property
    def steps(self) -> list[dict[str, Any]]:
        "Those that are shell."
        return [step for step in self.job["steps"] if "run" in step]

    def run(self, step: Mapping[str, Any]) -> None:
        "Run one step as GitHub's runner does; RuntimeError with its output when it fails."
        env = {name: filled(str(value), self.values) for name, value in step.get("env", {}).items()}
        folder = self.checkout / filled(step.get("working-directory", "."), self.values)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", filled(step["run"], self.values)],
            cwd=folder, env={**self.env, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=3600,
        )  # fmt: skip
        self.outputs[step["name"]] = done.stdout
        if done.returncode:
            raise RuntimeError(
                f"{self.file}, step {step['name']!r} ended with {done.returncode}:\n{done.stdout[-4000:]}"
            )
        if self.notes["GITHUB_ENV"].exists():
            lines = self.notes["GITHUB_ENV"].read_text().splitlines()
            self.env |= dict(line.split("=", 1) for line in lines)


def checkout(folder: Path) -> Path:
    "A copy of all that git would carry, as it stands here."
    target = folder / "checkout"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        path = ROOT / name
        if name and (path.is_symlink() or path.is_file()):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                (target / name).symlink_to(path.readlink())
            else:
                (target / name).write_bytes(path.read_bytes())
                (target / name).chmod(path.stat().st_mode)
    return target
