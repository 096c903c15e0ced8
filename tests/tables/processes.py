"""Processes that can be killed and started again at once: forked from one that has imported everything already."""

import multiprocessing
from dataclasses import dataclass

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["smartsensor.jobs.promote", "duckdb"])


def started_by_a_living_process() -> bool:
    "Whether the process that started this one is there; with nobody to tell, it ends."
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    short: bool = False  # for the tests: no time is compared with a goal
    large: bool = False
    spark: bool = False  # promotion on Spark beside the others, once
