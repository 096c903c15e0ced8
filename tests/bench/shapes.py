"""The cost of a shaped reply beside a plain one, CPU of one thread: `.venv/bin/python tests/bench/shapes.py`."""

import json
import time
from collections.abc import Callable

from smartsensor.source.decode import decode, decode_shaped
from smartsensor.source.shapes import Each, Sent, Shape
from smartsensor.source.smartsensor_api import MEASUREMENTS

AT = "2026-11-20T10:00:00.000Z"
ROW = {
    "sensor_id": "s-1", "asset_id": "a", "plant_id": "p", "measurement_type_id": 2, "quality_flag": "good", "measured_at": AT,
    "received_at": AT, "updated_at": AT, "revision": 1,
}  # fmt: skip
BODY = json.dumps({"data": [{"measurement_id": f"m{n}", "value": n / 7, **ROW} for n in range(1_000)]}).encode()
SHAPE = Shape((Each("data"),), {"value": Sent(text=True)}, tuple(MEASUREMENTS.schema.names))


def cpu_s(work: Callable[[], object]) -> float:
    "The least of twenty."
    taken = []
    for _ in range(20):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


if __name__ == "__main__":
    plain, shaped = (
        cpu_s(lambda: decode(BODY, MEASUREMENTS.schema)),
        cpu_s(lambda: decode_shaped(BODY, MEASUREMENTS.schema, SHAPE)),
    )
    print(
        f"plain {1e3 / plain:>9,.0f} rows/s\nshaped {1e3 / shaped:>8,.0f} rows/s, {shaped / plain:.1f} times the cost"
    )
