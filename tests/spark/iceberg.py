"""Iceberg's runtime for Spark, from the package index.

PyPI carries it in `snowpark-connect-deps-iceberg`, a group of the tests' own. The jar in it names classes of a Jackson that it
should bring along and does not; Spark has that Jackson under its usual name, so the names are written back.
"""

import os
import struct
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "snowpark-connect-deps-iceberg==1.0.3"
JAR = "jars/iceberg-spark-runtime-3.5_2.12-1.10.2.jar"
SHADED, OWN = b"org/apache/iceberg/shaded/com/fasterxml/jackson", b"com/fasterxml/jackson"
# The entries of a class file's constant pool by their tag: bytes after the tag. Tag 1 is a text, with its length before it.
ENTRY_BYTES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
TEXT, TWO_PLACES = 1, (5, 6)  # a long or a double takes two numbers of the pool


def runtime_jar() -> Path:
    "The jar, with its names mended; made once for each version, in the temporary folder."
    found = find_spec("snowpark_connect_deps_iceberg")
    if found is None or not found.submodule_search_locations:
        raise AssertionError(f"Spark's runtime of Iceberg is not here: .venv/bin/pip install --no-deps {PACKAGE}")
    source = Path(found.submodule_search_locations[0]) / JAR
    target = Path(tempfile.gettempdir()) / f"mended-{os.getuid()}-{source.stat().st_size}-{source.name}"
    if not target.exists():
        aside = target.with_suffix(f".{os.getpid()}")
        mend(source, aside)
        aside.replace(target)
    return target


def mend(source: Path, target: Path) -> None:
    "Copy a jar, with the shaded names of Jackson written back in all its classes."
    with zipfile.ZipFile(source) as jar, zipfile.ZipFile(target, "w") as made:
        for name in dict.fromkeys(jar.namelist()):
            code = jar.read(name)
            made.writestr(name, mended(code) if name.endswith(".class") else code)


def mended(code: bytes) -> bytes:
    "A class file with the names in its constant pool replaced."
    if SHADED not in code and dotted(SHADED) not in code:
        return code
    entries, at, number, out = struct.unpack(">H", code[8:10])[0], 10, 1, [code[:10]]
    while number < entries:
        tag = code[at]
        if tag == TEXT:
            (length,) = struct.unpack(">H", code[at + 1 : at + 3])
            text = code[at + 3 : at + 3 + length].replace(SHADED, OWN).replace(dotted(SHADED), dotted(OWN))
            out.append(bytes([TEXT]) + struct.pack(">H", len(text)) + text)
            at += 3 + length
        else:
            out.append(code[at : at + 1 + ENTRY_BYTES[tag]])
            at += 1 + ENTRY_BYTES[tag]
            number += tag in TWO_PLACES
        number += 1
    return b"".join(out) + code[at:]


def dotted(name: bytes) -> bytes:
    return name.replace(b"/", b".")
