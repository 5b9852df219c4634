"""Where a neuron was loud in runs before this one: read off the records that the server keeps anyway.

Nothing is gathered while tokens are made. A run's quantised record stays until the session lets go of the run
(`session/session.py`: 64 finished runs that nobody watches, 1 GiB), and is looked through when somebody asks.
Whose runs: those that the question names. A run's id is its key, unguessable and told to its viewers alone, so
nobody is shown the text of a run that they could not have joined.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from livelens.model.neuron_contexts import N_CONTEXTS, TokenTexts, neuron_context
from livelens.protocol.messages import NeuronContext, NeuronProfileReady
from livelens.protocol.tensors import expand_int8
from livelens.run.jobs import PastRun

# Equal texts are told once, so more candidates are looked at than are wanted: a prompt is often run again.
_CANDIDATES = 8 * N_CONTEXTS


def with_past_contexts(answer: NeuronProfileReady, runs: Sequence[PastRun], tokens: TokenTexts) -> NeuronProfileReady:
    """The profile with the loudest tokens of `runs`; what its own run already shows is left out."""
    positions, values = _values(runs, answer.layer, answer.neuron_index)
    seen = {(context.before, context.text) for context in answer.contexts}
    found: list[NeuronContext] = []
    for at in np.argsort(-np.abs(values), kind="stable")[:_CANDIDATES].tolist():
        run_index, pos = positions[at]
        run = runs[run_index]
        context = neuron_context(tokens, run.token_ids, pos, float(values[at]), run_id=run.run_id)
        if (context.before, context.text) not in seen:
            seen.add((context.before, context.text))
            found.append(context)
        if len(found) == N_CONTEXTS:
            break
    return msgspec.structs.replace(answer, past_contexts=found, n_past_runs=len(runs), n_past_tokens=len(positions))


def _values(runs: Sequence[PastRun], layer: int, index: int) -> tuple[list[tuple[int, int]], NDArray[np.float32]]:
    """(which run, position) of every token on record, and the neuron there [n]; NaN counts as silence."""
    held = [
        (run_index, pos, arrays)
        for run_index, run in enumerate(runs)
        for pos, arrays in run.arrays
        if "neurons" in arrays and pos < len(run.token_ids)
    ]
    codes = np.array([arrays["neurons"][layer, index] for _, _, arrays in held], np.int8)[:, None]
    scales = np.array([arrays["neurons_scale"][layer] for _, _, arrays in held], np.float32)
    values = np.nan_to_num(expand_int8(codes, scales)[:, 0])
    return [(run_index, pos) for run_index, pos, _ in held], values
