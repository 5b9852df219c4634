"""Every row of W_O and W_out along what leads to a token's logit, kept for the tokens that came of late.

Reading all output matrices is most of what direct_logit costs: a quarter of the bytes that the forward call of
the token reads. What comes of it is the same wherever the token stands, but for the final norm's scale there;
and texts repeat their tokens, and a chosen target and distractor stay.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from livelens.analysis.direct_logit import along_rows, unembed_direction
from livelens.analysis.norms import NormWeights
from livelens.model.threads import wide

_MAX_BYTES: Final = 64 << 20  # of the shipped model: 260 tokens


@dataclass(frozen=True, slots=True)
class OutputRows:
    """heads: [n_layers, n_heads * d_head], neurons: [n_layers, d_mlp], float32; before the final norm's scale."""

    heads: Tensor
    neurons: Tensor

    @property
    def n_bytes(self) -> int:
        """What keeping it takes."""
        return self.heads.nbytes + self.neurons.nbytes


class DirectionRows:
    """`OutputRows` by target and distractor. Used by the model thread only."""

    def __init__(
        self,
        head_output: Tensor | list[Tensor],
        neuron_output: Tensor | list[Tensor],
        *,
        unembed: Tensor,
        unembed_mean: Tensor,
        final_norm: NormWeights,
        may_keep: bool,
    ) -> None:
        """may_keep: nobody else can change the weights."""
        self._head_output = head_output
        self._neuron_output = neuron_output
        self._unembed = unembed
        self._unembed_mean = unembed_mean
        self._final_norm = final_norm
        self._may_keep = may_keep
        self._kept: OrderedDict[tuple[int, int | None], OutputRows] = OrderedDict()

    def of(self, target_ids: Sequence[int], distractor_id: int | None) -> list[OutputRows]:
        """One for each target; the weights are read at most once.

        Only rows that were computed alone are kept and looked up. Those of several targets at once (a prompt's)
        differ from them in the last bit, and what a run shows must not depend on the runs before it.
        """
        different = list(dict.fromkeys(target_ids))
        if len(different) == 1:
            return [self._one(different[0], distractor_id)] * len(target_ids)
        found = dict(zip(different, self._read(different, distractor_id), strict=True))
        return [found[target_id] for target_id in target_ids]

    def _one(self, target_id: int, distractor_id: int | None) -> OutputRows:
        key = (target_id, distractor_id)
        rows = self._kept.pop(key, None)
        if rows is None:
            [rows] = self._read([target_id], distractor_id)
        if self._may_keep:
            self._kept[key] = rows  # the newest
            while len(self._kept) > 1 and len(self._kept) * rows.n_bytes > _MAX_BYTES:
                self._kept.popitem(last=False)
        return rows

    def _read(self, target_ids: list[int], distractor_id: int | None) -> list[OutputRows]:
        away = [
            unembed_direction(self._unembed, self._unembed_mean, target_id=target_id, distractor_id=distractor_id)
            for target_id in target_ids
        ]
        directions = torch.stack([self._final_norm.through_gain(direction) for direction in away])
        directions = directions.expand(len(self._head_output), -1, -1)
        with wide():
            heads = along_rows(self._head_output, directions)
            neurons = along_rows(self._neuron_output, directions)
        return [OutputRows(heads[:, n], neurons[:, n]) for n in range(len(target_ids))]
