"""The house: floors and rooms of the package, drawn and held. `make house` prints it and fails where it is broken.

A notebook in nbs/ is a room, a folder is a floor, and the numbers in their names are the reading order. Imports go down only,
towards smaller numbers; `source` and `lake` do not know each other; `simulator` knows nobody else, and only the command line
starts it. Standard library only.
"""

import argparse
import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOM_LINES = 400
CELL_LINES = 60
FLOORS = ("run", "jobs", "quality", "source", "lake", "")  # from the top; "" is the ground: what everybody stands on
BESIDE = "simulator"
STRANGERS = (frozenset({"source", "lake"}),)
STARTS_THE_SIMULATOR = ("run.options", "run.workbench")
MARKS = ("<!-- house: made by `make house WRITE=1` -->", "<!-- end of the house -->")


@dataclass(frozen=True)
class Room:
    "One notebook that exports a module."

    name: str  # "source.http"
    number: int  # place in the reading order
    notebook: Path
    cells: tuple[str, ...]  # exported code, without the imports
    imports: frozenset[tuple[str, str]]  # (room, name), also those inside functions and under TYPE_CHECKING

    @property
    def floor(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def lines(self) -> int:
        return sum(len(cell.splitlines()) for cell in self.cells)

    @property
    def longest(self) -> int:
        return max((len(cell.splitlines()) for cell in self.cells), default=0)


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def imported(tree: ast.AST, known: Sequence[str]) -> Iterator[tuple[str, str]]:
    "Rooms and names that code imports, wherever the import stands."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "smartsensor":
            module = (node.module or "").removeprefix("smartsensor").lstrip(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                yield (inner, "*") if inner in known else (module, alias.name)
        elif isinstance(node, ast.Import):
            yield from (
                (a.name.removeprefix("smartsensor."), "*") for a in node.names if a.name.startswith("smartsensor.")
            )


def rooms(root: Path = ROOT) -> list[Room]:
    "All rooms, in reading order."
    found = []
    for notebook in sorted((root / "nbs").rglob("[0-9]*.ipynb"), key=lambda path: path.name):
        codes = code_cells(notebook)
        named = re.match(r"#\|\s*default_exp\s+(\S+)", codes[0]) if codes else None
        if named and ".ipynb_checkpoints" not in notebook.parts:
            found.append((named[1], notebook, [cell for cell in codes if re.match(r"#\|\s*export\b", cell)]))
    names = [name for name, _, _ in found]
    made = []
    for name, notebook, cells in found:
        trees = [ast.parse(cell) for cell in cells]
        kept = [cell.partition("\n")[2] for cell, tree in zip(cells, trees, strict=True) if not only_imports(tree)]
        asked = frozenset(pair for tree in trees for pair in imported(tree, names) if pair[0] != name)
        made.append(Room(name, int(notebook.name.partition("_")[0]), notebook, tuple(kept), asked))
    return made


def only_imports(tree: ast.Module) -> bool:
    def plain(node: ast.stmt) -> bool:
        return isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.If) and all(map(plain, node.body))
        )

    return all(map(plain, tree.body))


def upward(house: Sequence[Room]) -> list[str]:
    "Imports that do not go down, or go where nobody may look."
    number = {room.name: place for place, room in enumerate(house)}
    wrong = []
    for room in house:
        for other, name in sorted(room.imports):
            floors = frozenset({room.floor, other.rpartition(".")[0]})
            started = room.name in STARTS_THE_SIMULATOR
            if other not in number:
                wrong.append(f"{room.name} imports {name} from smartsensor.{other}, which is no room")
            elif number[other] >= number[room.name]:
                wrong.append(f"{room.name} imports {name} from {other}, which stands above it")
            elif floors in STRANGERS or (BESIDE in floors and len(floors) > 1 and not started):
                wrong.append(f"{room.name} imports {name} from {other}: these floors do not know each other")
            elif name.startswith("_"):
                wrong.append(f"{room.name} imports the private {name} from {other}")
    return wrong


