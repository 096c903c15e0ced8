"""Extract with a task that hangs, on a cluster that speculates: `python tests/spark/straggler.py FOLDER`, the lake in FOLDER/lake.

A process of its own, since a process has one Spark. The first page of one window takes ten minutes; the copy of its task, on the
other machine, does not wait for it. Prints, as JSON, how many windows landed and how often a reply was slow.
"""

import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from cluster import CONF, environment, two_hosts

SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.quantile": "0.5",  # when half of the tasks are done
    "spark.speculation.multiplier": "1.5",
    "spark.speculation.interval": "200ms",
}


def main(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from jobs.test_spark_extract import DUE, NOW, RUN, client_of
    from pyspark.sql import SparkSession

    from smartsensor.jobs.engine_spark import find_java
    from smartsensor.jobs.extraction import extract_all
    from smartsensor.lake.lake import Lake
    from smartsensor.simulator.faults import Fault, FaultPlan
    from smartsensor.simulator.fleet import Fleet
    from smartsensor.simulator.server import serve
    from smartsensor.simulator.state import Limits

    slow = FaultPlan((Fault("slow", at=3, value=600),))
    with ExitStack() as stack:
        api = stack.enter_context(
            serve(Fleet(assets=4, sensors=8), clock=lambda: NOW, limits=Limits(burst=0, sustained=0), plan=slow)
        )
        env = environment(find_java(), folder / "cluster")
        os.environ.update(env)
        builder = SparkSession.builder.master(stack.enter_context(two_hosts(env)))
        conf = {**CONF, **SPECULATION, "spark.local.dir": str(folder / "local"), "spark.cores.max": "2"}
        conf |= {"spark.executor.memory": "600m", "spark.scheduler.minRegisteredResourcesRatio": "1.0"}
        for name, value in conf.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        stack.callback(session.stop)
        session.sparkContext.setLogLevel("OFF")
        extraction = extract_all(client_of(api), Lake(str(folder / "lake")), DUE, RUN, 1, session=session)
        print(json.dumps({"windows": len(extraction.manifests), "struck": api_struck(api)}))


def api_struck(api: object) -> int:
    "How often the fault hit."
    import requests

    found = requests.get(f"{api.control_url}/faults", timeout=10).json()["faults"]  # type: ignore[attr-defined]
    return int(found[0]["struck"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
