"""Which heads feed which, by their weights: Q, K and V composition (Elhage et al. 2021).

"A Mathematical Framework for Transformer Circuits" scores how much of what an earlier head writes is in
the subspace a later head reads: `|W_OV W_QK| / (|W_OV| |W_QK|)` with Frobenius norms, on the query's side
or the key's, and `|W_OV1 W_OV2| / (|W_OV1| |W_OV2|)` for values. All are products of thin matrices, so no
norm needs more than d_head by d_head: `|A B| = |R_A B|` with the R of A's QR.
"""

from __future__ import annotations

import torch
from torch import Tensor


def product_norms(left: Tensor, right: Tensor) -> Tensor:
    """Frobenius norm of left @ right [...]: left [..., n, thin], right [..., thin, m], not multiplied out."""
    norms: Tensor = torch.linalg.matrix_norm(_r(left) @ _r(right.transpose(-2, -1)).transpose(-2, -1))
    return norms


def composition_scores(writers: tuple[Tensor, Tensor], reader: tuple[Tensor, Tensor]) -> Tensor:
    """How strongly each writer's output feeds the reader: [n].

    writers: W_V [n, d_model, d_head] and W_O [n, d_head, d_model] of n heads. reader: one head's (W_Q, W_K^T)
    for the query's side, (W_K, W_Q^T) for the key's, (W_V, W_O) for the value: [d_model, d_head] and
    [d_head, d_model]. 0 where a matrix is 0.
    """
    value, output = writers
    into, onward = reader
    middle = output @ into
    fed = torch.linalg.matrix_norm(_r(value) @ middle @ _r(onward.T).T)
    size = product_norms(value, output) * product_norms(into, onward)
    return torch.where(size > 0, fed / size.clamp_min(1e-30), torch.zeros_like(fed))


def _r(matrix: Tensor) -> Tensor:
    """The R of a QR: as far as norms go, the matrix."""
    factor: Tensor = torch.linalg.qr(matrix, mode="r").R
    return factor
