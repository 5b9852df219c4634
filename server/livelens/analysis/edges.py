"""Who fed a component, and whom it fed: the edges of the linearised run.

The reader's value is pulled back through its own module only, to the stream where the module reads it;
there the stream is the sum of what everything before it wrote, so each writer's edge is its output along
that gradient, and the edges and the module's own biases sum to the reader's value (path patching's
direct effect, Goldowsky-Dill et al. 2023, in the linearised model).
"""

from __future__ import annotations

import torch
from torch import Tensor

from livelens.analysis.attribution import (
    Attribution,
    NodeValue,
    bias_terms,
    by_head,
    gradients,
    strongest_neurons,
    to_numpy,
)
from livelens.analysis.edge_types import Incoming, Outgoing, Pull, StreamGradient
from livelens.analysis.nodes import AttributionError, Node, Part
from livelens.analysis.pacing import Pacing
from livelens.analysis.writers import Writers, linear_part
from livelens.model.freeze_hooks import BiasSite


class Edges:
    """Incoming and outgoing edges of one attribution. Used by the model thread only."""

    def __init__(self, attribution: Attribution) -> None:
        self.attribution = attribution
        self.run = attribution.run
        self._shape = attribution.run.anatomy.shape
        self.writers = Writers(attribution)
        self._reads: dict[tuple[str, int], Tensor] = {}

    # ------------------------------------------------------------------ questions

    def incoming(
        self, reader: Node, *, part: Part = "value", key_pos: int | None = None, n_neurons: int = 32
    ) -> Incoming:
        """Who fed `reader`. part query and key are of heads only; key_pos none: the key with most weight.

        Raises AttributionError for a node that is not in the run, or that nothing feeds.
        """
        self.attribution.check(reader)
        key = None
        if part == "value":
            pull = self.pull(reader)
        else:
            key = self._key_pos(reader, key_pos)
            pull = self._pull_score(reader, key, part)
        edges = self.writers.along(pull, n_neurons=n_neurons)
        return Incoming(
            reader=reader,
            part=part,
            key_pos=key,
            value=pull.value,
            edges=edges,
            biases=pull.biases,
            error=pull.value - edges.total() - sum(pull.biases.values()),
        )

    def outgoing(self, writer: Node, *, n_neurons: int = 32, pacing: Pacing | None = None) -> Outgoing:
        """Whom `writer` fed. Costs about two backward passes, the first time; pacing: may stop between layers.

        Raises AttributionError for a node that is not in the run or writes nothing.
        """
        pacing = pacing or Pacing()
        self.attribution.check(writer)
        written, gradient, first_attn, first_mlp = self._written(writer)
        value = float((written * gradient).sum())
        shape, n_pos, pos = self._shape, self.run.n_positions, writer.pos
        heads = torch.zeros(shape.n_layers, n_pos, shape.n_heads)
        mlps = torch.zeros(shape.n_layers)
        terms: dict[int, Tensor] = {}
        for layer in range(first_attn, shape.n_layers):
            pacing.stop()
            heads[layer] = self._fed_heads(layer, written, pos)
        for layer in range(first_mlp, shape.n_layers):
            pacing.stop()
            mlps[layer] = float(self._read("mlp", layer)[pos] @ written)
            if n_neurons > 0:
                terms[layer] = self._fed_neurons(layer, written, pos)
        logit = float(self.attribution.final_gradient()[pos] @ written)
        neurons = [
            NodeValue(
                node=Node(kind="neuron", layer=entry.node.layer, index=entry.node.index, pos=pos), value=entry.value
            )
            for entry in strongest_neurons(terms, n_neurons)
        ]
        known = logit + float(heads.double().sum()) + float(mlps.double().sum())
        return Outgoing(
            writer=writer,
            value=value,
            logit=logit,
            heads=to_numpy(heads),
            mlps=to_numpy(mlps),
            neurons=neurons,
            error=value - known,
        )

    # ------------------------------------------------------------------ readers

    def pull(self, reader: Node, along: Tensor | None = None) -> Pull:
        """`reader` pulled back to the stream that its module reads.

        along [d_model]: the direction in the stream that the reader's output counts along; none: the
        whole gradient of the metric.
        """
        match reader.kind:
            case "logit":
                return self._pull_logit()
            case "head" | "attn":
                return self._pull_attention(reader, along)
            case "neuron" | "mlp":
                return self._pull_mlp(reader, along)
            case _:
                raise AttributionError(f"nothing feeds {reader.node_id}: it is where paths begin")

    def _pull_logit(self) -> Pull:
        attribution, n_layers = self.attribution, self._shape.n_layers
        return Pull(
            value=attribution.metric,
            gradient=StreamGradient.of(attribution.final_gradient(), attribution.pos),
            pos=attribution.pos,
            n_attn=n_layers,
            n_mlp=n_layers,
            biases={"ln_final.b + unembed.b_U": attribution.final_bias},
        )

    def _pull_attention(self, reader: Node, along: Tensor | None) -> Pull:
        layer = self.run.layers[reader.layer]
        whole, biases = self._behind_write(layer.attn_out, layer.z, layer.biases["attn_write"], reader, along)
        if reader.kind == "head":
            width = whole.shape[-1] // self._shape.n_heads
            kept = torch.zeros_like(whole)
            here = slice(reader.index * width, (reader.index + 1) * width)
            kept[reader.pos, here] = whole[reader.pos, here]
            whole, biases = kept, {}
        value = float((whole * layer.z.detach()[0]).sum()) + sum(biases.values())
        gradient, inner = self._through(layer.z, whole, layer.attn_in, layer.biases["attn_read"])
        return Pull(
            value=value,
            gradient=StreamGradient.of(gradient, None),
            pos=None,
            n_attn=reader.layer,
            n_mlp=reader.layer,
            biases=_added(biases, inner),
        )

    def _pull_mlp(self, reader: Node, along: Tensor | None) -> Pull:
        layer = self.run.layers[reader.layer]
        whole, biases = self._behind_write(layer.mlp_out, layer.neurons, layer.biases["mlp_write"], reader, along)
        if reader.kind == "neuron":
            kept = torch.zeros_like(whole)
            kept[reader.pos, reader.index] = whole[reader.pos, reader.index]
            whole, biases = kept, {}
        value = float((whole * layer.neurons.detach()[0]).sum()) + sum(biases.values())
        gradient, inner = self._through(layer.neurons, whole, layer.mlp_in, layer.biases["mlp_read"])
        return Pull(
            value=value,
            gradient=StreamGradient.of(gradient, reader.pos),
            pos=reader.pos,
            n_attn=reader.layer if layer.is_parallel else reader.layer + 1,
            n_mlp=reader.layer,
            biases=_added(biases, inner),
        )

    def neuron_terms(self, mlp: Node, along: Tensor) -> Tensor:
        """[d_mlp]: each neuron of an MLP at its token along a direction [d_model] of the stream."""
        layer = self.run.layers[mlp.layer]
        whole, _ = self._behind_write(layer.mlp_out, layer.neurons, [], mlp, along)
        return whole[mlp.pos] * layer.neurons.detach()[0, mlp.pos]

    def _behind_write(
        self, out: Tensor, inside: Tensor, sites: list[BiasSite], reader: Node, along: Tensor | None
    ) -> tuple[Tensor, dict[str, float]]:
        """Gradient [n_pos, width] at z or neurons of what the reader's layer writes at its token, and its biases."""
        given = torch.zeros_like(out)
        if along is not None:
            given[0, reader.pos] = along
        elif out is self.run.layers[reader.layer].attn_out:
            given[0, reader.pos] = self.attribution.attn_out_gradient(reader.layer)[reader.pos]
        else:
            given[0, reader.pos] = self.attribution.mlp_out_gradient(reader.layer)[reader.pos]
        return self._through(out, given[0], inside, sites)

    def _through(
        self, out: Tensor, given: Tensor, inside: Tensor, sites: list[BiasSite]
    ) -> tuple[Tensor, dict[str, float]]:
        """`given` [n_pos, width] at `out` pulled back to `inside`, and what the biases on the way add."""
        found = gradients([out], [given[None]], [inside, *(site.output for site in sites)])
        biases: dict[str, float] = {}
        for site, gradient in zip(sites, found[1:], strict=True):
            biases = _added(biases, {site.name: float(bias_terms(site, gradient).sum())})
        return found[0][0], biases

    def _key_pos(self, reader: Node, key_pos: int | None) -> int:
        if reader.kind != "head":
            raise AttributionError(f"{reader.node_id} has no query and key: only heads have")
        weights = self.run.layers[reader.layer].attention.pattern[0, reader.index, reader.pos, : reader.pos + 1]
        if key_pos is None:
            return int(weights.argmax())
        if not 0 <= key_pos <= reader.pos:
            raise AttributionError(f"{reader.node_id} cannot see token {key_pos}: it sees 0 to {reader.pos}")
        return key_pos

    def _pull_score(self, reader: Node, key_pos: int, part: Part) -> Pull:
        layer = self.run.layers[reader.layer]
        attention = layer.attention
        group = reader.index // (self._shape.n_heads // attention.key.shape[1])
        query, key = attention.query[0, reader.index, reader.pos], attention.key[0, group, key_pos]
        value = float((query * key).sum().detach()) * attention.scaling
        if part == "query":
            out, given = attention.query, torch.zeros_like(attention.query)
            given[0, reader.index, reader.pos] = key.detach() * attention.scaling
        else:
            out, given = attention.key, torch.zeros_like(attention.key)
            given[0, group, key_pos] = query.detach() * attention.scaling
        gradient, biases = self._through(out, given[0], layer.attn_in, layer.biases["attn_read"])
        pos = reader.pos if part == "query" else key_pos
        return Pull(
            value=value,
            gradient=StreamGradient.of(gradient, pos),
            pos=pos,
            n_attn=reader.layer,
            n_mlp=reader.layer,
            biases=biases,
        )

    # ------------------------------------------------------------------ what a writer feeds

    def _written(self, writer: Node) -> tuple[Tensor, Tensor, int, int]:
        """What it writes, the metric's gradient there (both [d_model]), the first attention and MLP after it."""
        layer, pos, attribution = writer.layer, writer.pos, self.attribution
        written = self.writers.written(writer)
        if writer.kind in ("head", "attn", "attn_bias"):
            first_mlp = layer + 1 if self.run.layers[layer].is_parallel else layer
            return written, attribution.attn_out_gradient(layer)[pos], layer + 1, first_mlp
        if writer.kind in ("neuron", "mlp"):
            return written, attribution.mlp_out_gradient(layer)[pos], layer + 1, layer + 1
        return written, attribution.stream_gradient[pos], 0, 0

    def _read(self, what: str, layer: int) -> Tensor:
        """[n_pos, d_model]: the metric's gradient at the stream through one layer's MLP alone."""
        if (what, layer) not in self._reads:
            tensors = self.run.layers[layer]
            given = self.attribution.neuron_gradient(layer)[None]
            self._reads[what, layer] = gradients([tensors.neurons], [given], [tensors.mlp_in])[0][0]
        return self._reads[what, layer]

    def _fed_heads(self, layer: int, written: Tensor, pos: int) -> Tensor:
        """[n_pos, n_heads]: `written` at `pos` through each head's value to each later token, in logits."""
        tensors = self.run.layers[layer]
        attention = tensors.attention
        values = _push_forward(attention.value, tensors.attn_in, written, pos)[0, :, pos]
        per_head = values.repeat_interleave(self._shape.n_heads // values.shape[0], dim=0)
        moved = attention.pattern[0, :, :, pos].T[..., None] * per_head
        mixed = linear_part(self.run.edits.at("z", layer), moved.flatten(1)[None])[0]
        return by_head(mixed * self.attribution.z_gradient(layer), self._shape.n_heads).sum(-1).cpu()

    def _fed_neurons(self, layer: int, written: Tensor, pos: int) -> Tensor:
        """[1, d_mlp]: `written` at `pos` through each neuron of one layer, in logits."""
        tensors = self.run.layers[layer]
        moved = _push_forward(tensors.neurons, tensors.mlp_in, written, pos)[0, pos]
        return (moved * self.attribution.neuron_gradient(layer)[pos])[None]


def _push_forward(out: Tensor, inside: Tensor, written: Tensor, pos: int) -> Tensor:
    """What adding `written` [d_model] at `pos` of `inside` adds to `out`, of its shape.

    The gradient of a linear map's gradient with respect to what it was given is the map itself.
    """
    with torch.enable_grad():
        given = torch.zeros_like(out).requires_grad_()
        pulled = torch.autograd.grad(out, inside, grad_outputs=given, create_graph=True, retain_graph=True)[0]
        delta = torch.zeros_like(inside)
        delta[0, pos] = written
        return torch.autograd.grad(pulled, given, grad_outputs=delta)[0]


def _added(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in [*first, *(set(second) - set(first))]}
