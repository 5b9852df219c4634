"""The order of the files, for a run of all of them by two workers."""

from __future__ import annotations

from itertools import chain, zip_longest
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LONGEST = "unit/session/test_stateful.py"  # one test, which nobody can help with: never the last one


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files stay whole. A file that waits for a browser beside one that computes; the many short ones fill the end."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path.relative_to(HERE).as_posix(), []).append(item)
    first = [name for name in files if name == LONGEST]
    waiting = [name for name in files if name.startswith("browser/")]
    computing = [name for name in files if name not in {*first, *waiting}]
    computing.sort(key=lambda name: name.startswith(("contract/", "unit/")))
    paired = chain.from_iterable(zip_longest(waiting, computing))
    items[:] = [item for name in (*first, *filter(None, paired)) for item in files[name]]
