"""Fuzz what comes from outside, led by coverage: bodies, headers, cursors and the files of exports. `make fuzz` runs it.

Each target runs in a process of its own for so many minutes. What breaks a target is kept in --keep, and ends the run with 1.
The property tests of tests/source/test_fuzz.py are targets; the files of exports are damaged byte by byte.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "source"
PROPERTIES = {
    "rows": "test_any_json_rows_land_as_so_many_rows",
    "damaged-body": "test_any_damage_to_a_body_is_a_contract_error_or_valid_rows",
    "bytes": "test_any_bytes_are_a_page_or_a_contract_error",
    "headers": "test_any_header_and_any_error_body_give_an_error_of_the_tree",
    "export-job": "test_any_export_job_is_a_job_or_a_contract_error",
}
FILES = ("parquet", "csv", "ndjson")
TARGETS = (*PROPERTIES, "cursors", *FILES)


def read_file(kind: str, data: bytes) -> None:
    "The file of an export is a contract error, or valid rows."
    from test_fuzz import HOUR, SCHEMA, ContractError, ExportRequest, opens, read_rows

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        try:
            for batch, _ in read_rows(path, ExportRequest("x", HOUR, "r", kind), SCHEMA, 100):
                opens(batch)
        except ContractError:
            pass


def cursors() -> Callable[[bytes], object]:
    "Every style of paging on the same input."
    import test_fuzz
    from hypothesis import given
    from hypothesis import strategies as st

    check = test_fuzz.test_any_paging_values_end_go_on_or_are_a_contract_error.hypothesis.inner_test

    @given(st.sampled_from(test_fuzz.STYLES), st.data())
    def any_style(style: object, data: object) -> None:
        check(style=style, data=data)

    return any_style.hypothesis.fuzz_one_input


def run_target(name: str, folder: Path, seconds: int) -> None:
    "In a process of its own: libFuzzer ends it."
    import atheris

    sys.path.insert(0, str(SOURCE))
    with atheris.instrument_imports(include=["smartsensor.source"]):
        import test_fuzz
    if name in FILES:
        (folder / "sample").write_bytes(getattr(test_fuzz, name)())
        target: Callable[[bytes], object] = partial(read_file, name)
    elif name == "cursors":
        target = cursors()
    else:
        target = getattr(test_fuzz, PROPERTIES[name]).hypothesis.fuzz_one_input
    limits = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=2048", "-max_len=4096"]
    options = [*limits, "-print_final_stats=1", f"-artifact_prefix={folder}/found-", str(folder)]
    atheris.Setup([sys.argv[0], *options], target)
    atheris.Fuzz()


def fuzz(keep: Path, seconds: int, name: str) -> tuple[str, bool]:
    "One line, and whether the target held."
    folder = keep / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--inner", name, str(folder), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    (folder.parent / f"{name}.log").write_text(done.stderr + done.stdout)
    count = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    held = done.returncode == 0 and count is not None
    text = f"{name}: {int(count[1]) if count else 0:,} inputs in {seconds / 60:g} minutes"
    return (text if held else f"{text}; FALLS SHORT: {folder.parent}/{name}.log has the error"), held


def main() -> int:
    if sys.argv[1:2] == ["--inner"]:
        run_target(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=TARGETS, default=TARGETS, metavar="TARGET", help=", ".join(TARGETS)
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of each target; 10")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--keep", type=Path, default=HERE.parents[1] / "dist" / "fuzz", help="what was found; dist/fuzz"
    )
    options = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        sys.exit(
            "atheris is not installed (Linux and macOS, Python 3.11 to 3.13): .venv/bin/pip install 'atheris>=3,<4'"
        )
    with ThreadPoolExecutor(options.processes) as pool:
        found = list(pool.map(partial(fuzz, options.keep, int(options.minutes * 60)), options.only))
    print("\n".join(line for line, _ in found))
    return int(not all(held for _, held in found))


if __name__ == "__main__":
    sys.exit(main())
