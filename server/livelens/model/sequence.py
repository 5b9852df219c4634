"""One run's key/value cache, and the forward call that extends it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from livelens.model.ablated_rows import AblatedRows
from livelens.model.anatomy import Anatomy
from livelens.model.caches import copied_cache, new_cache
from livelens.model.capture import ForwardHooks, sites_for
from livelens.model.captured import CapturedTensors, TorchCaptured
from livelens.model.edits import NO_EDITS, SiteEdits, edits_from
from livelens.model.engine import EngineError
from livelens.model.interventions import InterventionMasks
from livelens.model.lens_thread import LensThread
from livelens.model.operations import Span
from livelens.model.readout import Readout, WriteWeights
from livelens.model.threads import narrow
from livelens.protocol.messages import Channel, Component

# Values of a matrix that one core multiplies with a vector as fast as all cores, or nearly.
_SMALL_MATRIX = 4_000_000


def _cut(cache: Cache, n_positions: int) -> None:
    """Keep the first `n_positions` of every layer, also where an interrupted forward grew only some."""
    for layer in cache.layers:
        if isinstance(layer.keys, Tensor) and isinstance(layer.values, Tensor):
            layer.keys = layer.keys[..., :n_positions, :]
            layer.values = layer.values[..., :n_positions, :]


class TorchSequence:
    """`TokenSequence` on a Hugging Face model: batch of one, though nothing here but the row depends on it."""

    def __init__(
        self,
        model: PreTrainedModel,
        anatomy: Anatomy,
        *,
        readout: Readout,
        weights: WriteWeights,
        lens_thread: LensThread,
        ablated_rows: AblatedRows,
    ) -> None:
        self._model = model
        self._anatomy = anatomy
        self._readout = readout
        self._weights = weights
        self._lens_thread = lens_thread
        self._ablated_rows = ablated_rows
        shape = anatomy.shape
        self._matrices_are_small = shape.d_model * max(shape.d_mlp, shape.d_model) <= _SMALL_MATRIX
        self._cache: Cache | None = new_cache()
        self._n_positions = 0
        self._n_changes = 0  # forward calls and truncations: what was captured before is not the newest any more
        self._masks: InterventionMasks | None = None
        self._edits = NO_EDITS

    @property
    def n_positions(self) -> int:
        """Positions computed so far."""
        return self._n_positions

    def forward(
        self, token_ids: Sequence[int], *, masks: InterventionMasks | None, channels: frozenset[Channel]
    ) -> TorchCaptured:
        """Append `token_ids` under `masks`, capturing what `channels` need.

        Raises EngineError when the context is full or memory runs out; the sequence is then as before.
        """
        self._check(token_ids)
        edits = self._edits_of(masks).bound(Span(self._n_positions, tuple(token_ids)))
        try:
            tensors = self._run(token_ids, edits, channels)
        except (torch.OutOfMemoryError, MemoryError):
            tensors = None
        except RuntimeError as error:
            self._restore()
            if "allocate memory" not in str(error):
                raise
            tensors = None
        except BaseException:
            self._restore()
            raise
        if tensors is None:
            # Out here the error, its traceback and so the tensors of its frames are gone.
            self._restore()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            raise EngineError(
                f"out of memory while computing {len(token_ids)} tokens after {self._n_positions}:"
                " use a shorter prompt, fewer channels or a smaller model"
            )
        self._n_positions += len(token_ids)
        self._n_changes += 1
        return TorchCaptured(
            tensors,
            readout=self._readout,
            weights=self._weights,
            lens_thread=self._lens_thread,
            ablate_newest=partial(self._ablate_newest, self._n_changes, token_ids[-1], masks),
        )

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on. Raises ValueError for positions it does not have."""
        if not 0 <= n_positions <= self._n_positions:
            raise ValueError(f"cannot truncate {self._n_positions} positions to {n_positions}")
        self._n_positions = n_positions
        self._n_changes += 1
        self._restore()

    def branch(self, n_positions: int) -> TorchSequence:
        """A sequence of its own that begins with the first `n_positions` of this one, which stays as it is.

        The keys and values of both are the same memory: a longer cache is always a new tensor, never a changed one.
        """
        if not 0 <= n_positions <= self._n_positions:
            raise ValueError(f"cannot branch off after {n_positions} of {self._n_positions} positions")
        other = TorchSequence(
            self._model,
            self._anatomy,
            readout=self._readout,
            weights=self._weights,
            lens_thread=self._lens_thread,
            ablated_rows=self._ablated_rows,
        )
        if self._cache is not None and n_positions:
            other._cache = copied_cache(self._cache, n_positions)
            other._n_positions = n_positions
        return other

    def close(self) -> None:
        """Free the cache; harmless when closed."""
        self._cache = None
        self._n_positions = 0

    def _ablate_newest(
        self,
        n_changes: int,
        token_id: int,
        masks: InterventionMasks | None,
        tensors: CapturedTensors,
        components: Sequence[Component],
    ) -> Tensor | None:
        """See `AblateNewest`. n_changes, masks: those that `tensors` were captured under."""
        if self._cache is None or n_changes != self._n_changes:
            return None
        pos = self._n_positions - 1
        streams = [stream[0, -1] for stream in tensors.sites["resid"] if stream is not None]
        return self._ablated_rows.normed(
            components,
            token_id=token_id,
            n_before=pos,
            cache=self._cache,
            streams=streams,
            edits=self._edits_of(masks).bound(Span(pos, (token_id,))),
            is_small=self._model.device.type == "cpu" and self._matrices_are_small,
        )

    def _check(self, token_ids: Sequence[int]) -> None:
        shape = self._anatomy.shape
        if self._cache is None:
            raise EngineError("this sequence is closed")
        if not token_ids:
            raise EngineError("no tokens to compute")
        if self._n_positions + len(token_ids) > shape.n_ctx:
            raise EngineError(
                f"the context is full: {self._n_positions} + {len(token_ids)} tokens are more than the"
                f" {shape.n_ctx} that this model takes"
            )
        if not all(0 <= token_id < shape.d_vocab for token_id in token_ids):
            raise EngineError(f"token ids must be 0 to {shape.d_vocab - 1}")

    def _edits_of(self, masks: InterventionMasks | None) -> SiteEdits:
        if masks is not self._masks:
            parameter = self._readout.anatomy.unembed.weight
            if not isinstance(parameter, Tensor):
                raise TypeError("the unembedding has no weight")
            self._edits = edits_from([masks], shape=self._anatomy.shape, device=parameter.device, dtype=parameter.dtype)
            self._masks = masks
        return self._edits

    def _restore(self) -> None:
        """Cut the cache back to the positions that count."""
        if self._n_positions == 0:
            self._cache = new_cache()
        elif self._cache is not None:
            _cut(self._cache, self._n_positions)

    @torch.inference_mode()
    def _run(self, token_ids: Sequence[int], edits: SiteEdits, channels: frozenset[Channel]) -> CapturedTensors:
        ids = torch.tensor([list(token_ids)], device=self._model.device)
        small = len(token_ids) == 1 and self._model.device.type == "cpu" and self._matrices_are_small
        with narrow(when=small), ForwardHooks(self._anatomy, edits=edits, sites=sites_for(channels)) as hooks:
            normed = self._model.base_model(
                input_ids=ids, past_key_values=self._cache, use_cache=True
            ).last_hidden_state
        last = self._readout.logits(normed[:, -1])[0]
        return CapturedTensors(
            sites=hooks.tensors,
            normed=normed,
            last_logits=last,
            next_ids=list(token_ids[1:]),
            edits=edits,
            written=hooks.written,
        )
