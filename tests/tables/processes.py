"""Processes that can be killed and started again at once: forked from one that has imported everything already."""

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["smartsensor.jobs.promote", "duckdb"])
