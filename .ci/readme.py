"""Make README.md from nbs/index.ipynb; with --check, only say whether it is so already. Runs in .venv (nbconvert)."""

import difflib
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "nbs" / "index.ipynb"
README = ROOT / "README.md"
DIRECTIVE = re.compile(r"^#\|.*\n?", re.MULTILINE)
HIDDEN = re.compile(r"^#\| *(hide|include: *false)\b", re.MULTILINE)
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(\]\(|\b(?:src|href|srcset)=\")(?!#|/|[a-z][a-z0-9+.-]*:)([^)\"\s]+)")


def render() -> str:
    "The notebook as Markdown: headings and pictures kept, nbdev's directives and hidden cells left out."
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not HIDDEN.search(cell.source)]
    notebook.metadata.setdefault("language_info", {"name": "python"})  # nbdev_clean drops it; it colours the code
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = DIRECTIVE.sub("", cell.source)
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    if resources.get("outputs"):
        raise SystemExit("nbs/index.ipynb: an output is a picture; keep it as a file below nbs/ and link that instead.")
    text = relink(text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return f"<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n{text}\n"


def relink(text: str) -> str:
    "The text with its links as seen from the README; code is left alone."
    pieces = CODE.split(text)  # every second piece is code
    pieces[::2] = [LINK.sub(lambda match: match[1] + from_root(match[2]), piece) for piece in pieces[::2]]
    return "".join(pieces)


def from_root(link: str) -> str:
    "A link of the notebook, which stands in nbs/, as seen from the README, which stands one folder up."
    return link.removeprefix("../") if link.startswith("../") else f"nbs/{link.removeprefix('./')}"


def main(check: bool) -> int:
    "Write or compare; 1 when they differ."
    fresh = render()
    current = README.read_text() if README.exists() else ""
    if not check:
        README.write_text(fresh)
        return 0
    sys.stdout.writelines(
        difflib.unified_diff(current.splitlines(True), fresh.splitlines(True), "README.md", "nbs/index.ipynb")
    )
    if fresh != current:
        print("README.md is not what nbs/index.ipynb says: run `make readme`.")
    return int(fresh != current)


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
