"""Two runs side by side, as the Python client gives them: every channel with numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

from livelens.client.answers import with_arrays
from livelens.client.step_data import Arrays
from livelens.protocol.messages import ComparedTensors, ComparisonReady, TopToken
from livelens.protocol.tensors import reconstruct


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """One position of a run and of another one. `other`, and `difference` (this run - the other), by tensor name:
    shapes as in `ComparedTensors`, exact float32 but for ids and ranks.

    Before `first_difference` (none: nowhere do they differ) both runs compute the same, bit for bit.
    """

    pos: int
    other_tokens: list[str]
    differing: list[int]
    first_difference: int | None
    target_id: int
    target_text: str
    distractor_id: int | None
    distractor_text: str | None
    other_lens_texts: list[str] | None
    other_top_tokens: list[TopToken]
    other_logprob: float
    other_entropy: float
    logprob: float
    other: Arrays
    difference: Arrays
    secs: float


def comparison_of(answer: ComparisonReady) -> Comparison:
    """`answer` with its tensors as arrays."""
    return with_arrays(answer, Comparison, other=_arrays(answer.other), difference=_arrays(answer.difference))


def _arrays(tensors: ComparedTensors) -> Arrays:
    named = ((name, getattr(tensors, name)) for name in tensors.__struct_fields__)
    return {name: reconstruct(tensor) for name, tensor in named if tensor is not None}
