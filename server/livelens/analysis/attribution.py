"""Why this token and not that one: the relevance of every component at every token of one run.

In a linearised run (`model/frozen.py`) one backward pass from the metric gives G, the gradient at every
site, and a component's relevance is `output . G`: its direct effect and everything it does through
components after it. The metric is `logit(target) - logit(distractor)` (or above the mean of all logits)
at the run's last position, before any soft cap. For one component at the last position with nothing
after it this is direct logit attribution (Elhage et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from livelens.analysis.nodes import AttributionError, Node
from livelens.analysis.pacing import Pacing
from livelens.model.engine import F32
from livelens.model.freeze_hooks import BiasPlace, BiasSite
from livelens.model.frozen import FrozenModel, FrozenRun

BIAS_PLACES: tuple[BiasPlace, ...] = ("attn_read", "attn_write", "mlp_read", "mlp_write")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeValue:
    """One node and a number of it, in the unit of what it is listed in."""

    node: Node
    value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relevance:
    """Relevance of every component at every token, in logits.

    embed, pos_embed (none where the model has none) and bias [n_pos]: `embed + pos_embed + bias +
    final_bias + error` sums to `metric`; bias is of every bias inside the layers, by token, and
    `biases` the same by name. heads [n_layers, n_pos, n_heads], mlps, attn_bias [n_layers, n_pos]
    overlap with those and with each other: each counts what reaches the metric through it. neurons:
    the strongest, largest first. layer_line [n_layers + 1]: the metric read off the stream before layer
    0 and after each layer, through the final norm with its scale frozen at this position: what each
    layer adds to it is its direct effect. lens_line: the same through the norm's own scale at each
    layer, as the logit lens has it.
    """

    metric: float
    embed: F32
    pos_embed: F32 | None
    bias: F32
    biases: dict[str, float]
    final_bias: float
    error: float
    heads: F32
    mlps: F32
    attn_bias: F32
    neurons: list[NodeValue]
    layer_line: F32
    lens_line: F32


def to_numpy(tensor: Tensor) -> F32:
    """float32 on the CPU."""
    return np.ascontiguousarray(tensor.detach().float().cpu().numpy())


class Attribution:
    """One metric of one linearised run, and the gradients that explain it."""

    def __init__(
        self,
        model: FrozenModel,
        run: FrozenRun,
        *,
        target_id: int,
        distractor_id: int | None,
        pacing: Pacing | None = None,
    ) -> None:
        """Costs one backward pass; pacing: may stop between its layers.

        Raises AttributionError for tokens that are equal or outside the vocabulary.
        """
        self.model = model
        self.run = run
        self.target_id = target_id
        self.distractor_id = distractor_id
        self.direction, self._unembed_bias = model.direction(target_id, distractor_id)
        last = run.normed[0, -1]
        with torch.enable_grad():
            metric = (last.float() * self.direction).sum()
        self.metric = float(metric.detach()) + self._unembed_bias
        # One norm may serve attention and MLP both: its bias is added once.
        every = [site for layer in run.layers for place in BIAS_PLACES for site in layer.biases[place]]
        self._sites = list({id(site.output): site for site in every}.values())
        self._site_gradients: dict[int, Tensor] = {}
        self._by_layer: list[tuple[Tensor, ...]] = []
        self._go_back(metric, pacing or Pacing())

    def _go_back(self, metric: Tensor, pacing: Pacing) -> None:
        """The metric's gradients everywhere, a layer at a time from the last."""
        layers = self.run.layers
        after = layers[-1].resid_post
        given = gradients([metric], [None], [after])[0]
        for index in reversed(range(len(layers))):
            pacing.stop()
            layer = layers[index]
            before = self.run.stream if index == 0 else layers[index - 1].resid_post
            sites = {id(site.output): site for place in BIAS_PLACES for site in layer.biases[place]}
            inside = [layer.z, layer.neurons, layer.attn_out, layer.mlp_out]
            found = gradients([after], [given], [before, *inside, *(site.output for site in sites.values())])
            self._by_layer.insert(0, tuple(gradient[0] for gradient in found[1:5]))
            self._site_gradients |= dict(zip(sites, found[5:], strict=True))
            after, given = before, found[0]
        self.stream_gradient = given[0]

    @property
    def pos(self) -> int:
        """The position whose prediction is explained: the run's last."""
        return self.run.n_positions - 1

    @property
    def final_bias(self) -> float:
        """What the final norm's bias and the unembedding's add to the metric."""
        return float(self.model.final_norm.bias_along(self.direction)) + self._unembed_bias

    def z_gradient(self, layer: int) -> Tensor:
        """[n_pos, n_heads * d_head]."""
        return self._by_layer[layer][0]

    def neuron_gradient(self, layer: int) -> Tensor:
        """[n_pos, d_mlp]."""
        return self._by_layer[layer][1]

    def attn_out_gradient(self, layer: int) -> Tensor:
        """[n_pos, d_model]."""
        return self._by_layer[layer][2]

    def mlp_out_gradient(self, layer: int) -> Tensor:
        """[n_pos, d_model]."""
        return self._by_layer[layer][3]

    def final_gradient(self) -> Tensor:
        """[n_pos, d_model]: the gradient at the stream after the last layer; all but the last row are 0."""
        end = self.run.layers[-1].resid_post.detach()[0].float()
        pulled = torch.zeros_like(end)
        pulled[-1] = self.model.final_norm.pull_back(self.direction, end[-1])
        return pulled

    def head_relevance(self, layer: int) -> Tensor:
        """[n_pos, n_heads]."""
        product = self.run.layers[layer].z.detach()[0] * self.z_gradient(layer)
        return by_head(product, self.run.anatomy.shape.n_heads).sum(-1)

    def relevance(self, *, n_neurons: int = 64) -> Relevance:
        """The relevance of everything; `n_neurons`: how many of the strongest neurons to name."""
        run, layers = self.run, range(len(self.run.layers))
        total = (run.stream.detach()[0] * self.stream_gradient).sum(-1)
        positional = None if run.positional is None else (run.positional * self.stream_gradient).sum(-1)
        by_site = [bias_terms(site, self._site_gradients[id(site.output)]) for site in self._sites]
        bias = sum((terms for terms in by_site), torch.zeros_like(total))
        names: dict[str, float] = {}
        for site, terms in zip(self._sites, by_site, strict=True):
            names[site.name] = names.get(site.name, 0.0) + float(terms.sum())
        known = float(total.double().sum()) + float(bias.double().sum()) + self.final_bias
        layer_line, lens_line = self._lines()
        return Relevance(
            metric=self.metric,
            embed=to_numpy(total if positional is None else total - positional),
            pos_embed=None if positional is None else to_numpy(positional),
            bias=to_numpy(bias),
            biases=names,
            final_bias=self.final_bias,
            error=self.metric - known,
            heads=to_numpy(torch.stack([self.head_relevance(layer) for layer in layers])),
            mlps=to_numpy(
                torch.stack(
                    [(run.layers[layer].mlp_out.detach()[0] * self.mlp_out_gradient(layer)).sum(-1) for layer in layers]
                )
            ),
            attn_bias=to_numpy(self._attn_bias()),
            neurons=self.strongest_neurons(n_neurons),
            layer_line=layer_line,
            lens_line=lens_line,
        )

    def strongest_neurons(self, k: int) -> list[NodeValue]:
        """The k neurons at tokens with the largest relevance by magnitude, largest first."""
        terms = [layer.neurons.detach()[0] * self.neuron_gradient(index) for index, layer in enumerate(self.run.layers)]
        return strongest_neurons(dict(enumerate(terms)), k)

    def _attn_bias(self) -> Tensor:
        """[n_layers, n_pos]: relevance of what each layer's attention writes whatever its heads do."""
        rows = []
        for layer in self.run.layers:
            row = torch.zeros_like(self.stream_gradient[:, 0])
            for site in layer.biases["attn_write"]:
                row = row + bias_terms(site, self._site_gradients[id(site.output)])
            rows.append(row)
        return torch.stack(rows)

    def _lines(self) -> tuple[F32, F32]:
        """The frozen-scale line and the lens line, [n_layers + 1] each."""
        norm, layers = self.model.final_norm, self.run.layers
        stream = torch.stack([self.run.stream, *(layer.resid_post for layer in layers)])[:, 0, -1].detach().float()
        constant = self.final_bias
        frozen = stream @ norm.pull_back(self.direction, stream[-1]) + constant
        lens = norm.apply(stream) @ self.direction + self._unembed_bias
        return to_numpy(frozen), to_numpy(lens)

    def check(self, node: Node) -> None:
        """Raise AttributionError, naming the limit, unless `node` is in this run."""
        shape = self.run.anatomy.shape
        if not 0 <= node.pos <= self.pos:
            raise AttributionError(f"{node.node_id} is outside the run: it has tokens 0 to {self.pos}")
        if node.kind == "logit" and node.pos != self.pos:
            raise AttributionError(f"this attribution is of logit@{self.pos}; ask for token {node.pos}'s own")
        if not 0 <= node.layer < shape.n_layers:
            raise AttributionError(f"{node.node_id} does not exist: this model has layers 0 to {shape.n_layers - 1}")
        size = {"head": shape.n_heads, "neuron": shape.d_mlp}.get(node.kind, 1)
        if not 0 <= node.index < size:
            raise AttributionError(f"{node.node_id} does not exist: each layer has {node.kind}s 0 to {size - 1}")
        if node.kind == "pos_embed" and self.run.positional is None:
            raise AttributionError("this model adds no positional embedding to the stream")


