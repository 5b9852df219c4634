"""One position of a run as the Python client holds it: what the server said of it, and its numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livelens.client.errors import LivelensError
from livelens.protocol.messages import CAUSAL_KINDS, Component, Step, TwinStep
from livelens.protocol.tensors import expand_int8

F32 = NDArray[np.float32]
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredComponent:
    """A head or MLP at one position, both in logits before any soft cap.

    attributed: what it writes straight to the metric. measured: the metric minus what it is without it.
    """

    component: Component
    attributed: float
    measured: float


@dataclass(slots=True)
class StepData:
    """One position: what the server said of it (`info`) and its arrays as they were sent (`tensors`).

    The properties give a channel in float32; they raise LivelensError where it was not subscribed to.
    """

    info: Step
    tensors: Arrays

    @property
    def pos(self) -> int:
        """Position of the token whose activations these are."""
        return self.info.pos

    @property
    def text(self) -> str:
        """That token, alone."""
        return self.info.text

    def tensor(self, name: str) -> NDArray[np.generic]:
        """A tensor by its name on the wire (`StepTensors` lists them)."""
        if name not in self.tensors:
            raise LivelensError("not_subscribed", f"this step has no {name}: subscribe to its channel before the run")
        return self.tensors[name]

    def _float32(self, name: str) -> F32:
        return self.tensor(name).astype(np.float32)

    @property
    def neurons(self) -> F32:
        """[n_layers, d_mlp]: activations, within the quantisation of 1/127 of their layer's largest root."""
        codes = self.tensor("neurons").astype(np.int8, copy=False)
        return expand_int8(codes, self._float32("neurons_scale"))

    @property
    def heads(self) -> F32:
        """[n_layers, n_heads]: norm of what each head writes."""
        return self._float32("heads")

    @property
    def attention(self) -> F32:
        """[n_layers, n_heads, pos+1]: this position's row of every pattern; of long rows the strongest 64 keys."""
        weights = self._float32("attention") / np.float32(255)
        if "attention_keys" not in self.tensors:
            return weights
        rows = np.zeros((*weights.shape[:2], self.pos + 1), np.float32)
        np.put_along_axis(rows, self.tensors["attention_keys"].astype(np.int64), weights, axis=-1)
        return rows

    @property
    def residual(self) -> F32:
        """[n_layers+1]: norm of the residual stream before layer 0 and after each layer."""
        return self._float32("residual")

    @property
    def direct_heads(self) -> F32:
        """[n_layers, n_heads]: direct contribution of each head to the metric, logits."""
        return self._float32("direct_heads")

    @property
    def direct_mlps(self) -> F32:
        """[n_layers]: direct contribution of each layer's MLP, logits."""
        return self._float32("direct_mlps")

    @property
    def twin(self) -> TwinStep | None:
        """The run's clean twin at this position; none where none is carried."""
        return self.info.twin

    def difference(self, name: str) -> F32:
        """This run's minus its clean twin's, in float32, of neurons, heads, attention, residual, attn_out, mlp_out,
        direct_heads or direct_mlps; shapes as of these. neurons: within the quantisation of 1/127 of their layer's
        largest root.
        """
        if name == "neurons":
            codes = self.tensor("difference_neurons").astype(np.int8, copy=False)
            return expand_int8(codes, self._float32("difference_neurons_scale"))
        return self._float32(f"difference_{name}")

    @property
    def causal_effects(self) -> list[MeasuredComponent]:
        """The strongest heads and MLPs by direct contribution, largest first, each measured as the token was made.

        Only generated tokens have them, and not those that were computed again.
        """
        names = ("causal_kind", "causal_layer", "causal_index", "causal_attributed", "causal_measured")
        return [
            MeasuredComponent(
                component=Component(kind=CAUSAL_KINDS[int(kind)], layer=int(layer), index=int(index)),
                attributed=float(attributed),
                measured=float(measured),
            )
            for kind, layer, index, attributed, measured in zip(*(self.tensor(name) for name in names), strict=True)
        ]
