"""The logit lens of one head: what it alone adds to every token's logit at one position.

What a head writes, `z @ W_O[head]` (through the norm after attention, where the model has one), goes through
the final norm with its scale frozen at that of the whole stream, and through the unembedding: direct logit
attribution (Elhage et al. 2021) for every token at once. An MLP's output goes the same way. Given are logits
above the mean of all logits, which no probability depends on, before any soft cap.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from livelens.analysis.words import logits_written
from livelens.model.capture import CaptureSite
from livelens.model.replay import ModelParts, Piece, tokens_per_piece

WRITE_SITES: frozenset[CaptureSite] = frozenset(("z", "mlp_out", "attn_raw", "mlp_raw", "neurons"))


@dataclass(slots=True)
class Promoted:
    """Of each row: the most promoted tokens and by how much [n, n_tokens], rank [n] of the target and its value [n]."""

    token_ids: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    ranks: list[Tensor] = field(default_factory=list)
    targets: list[Tensor] = field(default_factory=list)

    def add(self, logits: Tensor, target_id: int, n_tokens: int) -> None:
        """Take in rows of logits [n, d_vocab]."""
        best = logits.topk(min(n_tokens, logits.shape[-1]), dim=-1)
        own = logits[:, target_id]
        self.token_ids.append(best.indices)
        self.values.append(best.values)
        self.ranks.append((logits > own[:, None]).sum(-1))
        self.targets.append(own)


@torch.inference_mode()
def head_writes(parts: ModelParts, piece: Piece, layer: int, factor: float) -> Tensor:
    """[n_heads, d_model] float32: what each head of `layer` added to the stream at the piece's one position.

    factor: what the layer's attention as a whole was scaled by.
    """
    shape, where = parts.anatomy.shape, parts.anatomy.layers[layer]
    z = _at(piece.tensors["z"][layer]).view(shape.n_heads, 1, shape.d_head)
    output = parts.weights.head_output[layer].float().reshape(shape.n_heads, shape.d_head, shape.d_model)
    written = (z @ output)[:, 0]
    if where.attention_post_norm is not None:
        raw = _at(piece.tensors["attn_raw"][layer])
        written = parts.anatomy.norm_weights(where.attention_post_norm).push(written, raw)
    return written * factor


def lens_of_writes(
    parts: ModelParts, piece: Piece, attn_factors: dict[int, float], *, target_id: int, n_tokens: int
) -> Generator[None, None, tuple[Promoted, Promoted]]:
    """Heads (n_layers * n_heads rows) and MLPs (n_layers rows); stops after each portion of rows."""
    n_layers = parts.anatomy.shape.n_layers
    heads, mlps = Promoted(), Promoted()
    for layers in portions(parts):
        rows = torch.cat([head_writes(parts, piece, layer, attn_factors.get(layer, 1.0)) for layer in layers])
        _add(heads, rows, parts, piece, target_id, n_tokens)
        yield
    for start in range(0, n_layers, tokens_per_piece(parts)):
        some = range(start, min(start + tokens_per_piece(parts), n_layers))
        rows = torch.stack([_at(piece.tensors["mlp_out"][layer]) for layer in some])
        _add(mlps, rows, parts, piece, target_id, n_tokens)
        yield
    return heads, mlps


def portions(parts: ModelParts) -> list[range]:
    """Layers whose heads are read together."""
    n_layers, n_heads = parts.anatomy.shape.n_layers, parts.anatomy.shape.n_heads
    n_at_once = max(1, tokens_per_piece(parts) // n_heads)
    return [range(start, min(start + n_at_once, n_layers)) for start in range(0, n_layers, n_at_once)]


@torch.inference_mode()
def _add(found: Promoted, rows: Tensor, parts: ModelParts, piece: Piece, target_id: int, n_tokens: int) -> None:
    end = _at(piece.tensors["resid"][-1])
    found.add(logits_written(parts, parts.weights.final_norm.push(rows, end)), target_id, n_tokens)


def _at(tensor: Tensor | None) -> Tensor:
    """[width], float32: the one position of a piece of one."""
    if tensor is None:
        raise RuntimeError("a layer did not run")
    return tensor[0, 0].float()


def joined(rows: Iterable[Tensor]) -> Tensor:
    """Rows as one tensor on the CPU."""
    return torch.cat(list(rows)).cpu()
