"""Run the Spark tests on Spark 4.1, which AWS Glue 6.0 has: `make spark41`.

.venv-spark41 holds pyspark 4.1 and its py4j, and takes all the rest from .venv, at the same pins. Arguments go to pytest.
"""

import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-spark41"
PINS = """\
pyspark==4.1.4 --hash=sha256:bcbd5e18690cf79d438e97210ad06fb8d451a251bb77becc2b0418868d2acd73
py4j==0.10.9.9 --hash=sha256:c7c26e4158defb37b0bb124933163641a2ff6e3a3913f7811b0ddbe07ed61533
"""
TESTS = ("tests/jobs/test_engines.py", "tests/jobs/test_spark_extract.py", "tests/run/test_glue.py", "-m", "spark")


def make(python: Path, rest: Path) -> None:
    "Make the environment; what says that it is there is written last."
    shutil.rmtree(PLACE, ignore_errors=True)
    venv.create(PLACE, symlinks=True)
    site = next((PLACE / "lib").glob("python*/site-packages"))
    (site / "rest.pth").write_text(f"import site; site.addsitedir({str(rest)!r})\n")
    (PLACE / "pins.txt").write_text(PINS)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
    words = ["--ignore-installed", "--no-deps", "--no-build-isolation", "--use-pep517", "--require-hashes"]
    subprocess.run([*pip, *words, "-r", PLACE / "pins.txt"], check=True)
    for name in (
        "bin/localbucket",
        "share/jupyter",
    ):  # looked for beside the interpreter: a program, and Jupyter's templates
        (PLACE / name).parent.mkdir(exist_ok=True)
        (PLACE / name).symlink_to(Path(sys.prefix) / name)
    (PLACE / "made").write_text(PINS)


def main() -> int:
    began, python = time.monotonic(), PLACE / "bin" / "python"
    if not (PLACE / "made").exists() or (PLACE / "made").read_text() != PINS:
        make(python, Path(sys.prefix, "lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages"))
    made_s = time.monotonic() - began
    print(f"Spark {PINS.split()[0].partition('==')[2]}, set up in {made_s:.0f} s", file=sys.stderr, flush=True)
    env = {key: value for key, value in os.environ.items() if key not in ("SPARK_HOME", "PYTHONPATH")}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(sys.argv[1:] or TESTS)]
    return subprocess.run(command, cwd=ROOT, env=env).returncode


if __name__ == "__main__":
    sys.exit(main())