def circles(house: Sequence[Room]) -> list[str]:
    "Rooms that import each other, directly or over others."
    down = {room.name: {other for other, _ in room.imports} for room in house}

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = list(down.get(start, ()))
        while ahead:
            name = ahead.pop()
            if name not in seen:
                seen.add(name)
                ahead += down.get(name, ())
        return seen

    return [f"{name} imports itself, over others" for name in down if name in reached(name)]


def too_large(house: Sequence[Room]) -> list[str]:
    "Rooms and cells that hold too much."
    wide = [
        f"{room.name} has {room.lines} exported lines, over {ROOM_LINES}" for room in house if room.lines > ROOM_LINES
    ]
    return wide + [
        f"{room.name} has an exported cell of {room.longest} lines, over {CELL_LINES}"
        for room in house
        if room.longest > CELL_LINES
    ]


def unused(house: Sequence[Room], root: Path = ROOT) -> list[str]:
    "Public functions and classes that stand nowhere but where they are defined."
    texts = [cell for notebook in (root / "nbs").rglob("*.ipynb") for cell in code_cells(notebook)]
    texts += [cell for notebook in (root / "glue_notebooks").glob("*.ipynb") for cell in code_cells(notebook)]
    texts += [
        path.read_text() for folder in ("tests", ".ci", "glue_notebooks") for path in (root / folder).rglob("*.py")
    ]
    texts.append((root / "pyproject.toml").read_text())
    words = Counter(word for text in texts for word in re.findall(r"\w+", text))
    found = []
    for room in house:
        for cell in room.cells:
            for node in ast.parse(cell).body:
                command = getattr(node, "decorator_list", [])  # the command line calls what a decorator registers
                named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
                if named and not command and words[node.name] < 2:
                    found.append(f"{room.name}.{node.name} is used by nobody")
    return found


def drawn(house: Sequence[Room]) -> str:
    "The map: a floor a block, a room with its number and its exported lines."
    lines = []
    for floor in (*FLOORS, BESIDE):
        here = [
            f"{room.number:03d} {room.name.rpartition('.')[2]} {room.lines}" for room in house if room.floor == floor
        ]
        title, width = (floor or "ground") + ("/" if floor else ""), 100
        row = ""
        for word in here:
            if len(row) + len(word) > width:
                lines.append(f"{title:<12}{row.rstrip(' ·')}")
                title, row = "", ""
            row += f"{word} · "
        lines.append(f"{title:<12}{row.rstrip(' ·')}")
    return "\n".join(lines)


def figures(house: Sequence[Room]) -> str:
    long, cell = max(house, key=lambda room: room.lines), max(house, key=lambda room: room.longest)
    return (
        f"{len(house)} rooms, {sum(room.lines for room in house):,} exported lines; longest room {long.name} ({long.lines}), "
        f"longest cell in {cell.name} ({cell.longest}); {len(upward(house))} imports that go up or aside, {len(circles(house))} rooms in a circle"
    )


def in_index(root: Path, text: str | None = None) -> str:
    "The map as nbs/index.ipynb holds it; written anew when a text is given."
    path = root / "nbs" / "index.ipynb"
    content = json.loads(path.read_text())
    for cell in content["cells"]:
        source = "".join(cell["source"])
        if MARKS[0] in source:
            before, rest = source.split(MARKS[0])
            held, after = rest.split(MARKS[1])
            if text is not None:
                cell["source"] = f"{before}{MARKS[0]}\n```text\n{text}\n```\n{MARKS[1]}{after}".splitlines(
                    keepends=True
                )
                path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
            return held.strip().removeprefix("```text\n").removesuffix("\n```")
    raise SystemExit(f"{path} has no place for the house: {MARKS[0]}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the house and say where it is broken.")
    parser.add_argument("--root", type=Path, default=ROOT, help="checkout to look at")
    parser.add_argument("--write", action="store_true", help="write the map into nbs/index.ipynb")
    given = parser.parse_args()
    house = rooms(given.root)
    print(f"{drawn(house)}\n\n{figures(house)}")
    broken = upward(house) + circles(house) + too_large(house) + unused(house, given.root)
    if given.write:
        in_index(given.root, drawn(house))
    elif in_index(given.root) != drawn(house):
        broken.append("the map in nbs/index.ipynb is not the house as it stands: `make house WRITE=1` writes it")
    for line in broken:
        print(f"broken: {line}", file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
