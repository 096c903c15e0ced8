"""Processes that can be killed and started again at once: forked from one that has imported everything already."""

import multiprocessing
from dataclasses import dataclass

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["smartsensor.jobs.promote", "duckdb"])


@dataclass(frozen=True)
class Scale:
    """How much is done."""

    short: bool = False  # for the tests: no time is compared with a goal
    large: bool = False
    spark: bool = False  # promotion on Spark beside the others, once
