"Lets `pytest --nbval-lax nbs` run the notebooks as they are committed: nbdev_clean takes the numbers of the cells away."

import pytest
from nbval.plugin import IPyNbCell

collect_ignore = ["_new_project"]  # tests/run/test_init.py runs what `smartsensor init` writes of it


def pytest_itemcollected(item: pytest.Item) -> None:
    "Number a cell. nbval takes a cell that has outputs but no number for one that never ran, and fails it."
    if isinstance(item, IPyNbCell):
        item.cell.execution_count = item.cell_num + 1
