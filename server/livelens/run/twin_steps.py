"""What a step tells of the clean twin: its tokens and prediction, and how every channel differs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from livelens.model.compared_arrays import difference_arrays
from livelens.model.engine import F32, Captured, LogitPair, Prediction, StepArrays
from livelens.protocol.messages import Channel, ModelInfo, TopToken, TwinStep
from livelens.protocol.tensors import LONG_ROW_KEYS, compand_int8, shorten_float32
from livelens.run.jobs import Arrays
from livelens.run.readout import CleanPosition, UnreadPosition

# The channels whose differences are taken. A second logit lens would cost a fifth of a token, so it has none.
_SOURCES: Final[tuple[Channel, ...]] = ("neurons", "heads", "attention", "residual", "direct_logit")
# A pattern's difference goes out in steps of 1/2048, eight times as fine as the pattern itself: below that most of
# a row is rounding, and would be half of the frame.
_ATTENTION_STEPS: Final = np.float32(2048)
_TENSORS: Final = ("heads", "residual", "attn_out", "mlp_out", "direct_heads", "direct_mlps")


def captured_channels(channels: frozenset[Channel], info: ModelInfo, *, has_twin: bool) -> frozenset[Channel]:
    """What a forward call must capture for `channels`."""
    sources = difference_sources(info) if has_twin and "difference" in channels else frozenset()
    return (channels - {"difference"}) | sources


def difference_sources(info: ModelInfo) -> frozenset[Channel]:
    """The channels of this model that `difference` is taken of."""
    return frozenset(channel for channel in _SOURCES if channel in info.capabilities.channels)


def twin_step(
    unread: UnreadPosition, clean: CleanPosition, *, token_text: Callable[[int], str], top_k: int
) -> TwinStep | None:
    """The clean row at one position; none where its logits are no numbers."""
    captured, index = clean.captured, unread.index
    prediction = captured.prediction(index, chosen_id=unread.chosen_id, top_k=top_k)
    kl = 0.0 if captured is unread.captured else unread.captured.divergence(index, captured)
    if not (math.isfinite(kl) and math.isfinite(prediction.entropy)):
        return None
    return TwinStep(
        token_id=clean.token_id,
        text=token_text(clean.token_id),
        chosen_id=clean.chosen_id,
        chosen_text=None if clean.chosen_id is None else token_text(clean.chosen_id),
        prefers_id=int(prediction.top_ids[0]),
        prefers_text=token_text(int(prediction.top_ids[0])),
        logprob=prediction.logprob,
        kl=kl,
        entropy=prediction.entropy,
        top_tokens=top_tokens(prediction, token_text),
    )


def top_tokens(prediction: Prediction, token_text: Callable[[int], str]) -> list[TopToken]:
    """The likeliest next tokens, best first."""
    return [
        TopToken(token_id=int(top_id), text=token_text(int(top_id)), prob=float(prob))
        for top_id, prob in zip(prediction.top_ids, prediction.top_probs, strict=True)
    ]


def differences(
    own: StepArrays, clean: Captured, unread: UnreadPosition, *, pair: LogitPair, info: ModelInfo
) -> dict[str, F32]:
    """This run's arrays minus the clean row's, exact, by the tensors' names; `own` has every source."""
    sources = difference_sources(info)
    if clean is unread.captured:
        other = own
    else:
        other = clean.arrays(unread.index, channels=sources, chosen_id=unread.chosen_id, pair=pair)
    found = difference_arrays(own, other)
    return {f"difference_{name}": values for name, values in found.items()}


def quantised_differences(exact: dict[str, F32]) -> Arrays:
    """The wire arrays (`StepTensors` says dtype and shape of each)."""
    arrays: Arrays = {}
    neurons, attention = exact.get("difference_neurons"), exact.get("difference_attention")
    if neurons is not None:
        arrays["difference_neurons"], arrays["difference_neurons_scale"] = compand_int8(neurons)
    if attention is not None and attention.shape[-1] <= LONG_ROW_KEYS:
        arrays["difference_attention"] = (np.rint(attention * _ATTENTION_STEPS) / _ATTENTION_STEPS).astype(np.float16)
    for name in _TENSORS:
        values = exact.get(f"difference_{name}")
        if values is not None:
            arrays[f"difference_{name}"] = shorten_float32(values)
    return arrays
