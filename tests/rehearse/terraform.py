"""Terraform on this machine: which program, which provider, and a copy of terraform/ to work in."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = (Path("/opt"), Path("/usr/share"), Path("/usr/local/share"))  # where optional software stands
MISSING = (
    "terraform 1.11 or newer is not on the PATH. Install it: 'brew install hashicorp/tap/terraform' on macOS, "
    "'apt-get install terraform' from HashiCorp's repository on Linux (https://developer.hashicorp.com/terraform/install)"
)


def find_mirror() -> Path | None:
    "A folder of provider plugins on this machine; None: Terraform asks the registry."
    found = (
        path
        for root in OPTIONAL
        if root.is_dir()
        for path in root.glob("*/registry.terraform.io/hashicorp/aws/*/*/terraform-provider-aws_v*")
    )
    first = next(found, None)
    return first.parents[5] if first else None


def settings(folder: Path) -> Path:
    "Terraform's own configuration for the time of a test: it asks no check-point, and takes providers from a mirror if there is one."
    mirror, file = find_mirror(), folder / "terraform.rc"
    lines = ["disable_checkpoint = true"]
    if mirror:
        named = 'include = ["registry.terraform.io/hashicorp/*"]'
        lines += ["provider_installation {", f'  filesystem_mirror {{\n    path = "{mirror}"\n    {named}\n  }}']
        lines += [f"  direct {{\n    {named.replace('include', 'exclude')}\n  }}", "}"]
    file.write_text("\n".join(lines) + "\n")
    return file


@dataclass(frozen=True)
class Terraform:
    "Runs Terraform in one folder."

    folder: Path
    env: dict[str, str]

    def __call__(self, *words: str, codes: tuple[int, ...] = (0,), timeout_s: float = 600) -> str:
        "Its output; RuntimeError with all of it when it ends with another code."
        run = subprocess.run(
            ["terraform", *words], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=timeout_s
        )
        if run.returncode not in codes:
            raise RuntimeError(f"terraform {' '.join(words)} ended with {run.returncode}\n{run.stdout}\n{run.stderr}")
        return run.stdout


def workplace(folder: Path) -> Path:
    "A copy of terraform/ without anybody's state."
    target = folder / "terraform"
    shutil.copytree(
        ROOT / "terraform", target, symlinks=True, ignore=shutil.ignore_patterns(".terraform", "*.tfstate*")
    )
    return target


def environment(folder: Path) -> dict[str, str]:
    "Variables for Terraform: no account can be reached by accident."
    if shutil.which("terraform") is None:
        raise FileNotFoundError(MISSING)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    return kept | {
        "TF_CLI_CONFIG_FILE": str(settings(folder)),
        "TF_IN_AUTOMATION": "1",
        "TF_CLI_ARGS": "-no-color",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
