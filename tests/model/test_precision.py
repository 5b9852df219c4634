"""Half precision on a CPU: what is shown is still what the model did, as exactly as that precision goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.model.families import FAMILIES
from tests.model.lower_precision import assert_watched_run_is_the_models_own

from livelens.model.loading import DTypeName, load_torch_engine
from livelens.model.sources import resolve_source

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_watched_run_is_the_models_own(tiny_folder: Callable[[str], Path], family: str, dtype: DTypeName) -> None:
    engine = load_torch_engine(resolve_source(str(tiny_folder(family))), device="cpu", dtype=dtype)
    try:
        assert engine.info.dtype == dtype
        assert engine.info.capabilities.missing == []
        assert_watched_run_is_the_models_own(engine, [5, 100, 42, 7, 310, 599, 12], 8)
    finally:
        engine.close()
