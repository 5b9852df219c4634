"""What every component writes to the stream, and how much of it a reader reads.

A reader's gradient at the stream is most often of rank one: of an MLP, a neuron or the logit it has one
row, and of a head's value one direction, by how much the head attends to each token. Then every head's
part is its output before W_O along that direction pulled back through W_O once, and no head's output at
every token need be made, kept or read.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from livelens.analysis.attribution import (
    Attribution,
    NodeValue,
    by_head,
    gradients,
    strongest_neurons,
    to_numpy,
)
from livelens.analysis.edge_types import Pull, StreamGradient, WriterEdges
from livelens.analysis.nodes import AttributionError, Node
from livelens.model.anatomy import bias_of, weight_in_out
from livelens.model.edits import Edit

# Above this the heads' outputs are made anew for each question instead of kept.
_KEPT_BYTES = 2**29


class Writers:
    """What was written in one linearised run. Used by the model thread only."""

    def __init__(self, attribution: Attribution) -> None:
        self.run = attribution.run
        self._shape = attribution.run.anatomy.shape
        self._head_writes: dict[int, Tensor] = {}
        self._bias_writes: dict[int, Tensor | None] = {}

    # ------------------------------------------------------------------ along a gradient

    def along(self, pull: Pull, *, n_neurons: int = 0) -> WriterEdges:
        """Edges from everything that wrote before the reader."""
        run, shape, gradient = self.run, self._shape, pull.gradient
        rows = slice(None) if pull.pos is None else slice(pull.pos, pull.pos + 1)
        heads = torch.zeros(shape.n_layers, run.n_positions, shape.n_heads)
        attn_bias = torch.zeros(shape.n_layers, run.n_positions)
        mlps = torch.zeros(shape.n_layers, run.n_positions)
        embed = torch.zeros(run.n_positions)
        for layer in range(pull.n_attn):
            heads[layer, rows] = self._heads_along(layer, gradient, rows).cpu()
            constant = self.bias_write(layer)
            if constant is not None:
                attn_bias[layer, rows] = gradient.dot(constant, rows).cpu()
        for layer in range(pull.n_mlp):
            mlps[layer, rows] = gradient.dot(run.layers[layer].mlp_out.detach()[0], rows).cpu()
        embed[rows] = gradient.dot(run.stream.detach()[0], rows).cpu()
        positional = None
        if run.positional is not None:
            positional = torch.zeros(run.n_positions)
            positional[rows] = gradient.dot(run.positional, rows).cpu()
            embed = embed - positional
        return WriterEdges(
            embed=to_numpy(embed),
            pos_embed=None if positional is None else to_numpy(positional),
            heads=to_numpy(heads),
            attn_bias=to_numpy(attn_bias),
            mlps=to_numpy(mlps),
            neurons=self._neuron_writers(pull, n_neurons),
        )

    def _heads_along(self, layer: int, gradient: StreamGradient, rows: slice) -> Tensor:
        """[rows, n_heads]: each head's output along the gradient."""
        if gradient.amounts is None or not self._is_plain(layer):
            dense = gradient.dense()[rows]
            return torch.einsum("hpm,pm->ph", self.head_writes(layer)[:, rows], dense)
        pulled = weight_in_out(self.run.anatomy.layers[layer].attention_output).float() @ gradient.rows
        z = by_head(self.run.layers[layer].z.detach()[0, rows].float(), self._shape.n_heads)
        found = torch.bmm(z.transpose(0, 1), pulled.view(self._shape.n_heads, -1, 1))
        return found[..., 0].T * gradient.amounts[rows, None]

    def _is_plain(self, layer: int) -> bool:
        """Whether what attention's output matrix gives is what is added to the stream."""
        has_norm = self.run.anatomy.layers[layer].attention_post_norm is not None
        return not has_norm and self.run.edits.at("attn_out", layer) is None

    def _neuron_writers(self, pull: Pull, k: int) -> list[NodeValue]:
        rows = slice(None) if pull.pos is None else slice(pull.pos, pull.pos + 1)
        layers = range(pull.n_mlp if k > 0 else 0)
        found = strongest_neurons({layer: self._neurons_along(layer, pull.gradient, rows) for layer in layers}, k)
        if pull.pos is None:
            return found
        return [replace(entry, node=replace(entry.node, pos=pull.pos)) for entry in found]

    def _neurons_along(self, index: int, gradient: StreamGradient, rows: slice) -> Tensor:
        """[rows, d_mlp]: each neuron's output along the gradient."""
        layer, parts = self.run.layers[index], self.run.anatomy.layers[index]
        neurons = layer.neurons.detach()[0, rows].float()
        is_plain = parts.mlp_post_norm is None and self.run.edits.at("mlp_out", index) is None
        if gradient.amounts is None or parts.mlp_output is None or not is_plain:
            return gradients([layer.mlp_out], [gradient.dense()[None]], [layer.neurons])[0][0, rows] * neurons
        return neurons * (weight_in_out(parts.mlp_output).float() @ gradient.rows) * gradient.amounts[rows, None]

    # ------------------------------------------------------------------ outputs

    def head_writes(self, layer: int) -> Tensor:
        """[n_heads, n_pos, d_model]: what each head adds to the stream, any post norm and edit included."""
        if layer in self._head_writes:
            return self._head_writes[layer]
        parts, tensors = self.run.anatomy.layers[layer], self.run.layers[layer]
        weight = weight_in_out(parts.attention_output).float()
        weight = weight.reshape(self._shape.n_heads, -1, weight.shape[-1])
        z = by_head(tensors.z.detach()[0].float(), self._shape.n_heads)
        written = self._pushed(layer, "attn_out", torch.einsum("phd,hdm->hpm", z, weight))
        if written.numel() * written.itemsize * len(self.run.layers) <= _KEPT_BYTES:
            self._head_writes[layer] = written
        return written

    def bias_write(self, layer: int) -> Tensor | None:
        """[n_pos, d_model]: what a layer's attention adds whatever its heads do; none where nothing."""
        if layer not in self._bias_writes:
            self._bias_writes[layer] = self._bias_write(layer)
        return self._bias_writes[layer]

    def _bias_write(self, layer: int) -> Tensor | None:
        parts = self.run.anatomy.layers[layer]
        bias = bias_of(parts.attention_output)
        post = None if parts.attention_post_norm is None else bias_of(parts.attention_post_norm)
        if bias is None and post is None:
            return None
        like = self.run.layers[layer].attn_out.detach()[0].float()
        written = torch.zeros_like(like)
        if bias is not None:
            written = self._pushed(layer, "attn_out", bias.float().expand_as(like)[None])[0]
        if post is not None:
            written = written + linear_part(self.run.edits.at("attn_out", layer), post.float().expand_as(like)[None])[0]
        return written

    def _pushed(self, layer: int, site: str, terms: Tensor) -> Tensor:
        """Terms [any, n_pos, d_model] of attention's or the MLP's own output, as they arrive in the stream."""
        parts, tensors = self.run.anatomy.layers[layer], self.run.layers[layer]
        is_attn = site == "attn_out"
        norm = parts.attention_post_norm if is_attn else parts.mlp_post_norm
        raw = tensors.attn_raw if is_attn else tensors.mlp_raw
        if norm is not None and raw is not None:
            terms = self.run.anatomy.norm_weights(norm).push(terms, raw.detach()[0].float())
        return linear_part(self.run.edits.at("attn_out" if is_attn else "mlp_out", layer), terms)

    def written(self, writer: Node) -> Tensor:
        """[d_model]: what `writer` adds to the stream at its token."""
        layer, pos = writer.layer, writer.pos
        tensors, positional = self.run.layers[layer], self.run.positional
        found: Tensor | None = None
        match writer.kind:
            case "head":
                found = self.head_writes(layer)[writer.index, pos]
            case "attn":
                found = tensors.attn_out.detach()[0, pos].float()
            case "mlp":
                found = tensors.mlp_out.detach()[0, pos].float()
            case "neuron":
                found = self._neuron_write(writer)
            case "attn_bias":
                constant = self.bias_write(layer)
                found = None if constant is None else constant[pos]
            case "embed":
                stream = self.run.stream.detach()[0, pos].float()
                found = stream if positional is None else stream - positional[pos].float()
            case "pos_embed" if positional is not None:
                found = positional[pos].float()
        if found is None:
            raise AttributionError(f"{writer.node_id} writes nothing to the residual stream of this model")
        return found

    def _neuron_write(self, writer: Node) -> Tensor:
        output = self.run.anatomy.layers[writer.layer].mlp_output
        if output is None:
            raise AttributionError("this model's neurons have no single output matrix")
        row = weight_in_out(output)[writer.index].float()
        terms = torch.zeros_like(self.run.layers[writer.layer].mlp_out.detach().float())
        terms[0, writer.pos] = row * self.run.layers[writer.layer].neurons.detach()[0, writer.pos, writer.index]
        return self._pushed(writer.layer, "mlp_out", terms)[0, writer.pos]


def linear_part(edit: Edit | None, terms: Tensor) -> Tensor:
    """Terms [any, n_pos, width] through the linear part of an edit."""
    return terms if edit is None else edit(terms) - edit(torch.zeros_like(terms))
