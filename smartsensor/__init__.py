"""What a notebook needs, by its plain name: `from smartsensor import explore, connect, Lake`. The words of
a declaration are in `smartsensor.declare`; all else is reached by its room.

A name is imported when it is first asked for, so that `import smartsensor` and the command line stay fast. This file is written
by hand; nbdev_export sets the version in it.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from smartsensor.config import load_settings
    from smartsensor.jobs.check import check_run
    from smartsensor.jobs.extraction import extract_all
    from smartsensor.jobs.promote import open_engine, promote_all
    from smartsensor.jobs.reading import Diff, Rows, Versions, diff, read, versions
    from smartsensor.lake.lake import Lake
    from smartsensor.lake.layout import Manifest
    from smartsensor.lake.ledger import Ledger
    from smartsensor.quality.gate import Gate
    from smartsensor.quality.verdicts import Verdict
    from smartsensor.run.explore import explore
    from smartsensor.source.http import Client
    from smartsensor.source.listing import Page
    from smartsensor.source.resources import Resource
    from smartsensor.source.smartsensor_api import RESOURCES
    from smartsensor.source.sources import Source, connect, load_source
    from smartsensor.windows import Window, instant

__all__ = [
    "explore",
    "load_settings",
    "connect",
    "Client",
    "Resource",
    "Source",
    "load_source",
    "RESOURCES",
    "Page",
    "Window",
    "instant",
    "check_run",
    "extract_all",
    "Lake",
    "Manifest",
    "Ledger",
    "open_engine",
    "Gate",
    "Verdict",
    "promote_all",
    "read",
    "Rows",
    "versions",
    "Versions",
    "diff",
    "Diff",
]

_ROOMS = {
    "explore": "run.explore",
    "load_settings": "config",
    "Window": "windows",
    "instant": "windows",
    "connect": "source.sources",
    "Client": "source.http",
    "Page": "source.listing",
    "Resource": "source.resources",
    "Source": "source.sources",
    "load_source": "source.sources",
    "RESOURCES": "source.smartsensor_api",
    "Lake": "lake.lake",
    "Manifest": "lake.layout",
    "Ledger": "lake.ledger",
    "Gate": "quality.gate",
    "Verdict": "quality.verdicts",
    "check_run": "jobs.check",
    "extract_all": "jobs.extraction",
    "open_engine": "jobs.promote",
    "promote_all": "jobs.promote",
    "read": "jobs.reading",
    "Rows": "jobs.reading",
    "versions": "jobs.reading",
    "Versions": "jobs.reading",
    "diff": "jobs.reading",
    "Diff": "jobs.reading",
}


def __getattr__(name: str) -> Any:
    "Import a public name from its room when it is first asked for (PEP 562)."
    if name not in _ROOMS:
        raise AttributeError(f"smartsensor has no {name}; it has {', '.join(__all__)}; all else is reached by its room")
    if (shell := _notebook()) is not None:
        import_module("smartsensor.run.displays").register(shell)
    value = getattr(import_module(f"smartsensor.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def _notebook() -> Any:  # IPython's shell; None where no notebook runs
    "Where objects can be shown as cards."
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
