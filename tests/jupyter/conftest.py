"""Jupyter servers that tests share: they start slowly and no test changes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.jupyter.jupyter_process import JupyterProcess, jupyter_server


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    """Jupyter's own defaults."""
    with jupyter_server(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session", params=[False, True], ids=["login-required", "unauthenticated-allowed"])
def either_jupyter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JupyterProcess]:
    """With `allow_unauthenticated_access` off and on: what livelens answers must not depend on it."""
    with jupyter_server(tmp_path_factory.mktemp("jupyter"), unauthenticated=bool(request.param)) as server:
        yield server
