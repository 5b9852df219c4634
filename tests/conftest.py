"""The order of the files, for a run of all of them by two workers; the shipped model, once a worker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # most files need no torch
    from livelens.model.torch_engine import TorchEngine

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


@pytest.fixture(scope="session")
def engine() -> Iterator[TorchEngine]:
    """The shipped model in this process, on two threads: served, or to compare with. No test changes it."""
    import torch

    from livelens.model.loading import load_torch_engine
    from livelens.model.sources import resolve_source

    n_threads = torch.get_num_threads()
    torch.set_num_threads(min(2, n_threads))
    loaded = load_torch_engine(resolve_source("smollm2", progress=print), device="cpu")
    yield loaded
    loaded.close()
    torch.set_num_threads(n_threads)
