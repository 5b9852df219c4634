"""Attention patterns written between softmax and value: see `AttentionEdit` for what each kind means."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from livelens.model.operations import RowsWritten, Span


def written_rows(change: RowsWritten, span: Span, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The edit of a pattern [batch, n_heads, pos, key_pos] of the queries `span`."""
    heads = torch.from_numpy(change.heads).to(device)
    query_pos = torch.from_numpy(span.positions).to(device)[:, None]

    def edit(pattern: Tensor) -> Tensor:
        rows = pattern[:, heads].float()
        n_keys = pattern.shape[-1]
        visible = torch.arange(n_keys, device=device) <= query_pos
        named = torch.zeros(n_keys, device=device)
        inside = change.keys < n_keys
        named[torch.from_numpy(change.keys[inside]).to(device)] = torch.from_numpy(change.weights[inside]).to(device)
        is_named = torch.zeros(n_keys, dtype=torch.bool, device=device)
        is_named[torch.from_numpy(change.keys[inside]).to(device)] = True
        weights = named * visible  # [pos, key_pos]
        match change.kind:
            case "knockout":
                written = _knocked_out(rows, is_named & visible, renormalises=change.renormalises)
            case "set":
                written = _set(rows, weights, is_named & visible, change)
            case "turn":
                written = _turned(rows, weights, change)
        # A row of which no named key is visible, or with no weight on those that are, stays as it is.
        acts = (is_named & visible).any(-1) if change.kind == "knockout" else weights.sum(-1) > 0
        written = torch.where(acts[:, None], written, rows)
        edited = pattern.clone()
        edited[:, heads] = written.to(pattern.dtype)
        return edited

    return edit


def _knocked_out(rows: Tensor, is_out: Tensor, *, renormalises: bool) -> Tensor:
    kept = rows.masked_fill(is_out, 0.0)
    if not renormalises:
        return kept
    left = kept.sum(-1, keepdim=True)
    return torch.where(left > 0, kept * (rows.sum(-1, keepdim=True) / left), kept)


def _set(rows: Tensor, weights: Tensor, is_named: Tensor, change: RowsWritten) -> Tensor:
    total = weights.sum(-1, keepdim=True)
    shares = weights / total.clamp_min(1e-30)
    if not change.keeps_rest:
        return (shares if change.renormalises else weights).expand_as(rows)
    others = rows.masked_fill(is_named, 0.0)
    left = others.sum(-1, keepdim=True)
    scaled = weights + others * ((1 - total) / left)
    return torch.where(left > 0, scaled, shares.expand_as(rows))


def _turned(rows: Tensor, weights: Tensor, change: RowsWritten) -> Tensor:
    shares = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
    if not len(change.from_keys):
        return rows.sum(-1, keepdim=True) * shares
    is_from = torch.zeros(rows.shape[-1], dtype=torch.bool, device=rows.device)
    is_from[torch.from_numpy(change.from_keys[change.from_keys < rows.shape[-1]]).to(rows.device)] = True
    moved = rows.masked_fill(~is_from, 0.0).sum(-1, keepdim=True)
    return rows.masked_fill(is_from, 0.0) + moved * shares
