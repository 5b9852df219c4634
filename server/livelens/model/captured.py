"""What one forward call left behind, read out position by position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from livelens.analysis.direct_logit import unembed_direction
from livelens.analysis.lens import divergence, logit_statistics
from livelens.model.capture import CaptureSite, stack
from livelens.model.edits import EditSite, Place, SiteEdits
from livelens.model.engine import F32, Captured, DirectLogit, EngineError, LensRows, LogitPair, Prediction, StepArrays
from livelens.model.explain import PositionWrites, explain
from livelens.model.lens_thread import LensThread
from livelens.model.readout import Readout, WriteWeights
from livelens.model.threads import narrow
from livelens.protocol.messages import Channel, Component

# Positions of a prompt that are read out together: enough to share the reading of the weights, few enough
# not to hold up the next token.
_BLOCK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedTensors:
    """One forward call's tensors: by site (see `ForwardHooks.tensors`), and what left the final norm.

    normed: [batch, n, d_model]; last_logits: [batch, d_vocab]; next_ids: the first row's tokens after all new
    positions but the last; edits, written: what interventions did (see `ForwardHooks.written`).
    """

    sites: dict[CaptureSite, list[Tensor | None]]
    normed: Tensor
    last_logits: Tensor
    next_ids: Sequence[int]
    edits: SiteEdits
    written: dict[Place, Tensor] = field(default_factory=dict)


# The last position again with each component ablated alone: what leaves the final norm, [n_components, d_model].
# None of it once the sequence has moved on.
AblateNewest = Callable[[CapturedTensors, Sequence[Component]], Tensor | None]


def _numpy(tensor: Tensor) -> F32:
    return np.ascontiguousarray(tensor.float().cpu().numpy())


class TorchCaptured:
    """`Captured` of one batch row of a forward call."""

    def __init__(
        self,
        tensors: CapturedTensors,
        *,
        readout: Readout,
        weights: WriteWeights,
        lens_thread: LensThread,
        ablate_newest: AblateNewest | None = None,
        row: int = 0,
    ) -> None:
        self._tensors = tensors
        self._readout = readout
        self._weights = weights
        self._lens_thread = lens_thread
        self._ablate_newest = ablate_newest
        self._row = row
        self._logits: F32 | None = None
        self._logits_block: tuple[int, Tensor] | None = None
        self._direct_block: tuple[int, LogitPair, list[DirectLogit]] | None = None

    @property
    def n_positions(self) -> int:
        """New positions of this forward call."""
        return int(self._tensors.normed.shape[1])

    @property
    def logits(self) -> F32:
        """[d_vocab] of the last position, as the sampler sees them (after any soft cap)."""
        if self._logits is None:
            self._logits = _numpy(self._tensors.last_logits[self._row])
        return self._logits

    def first_nonfinite_layer(self) -> int | None:
        """The first layer whose output holds NaN or infinity; n_layers where only the logits do."""
        with narrow():
            logits_are_finite = bool(torch.isfinite(self._tensors.last_logits[self._row]).all())
        if logits_are_finite and self.n_positions == 1:
            return None  # what breaks the stream stays in it up to the logits
        streams = self._tensors.sites["resid"][1:]
        for layer, stream in enumerate(streams):
            if stream is not None and not bool(torch.isfinite(stream[self._row]).all()):
                return layer
        return None if logits_are_finite else len(streams)

    def prediction(self, index: int, *, chosen_id: int, top_k: int) -> Prediction:
        """The prediction after new position `index` (0 is the first new one)."""
        with torch.inference_mode(), narrow():
            logits = self._position_logits(self._checked(index))
            statistics = logit_statistics(logits[None], chosen_id)
            values, ids = logits.topk(min(top_k, logits.shape[-1]))
        return Prediction(
            top_ids=ids.cpu().numpy().astype(np.int32),
            top_probs=_numpy((values - values[0]).exp() * statistics.prob[0]),
            logprob=float(statistics.logprob[0]),
            entropy=float(statistics.entropy[0]),
        )

    def divergence(self, index: int, other: Captured) -> float:
        """See `Captured.divergence`."""
        if not isinstance(other, TorchCaptured):
            raise TypeError("both must have been computed by one engine")
        with torch.inference_mode(), narrow():
            own = self._position_logits(self._checked(index)).double()
            return divergence(own, other._position_logits(other._checked(index)).double())

    def arrays(self, index: int, *, channels: frozenset[Channel], chosen_id: int, pair: LogitPair) -> StepArrays:
        """The channels of new position `index`; they must be among those the forward call captured."""
        index = self._checked(index)
        with torch.inference_mode(), narrow():
            return StepArrays(
                neurons=_numpy(self._at("neurons", index)) if "neurons" in channels else None,
                heads=self._head_norms(index) if "heads" in channels else None,
                attention=self._attention(index) if "attention" in channels else None,
                residual=self._norms("resid", index) if "residual" in channels else None,
                attn_out=self._norms("attn_out", index) if "residual" in channels else None,
                mlp_out=self._norms("mlp_out", index) if "residual" in channels else None,
                lens=self.lens(index, chosen_id=chosen_id).result() if "logit_lens" in channels else None,
                direct=self._direct(index, chosen_id, pair) if "direct_logit" in channels else None,
            )

    def measured_effects(self, components: Sequence[Component], *, target_id: int, distractor_id: int | None) -> F32:
        """See `Captured.measured_effects`."""
        if not components:
            return np.zeros(0, np.float32)
        rows = None if self._ablate_newest is None else self._ablate_newest(self._tensors, components)
        if rows is None:
            raise EngineError("the run has moved on: only its newest token can be measured as it is made")
        weights = self._weights
        direction = unembed_direction(
            weights.unembed, weights.unembed_mean, target_id=target_id, distractor_id=distractor_id
        )
        with torch.inference_mode(), narrow():
            clean = self._tensors.normed[self._row, -1].float()
            return _numpy((clean - rows.float()) @ (direction * self._readout.logit_scale))

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.n_positions:
            raise IndexError(f"position {index} is not among the {self.n_positions} new ones of this forward call")
        return index

    def _at(self, site: CaptureSite, index: int) -> Tensor:
        """[n_layers, width] of one position."""
        tensors = self._tensors.sites.get(site)
        if tensors is None:
            raise KeyError(f"{site} was not captured by this forward call")
        return stack(tensors, lambda tensor: tensor[self._row, index])

    def _norms(self, site: CaptureSite, index: int) -> F32:
        return _numpy(self._at(site, index).norm(dim=-1))

    def _z(self, index: int) -> Tensor:
        shape = self._readout.anatomy.shape
        return self._at("z", index).view(shape.n_layers, shape.n_heads, shape.d_head)

    def _head_norms(self, index: int) -> F32:
        return _numpy(self._weights.head_norms(self._z(index)))

    def _attention(self, index: int) -> F32:
        patterns = self._tensors.sites["pattern"]
        first = next(pattern for pattern in patterns if pattern is not None)
        n_keys = first.shape[-1] - self.n_positions + index + 1
        return _numpy(stack(patterns, lambda pattern: pattern[self._row, :, index, :n_keys]))

    def _block(self, index: int) -> range:
        """The positions before the last that are read out together with `index`: the weights are read once."""
        start = index - index % _BLOCK
        return range(start, min(start + _BLOCK, self.n_positions - 1))

    def _position_logits(self, index: int) -> Tensor:
        if index == self.n_positions - 1:
            return self._tensors.last_logits[self._row]
        block = self._block(index)
        if self._logits_block is None or self._logits_block[0] != block.start:
            normed = self._tensors.normed[self._row, block.start : block.stop]
            self._logits_block = (block.start, self._readout.logits(normed))
        return self._logits_block[1][index - block.start]

    def lens(self, index: int, *, chosen_id: int) -> Future[LensRows]:
        """The logit lens of new position `index`, of every layer."""
        index = self._checked(index)
        with torch.inference_mode(), narrow():
            resid = self._tensors.sites["resid"][1:-1]
            before_last = [stream[self._row, index] for stream in resid if stream is not None]
            own = self._position_logits(index)
            streams = torch.stack(before_last) if before_last else own.new_empty(0, self._tensors.normed.shape[-1])
        return self._lens_thread.submit(streams, own, chosen_id)

    def _direct(self, index: int, chosen_id: int, pair: LogitPair) -> DirectLogit:
        if index == self.n_positions - 1 or chosen_id != self._tensors.next_ids[index]:
            return self._explained([index], [chosen_id], pair)[0]
        block = self._block(index)
        if self._direct_block is None or self._direct_block[:2] != (block.start, pair):
            chosen = self._tensors.next_ids[block.start : block.stop]
            self._direct_block = (block.start, pair, self._explained(block, chosen, pair))
        return self._direct_block[2][index - block.start]

    def _explained(self, indices: Sequence[int], chosen_ids: Sequence[int], pair: LogitPair) -> list[DirectLogit]:
        return explain(
            [self._writes(index) for index in indices],
            [chosen_id if pair.target_id is None else pair.target_id for chosen_id in chosen_ids],
            self._weights,
            distractor_id=pair.distractor_id,
            n_neurons=pair.n_neurons,
            logit_scale=self._readout.logit_scale,
            edits=self._tensors.edits,
            row=self._row,
        )

    def _writes(self, index: int) -> PositionWrites:
        resid = self._tensors.sites["resid"]
        first, last = resid[0], resid[-1]
        if first is None or last is None:
            raise RuntimeError("the residual stream was not captured")
        return PositionWrites(
            embed=first[self._row, index].float(),
            stream=last[self._row, index].float(),
            z=self._z(index),
            neurons=self._at("neurons", index),
            mlp_out=self._at("mlp_out", index),
            attn_raw=self._optional("attn_raw", index),
            mlp_raw=self._optional("mlp_raw", index),
            index=index,
            attn_written=self._written("attn_out", index),
            w_o_added=self._written("w_o", index),
            stream_added={layer - 1: added for layer, added in self._written("resid", index).items()},
        )

    def _written(self, site: EditSite, index: int) -> dict[int, Tensor]:
        """[d_model] by layer: what interventions wrote at one site."""
        written = self._tensors.written.items()
        return {layer: tensor[self._row, index].float() for (at, layer), tensor in written if at == site}

    def _optional(self, site: CaptureSite, index: int) -> Tensor | None:
        tensors = self._tensors.sites.get(site)
        return None if tensors is None or tensors[0] is None else self._at(site, index)
