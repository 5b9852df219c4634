"""Patches as rows of one batch: a forward call that begins with one row and grows where a patch begins to act.

Row 0 is the run that is patched into. A patch on layer L makes its row at layer L, a copy of row 0 that
differs from there on; below L the row does not exist, and the positions before the patch are a shared
prefix. So nothing outside the patch's causal cone is computed, let alone changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from livelens.model.anatomy import Anatomy
from livelens.model.block_arguments import Arguments, with_stream
from livelens.model.edits import edits_by_position
from livelens.model.frozen import MaskSegment
from livelens.model.operations import Span
from livelens.model.replaced import Plant, Planted, planted
from livelens.model.replay import ModelParts, Piece, run_piece
from livelens.model.threads import narrow_on_few

PatchSite = Literal["resid_pre", "attn_out", "mlp_out", "z"]
PATCH_SITES: tuple[PatchSite, ...] = ("resid_pre", "attn_out", "mlp_out", "z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """Positions `start` to `stop` - 1 of one site of one layer take the other run's values.

    resid_pre is the stream before the layer. `head`: only this head's part of `z`.
    """

    site: PatchSite
    layer: int
    start: int
    stop: int
    head: int | None = None


@dataclass(slots=True)
class SourceRun:
    """The values that are patched in, of positions `from_pos` on: [position, width] by site and layer."""

    from_pos: int
    values: dict[tuple[PatchSite, int], Tensor] = field(default_factory=dict)

    def add(self, piece: Piece, n_layers: int) -> None:
        """Keep what a piece of the source run captured, from `from_pos` on."""
        skip = max(0, self.from_pos - piece.start)
        if skip >= piece.stop - piece.start:
            return
        for site in PATCH_SITES:
            tensors = piece.tensors["resid" if site == "resid_pre" else site]
            for layer in range(n_layers):
                captured = tensors[layer]
                if captured is None:
                    raise RuntimeError(f"{site} of layer {layer} was not captured")
                kept, before = captured[0, skip:], self.values.get((site, layer))
                self.values[site, layer] = kept.clone() if before is None else torch.cat([before, kept])

    def at(self, site: PatchSite, layer: int, span: range) -> Tensor:
        """[len(span), width]."""
        return self.values[site, layer][span.start - self.from_pos : span.stop - self.from_pos]


@dataclass(frozen=True, slots=True)
class _Birth:
    """A hook before a layer: `n_rows` new rows, copies of row 0 with these places of the stream patched."""

    n_rows: int
    plants: Sequence[Plant]

    def __call__(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> Arguments:
        """The layer's arguments, the stream with the new rows after those it has."""
        return with_stream(module, args, kwargs, self._grown)

    def _grown(self, stream: Tensor) -> Tensor:
        return planted(torch.cat([stream, stream[:1].expand(self.n_rows, -1, -1)]), self.plants)


@torch.inference_mode()
def run_patched(
    parts: ModelParts,
    token_ids: Sequence[int],
    patches: Sequence[Patch],
    *,
    start: int,
    cache: Cache,
    source: SourceRun,
    segments: Sequence[MaskSegment],
) -> Piece:
    """One forward call over `token_ids`, the positions from `start` on: row 0 as it is, row i + 1 with `patches[i]`.

    patches: ascending by layer; of them only what falls into these positions is planted. segments: the
    run's own interventions, in every row. `tensors` of the result have as many rows as their layer. Raises
    EngineError.
    """
    if any(one.layer > other.layer for one, other in pairwise(patches)):
        raise RuntimeError("patches must ascend by layer")
    anatomy, stop = parts.anatomy, start + len(token_ids)
    span = Span(start, tuple(token_ids))
    edits = edits_by_position(segments, span, shape=anatomy.shape, device=parts.model.device, dtype=parts.model.dtype)
    plants = _plants(patches, source, anatomy, start, stop)
    for (site, layer), here in plants.items():
        if site != "resid_pre":
            edits.edits[site, layer] = Planted(edits.edits.get((site, layer)), here)
    with ExitStack() as hooks:
        for layer in sorted({patch.layer for patch in patches}):
            n_rows = sum(patch.layer == layer for patch in patches)
            birth = _Birth(n_rows, plants.get(("resid_pre", layer), []))
            handle = anatomy.layers[layer].block.register_forward_pre_hook(birth, with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(narrow_on_few())
        return run_piece(parts, token_ids, start=start, cache=cache, edits=edits)


def _plants(
    patches: Sequence[Patch], source: SourceRun, anatomy: Anatomy, start: int, stop: int
) -> dict[tuple[PatchSite, int], list[Plant]]:
    """By site and layer, positions within the call."""
    found: dict[tuple[PatchSite, int], list[Plant]] = {}
    d_head = anatomy.shape.d_head
    for row, patch in enumerate(patches, start=1):
        positions = range(max(patch.start, start), min(patch.stop, stop))
        if not positions:
            continue
        columns = slice(None) if patch.head is None else slice(patch.head * d_head, (patch.head + 1) * d_head)
        plant = Plant(
            row=row,
            positions=slice(positions.start - start, positions.stop - start),
            columns=columns,
            value=source.at(patch.site, patch.layer, positions)[:, columns],
        )
        found.setdefault((patch.site, patch.layer), []).append(plant)
    return found