def by_head(tensor: Tensor, n_heads: int) -> Tensor:
    """[n_pos, n_heads * d_head] as [n_pos, n_heads, d_head]."""
    return tensor.reshape(tensor.shape[0], n_heads, -1)


def gradients(
    outputs: list[Tensor], given: Sequence[Tensor | None], inputs: list[Tensor], *, keep_graph: bool = True
) -> list[Tensor]:
    """The gradient of `outputs` at each of `inputs`, float32, zeros where there is no way."""
    given = [None if row is None else row.to(out.dtype) for out, row in zip(outputs, given, strict=True)]
    with torch.enable_grad():
        found = torch.autograd.grad(
            outputs, inputs, grad_outputs=given, retain_graph=keep_graph, materialize_grads=True
        )
    return [gradient.detach().float() for gradient in found]


def bias_terms(site: BiasSite, gradient: Tensor) -> Tensor:
    """[n_pos]: what one bias contributes at each token, of gradient [1, n_pos, ...]."""
    return (gradient * site.bias).flatten(2).sum(-1)[0]


def strongest_neurons(terms: dict[int, Tensor], k: int) -> list[NodeValue]:
    """The k largest magnitudes of terms [n_pos, d_mlp] by layer, largest first; zeros left out."""
    if k <= 0 or not terms:
        return []
    found: list[tuple[float, Node]] = []
    for layer, term in terms.items():
        flat = term.flatten()
        best = flat.abs().topk(min(k, flat.numel())).indices
        for place, value in zip(best.tolist(), flat[best].tolist(), strict=True):
            if value != 0.0:
                pos, index = divmod(place, term.shape[-1])
                found.append((value, Node(kind="neuron", layer=layer, index=index, pos=pos)))
    found.sort(key=lambda pair: -abs(pair[0]))
    return [NodeValue(node=node, value=value) for value, node in found[:k]]
