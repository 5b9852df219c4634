"""The shipped model, for the tests that speak to it over a websocket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from livelens.model.loading import load_torch_engine
from livelens.model.sources import resolve_source
from livelens.model.torch_engine import TorchEngine


@pytest.fixture(scope="session")
def engine() -> Iterator[TorchEngine]:
    """Loaded once, on two threads: no test changes it."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(min(2, n_threads))
    engine = load_torch_engine(resolve_source("smollm2", progress=print), device="cpu")
    yield engine
    engine.close()
    torch.set_num_threads(n_threads)
