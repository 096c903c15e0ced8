"""Processes that can be killed and started again at once: forked from one that has imported everything already."""

import multiprocessing
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["smartsensor.jobs.promote", "duckdb"])


def started_by_a_living_process() -> bool:
    "Whether the process that started this one is there; with nobody to tell, it ends."
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()


class ChildFailed(Exception):
    """A process raised an error, or was gone before it had told all."""


def _work_and_report(work: Callable[..., None], messages: Any, arguments: tuple[Any, ...]) -> None:
    try:
        work(*arguments, lambda output: messages.send((output, "")))
    except BaseException:
        messages.send((None, traceback.format_exc()))
        raise


class Child:
    """A process whose work gets a function to tell things with; what it raises is raised where it is heard."""

    def __init__(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        self.name, (self._messages, theirs) = name, CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_work_and_report, args=(work, theirs, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def hear(self) -> Any:
        "The next thing that it tells; waits for as long as it lives."
        try:
            output, error = self._messages.recv()
        except EOFError:
            self._process.join()
            raise ChildFailed(f"{self.name} ended with {self._process.exitcode} before it had told all") from None
        if error:
            raise ChildFailed(f"{self.name} failed: {error}")
        return output

    def check(self) -> None:
        "ChildFailed when it has ended, though more is expected of it."
        if self._process.exitcode is not None:
            self.hear()
            raise ChildFailed(f"{self.name} ended early")

    def join(self) -> None:
        self._process.join()


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    short: bool = False  # for the tests: no time is compared with a goal
    large: bool = False
    spark: bool = False  # promotion on Spark beside the others, once
