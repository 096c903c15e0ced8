"""What is measured: `extract_all`, with tokens, retries, evidence, manifests and the ledger."""

import json
import sys
from datetime import timedelta

from smartsensor.config import ApiSettings, Secret
from smartsensor.jobs.extraction import extract_all
from smartsensor.jobs.plan import Due
from smartsensor.lake.lake import Lake
from smartsensor.source.http import Client
from smartsensor.windows import Window, cut, instant


def main(
    base_url: str, client_id: str, secret: str, since: str, before: str, lake: str, threads: str
) -> dict[str, object]:
    settings = ApiSettings(base_url, f"{base_url}/oauth2/token", client_id, Secret(secret))
    whole = Window(instant(since), instant(before))
    step = timedelta(seconds=-(-int((whole.end - whole.start).total_seconds()) // int(threads)))
    due = [Due("measurements", window, None) for window in cut(whole, step)]
    done = extract_all(
        Client(settings, connections=int(threads)), Lake(lake), due, "20261120T100000Z-bench", int(threads)
    )
    assert all(one.declared == one.received for one in done.manifests)
    return {"rows": sum(one.received for one in done.manifests), "pandas": "pandas" in sys.modules}


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout)
