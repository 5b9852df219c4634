"""Which heads feed which, by their weights: Q, K and V composition (Elhage et al. 2021).

"A Mathematical Framework for Transformer Circuits" scores how much of what an earlier head writes is in
the subspace a later head reads: `|W_OV W_QK| / (|W_OV| |W_QK|)` with Frobenius norms, on the query's side
or the key's, and `|W_OV1 W_OV2| / (|W_OV1| |W_OV2|)` for values. All are products of thin matrices, so no
norm needs more than d_head by d_head: `|A B| = |R_A B|` with the R of A's QR.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def product_norms(left: Tensor, right: Tensor) -> Tensor:
    """Frobenius norm of left @ right [...]: left [..., n, thin], right [..., thin, m], not multiplied out."""
    norms: Tensor = torch.linalg.matrix_norm(_r(left) @ _r(right.transpose(-2, -1)).transpose(-2, -1))
    return norms


def composition_scores(writers: tuple[Tensor, Tensor], readers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """How strongly each of n writers' outputs feeds each reader: [n_readers, n], 0 where a matrix is 0.

    writers: W_V [n, d_model, d_head] and W_O [n, d_head, d_model]. A reader is one side of one head: (W_Q,
    W_K^T) for its query, (W_K, W_Q^T) for its key, (W_V, W_O) for its value, [d_model, d_head] and
    [d_head, d_model].
    """
    value, output = writers
    from_value = _r(value)
    sizes = torch.linalg.matrix_norm(from_value @ _r(output.transpose(-2, -1)).transpose(-2, -1))
    rows: list[Tensor] = []
    for into, onward in readers:
        fed = torch.linalg.matrix_norm(from_value @ (output @ into) @ _r(onward.T).T)
        size = sizes * product_norms(into, onward)
        rows.append(torch.where(size > 0, fed / size.clamp_min(1e-30), torch.zeros_like(fed)))
    return torch.stack(rows)


def _r(matrix: Tensor) -> Tensor:
    """The R of a QR: as far as norms go, the matrix."""
    factor: Tensor = torch.linalg.qr(matrix, mode="r").R
    return factor
