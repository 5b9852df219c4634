"""The key of a rank-1 edit: along which direction what enters a matrix is read.

`key = C^-1 k / (k_plain . C^-1 k)` (Meng et al. 2022, section 3.1): of all keys along which the prompt's own input has
1, the one along which usual inputs have the least, in the mean square that C says.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from livelens.model.engine import AnalysisRefusedError

# Multiplications of one piece: less than 0.1 s of one core in float64.
_PIECE_WORK = 3e8
_LEAST_LENGTH = 1e-12


class KeyDirection:
    """Solves `C x = k` for `C = seen^T seen / n + ridge * mean(diagonal) * I`, a bounded piece at a time.

    seen [n, d_in]: what entered the matrix elsewhere; by the n x n matrix of its products, so that no d_in x d_in one
    is ever made (Woodbury). float64.
    """

    def __init__(self, seen: Tensor, *, ridge: float) -> None:
        self._seen = seen.double()
        n, d_in = seen.shape
        self._floor = ridge * float(self._seen.square().sum()) / (n * d_in)
        self._products = self._seen.new_empty(n, n)
        self._rows = max(1, int(_PIECE_WORK / (n * d_in)))

    @property
    def n_pieces(self) -> int:
        """How often `prepare` stops."""
        return -(-len(self._seen) // self._rows)

    def prepare(self) -> Iterator[None]:
        """The products, some rows at a time."""
        for start in range(0, len(self._seen), self._rows):
            self._products[start : start + self._rows] = self._seen[start : start + self._rows] @ self._seen.T
            yield

    def solve(self, key: Tensor) -> Tensor:
        """`C^-1 key` [d_in]. Raises AnalysisRefusedError where nothing enters the matrix."""
        if self._floor < 1e-30:
            raise AnalysisRefusedError("bad_edit", "nothing enters this matrix in the texts of the covariance")
        n = len(self._seen)
        inner = self._products + torch.eye(n, dtype=torch.float64, device=key.device) * (self._floor * n)
        inside = torch.linalg.solve(inner, self._seen @ key.double())
        solved: Tensor = (key.double() - self._seen.T @ inside) / self._floor
        return solved


def scaled_key(key: Tensor, plain: Tensor) -> Tensor:
    """The key [d_in] at the length at which the prompt's own input, `plain`, has 1 along it; float32."""
    along = float(plain.double() @ key.double())
    lengths = float(key.double().norm()) * float(plain.double().norm())
    if not lengths > _LEAST_LENGTH:
        raise AnalysisRefusedError(
            "bad_edit", "nothing enters this matrix at the subject's last token: the key would be zero"
        )
    if not along > 1e-6 * lengths:
        raise AnalysisRefusedError(
            "bad_edit", "what enters the matrix at the subject differs so much behind the prefixes that no key is left"
        )
    scaled: Tensor = (key.double() / along).float()
    return scaled
