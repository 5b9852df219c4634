"""What a client must hold at the end of a run."""

from __future__ import annotations

import numpy as np
from tests.integration.serving import Served

from livelens.client import ClientRun
from livelens.run.history import History


def server_history(served: Served, run: ClientRun) -> History:
    return served.server.session.records[run.run_id].history


def assert_complete(served: Served, run: ClientRun) -> None:
    """The client holds every position of the run, bit for bit as the server does."""
    record = served.server.session.records[run.run_id]
    assert run.token_ids == [token.token_id for token in record.tokens]
    assert run.text == record.text
    assert set(run.steps) == set(record.latest) == set(range(len(record.tokens) - 1))
    for pos, step in run.steps.items():
        held = record.history.quantised(pos)
        assert held is not None
        for name, values in step.tensors.items():
            np.testing.assert_array_equal(values, held[name], err_msg=f"{name} at {pos}")
        assert {"neurons", "heads", "attention", "residual", "direct_heads"} <= set(step.tensors)


def assert_complete_tokens(served: Served, run: ClientRun) -> None:
    assert run.token_ids == [token.token_id for token in served.server.session.records[run.run_id].tokens]
