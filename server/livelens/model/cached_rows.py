"""Keys and values of rows of equal length, and the forward call that extends them all at once."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from livelens.model.ablated_rows import AblatedRows
from livelens.model.anatomy import Anatomy
from livelens.model.caches import new_cache
from livelens.model.capture import ForwardHooks, sites_for
from livelens.model.captured import CapturedTensors
from livelens.model.edits import SiteEdits, edits_from
from livelens.model.engine import EngineError
from livelens.model.interventions import InterventionMasks
from livelens.model.lens_thread import LensThread
from livelens.model.operations import Span
from livelens.model.readout import Readout, WriteWeights
from livelens.model.threads import narrow
from livelens.protocol.messages import Channel

# Values of a matrix that one core multiplies with a vector as fast as all cores, or nearly.
_SMALL_MATRIX = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceParts:
    """What every sequence of one model needs."""

    model: PreTrainedModel
    anatomy: Anatomy
    readout: Readout
    weights: WriteWeights
    lens_thread: LensThread
    ablated_rows: AblatedRows

    @property
    def is_small(self) -> bool:
        """One token's forward pass is for one core."""
        shape = self.anatomy.shape
        matrices_are_small = shape.d_model * max(shape.d_mlp, shape.d_model) <= _SMALL_MATRIX
        return self.model.device.type == "cpu" and matrices_are_small


Masks = Sequence[InterventionMasks | None]


class CachedRows:
    """One cache of any number of rows. Interventions are of each row: `masks[i]`, none where it has none."""

    def __init__(self, parts: SequenceParts, cache: Cache | None = None, *, n_positions: int = 0) -> None:
        self.parts = parts
        self.cache: Cache | None = new_cache() if cache is None else cache
        self.n_positions = n_positions
        self.n_changes = 0  # forward calls and truncations: what was captured before is not the newest any more
        self._edits: dict[int, tuple[tuple[InterventionMasks | None, ...], SiteEdits]] = {}  # by number of rows

    def forward(self, rows: Sequence[Sequence[int]], masks: Masks, channels: frozenset[Channel]) -> CapturedTensors:
        """Append each row's tokens, equally many, under its masks; interventions see the first row's.

        Raises EngineError when the context is full or memory runs out; the rows are then as before.
        """
        for token_ids in rows:
            self._check(token_ids)
        n_new = len(rows[0])
        edits = self.edits_of(masks).bound(Span(self.n_positions, tuple(rows[0])))
        try:
            tensors = self._run(rows, edits, channels)
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
                f"out of memory while computing {n_new} tokens after {self.n_positions}:"
                " use a shorter prompt, fewer channels or a smaller model"
            )
        self.n_positions += n_new
        self.n_changes += 1
        return tensors

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on. Raises ValueError for positions it does not have."""
        if not 0 <= n_positions <= self.n_positions:
            raise ValueError(f"cannot truncate {self.n_positions} positions to {n_positions}")
        self.n_positions = n_positions
        self.n_changes += 1
        self._restore()

    def close(self) -> None:
        """Free the cache; harmless when closed."""
        self.cache = None
        self.n_positions = 0
        self.n_changes += 1

    def edits_of(self, masks: Masks) -> SiteEdits:
        """The edits of these rows' masks, made once while they stay the same."""
        made = self._edits.get(len(masks))
        if made is None or any(a is not b for a, b in zip(masks, made[0], strict=True)):
            parameter = self.parts.anatomy.unembed.weight
            if not isinstance(parameter, Tensor):
                raise TypeError("the unembedding has no weight")
            shape = self.parts.anatomy.shape
            edits = edits_from(masks, shape=shape, device=parameter.device, dtype=parameter.dtype)
            made = self._edits[len(masks)] = (tuple(masks), edits)
        return made[1]

    def _check(self, token_ids: Sequence[int]) -> None:
        shape = self.parts.anatomy.shape
        if self.cache is None:
            raise EngineError("this sequence is closed")
        if not token_ids:
            raise EngineError("no tokens to compute")
        if self.n_positions + len(token_ids) > shape.n_ctx:
            raise EngineError(
                f"the context is full: {self.n_positions} + {len(token_ids)} tokens are more than the"
                f" {shape.n_ctx} that this model takes"
            )
        if not all(0 <= token_id < shape.d_vocab for token_id in token_ids):
            raise EngineError(f"token ids must be 0 to {shape.d_vocab - 1}")

    def _restore(self) -> None:
        """Cut the cache back to the positions that count, also where an interrupted forward grew only some layers."""
        if self.n_positions == 0:
            self.cache = new_cache()
        elif self.cache is not None:
            for layer in self.cache.layers:
                if isinstance(layer.keys, Tensor) and isinstance(layer.values, Tensor):
                    layer.keys = layer.keys[..., : self.n_positions, :]
                    layer.values = layer.values[..., : self.n_positions, :]

    @torch.inference_mode()
    def _run(self, rows: Sequence[Sequence[int]], edits: SiteEdits, channels: frozenset[Channel]) -> CapturedTensors:
        parts = self.parts
        ids = torch.tensor([list(token_ids) for token_ids in rows], device=parts.model.device)
        small = ids.shape[1] == 1 and parts.is_small
        with narrow(when=small), ForwardHooks(parts.anatomy, edits=edits, sites=sites_for(channels)) as hooks:
            normed = parts.model.base_model(input_ids=ids, past_key_values=self.cache, use_cache=True).last_hidden_state
        return CapturedTensors(
            sites=hooks.tensors,
            normed=normed,
            last_logits=parts.readout.logits(normed[:, -1]),
            next_ids=list(rows[0][1:]),
            edits=edits,
            written=hooks.written,
        )
