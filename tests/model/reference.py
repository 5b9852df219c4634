"""The other way to the same numbers: plain Hugging Face, own hooks, one full forward, no cache.

Nothing here imports livelens or TransformerLens. A `Reference` runs the whole sequence at once; an
edit names the positions it holds at, and everything else of the network is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

# model_type: where its parts are (layers, attention, W_O, mlp, W_out, final norm, norms after attn and mlp)
_PLACES = {
    "llama": ("model.layers", "self_attn", "o_proj", "mlp", "down_proj", "model.norm", None, None),
    "qwen2": ("model.layers", "self_attn", "o_proj", "mlp", "down_proj", "model.norm", None, None),
    "qwen3": ("model.layers", "self_attn", "o_proj", "mlp", "down_proj", "model.norm", None, None),
    "gpt2": ("transformer.h", "attn", "c_proj", "mlp", "c_proj", "transformer.ln_f", None, None),
    "gpt_neox": (
        "gpt_neox.layers",
        "attention",
        "dense",
        "mlp",
        "dense_4h_to_h",
        "gpt_neox.final_layer_norm",
        None,
        None,
    ),
    "gemma2": (
        "model.layers",
        "self_attn",
        "o_proj",
        "mlp",
        "down_proj",
        "model.norm",
        "post_attention_layernorm",
        "post_feedforward_layernorm",
    ),
}


LENS_BLOCK = 8  # positions whose lens is computed at once: the unembedding is read once for all of them


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Factors that hold at positions `start <= pos < stop`."""

    start: int
    stop: int
    heads: dict[tuple[int, int], float] = field(default_factory=dict)
    neurons: dict[tuple[int, int], float] = field(default_factory=dict)
    attn: dict[int, float] = field(default_factory=dict)
    mlp: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Full:
    """Everything of one full forward. [layer][position, ...] or [layer][head, query, key] tensors."""

    logits: Tensor
    z: list[Tensor]
    neurons: list[Tensor]
    pattern: list[Tensor]
    resid: list[Tensor]
    attn_out: list[Tensor]
    mlp_out: list[Tensor]
    attn_raw: list[Tensor]
    mlp_raw: list[Tensor]
    lens_blocks: dict[int, Tensor] = field(default_factory=dict)  # by block of positions, the last one that was read


class Reference:
    """A plain Hugging Face model with hooks of its own."""

    def __init__(self, folder: Path) -> None:
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            str(folder), local_files_only=True, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        config = self.model.config
        (layers, self._attn, self._w_o, self._mlp, self._w_out, norm, self._post_attn, self._post_mlp) = _PLACES[
            config.model_type
        ]
        self.blocks = list(self.model.get_submodule(layers))
        self.final_norm = self.model.get_submodule(norm)
        self.n_heads = config.num_attention_heads
        self.soft_cap = getattr(config, "final_logit_softcapping", None)
        self.is_gemma = config.model_type == "gemma2"
        self.unembed_mean = self.model.lm_head.weight.detach().mean(0, dtype=torch.float64).float()

    # ------------------------------------------------------------------ the forward

    @torch.no_grad()
    def run(self, ids: Sequence[int], edits: Sequence[Edit] = ()) -> Full:
        """One full forward over `ids` under `edits`."""
        n_layers, kept, handles = len(self.blocks), {}, []
        for layer, block in enumerate(self.blocks):
            handles += self._hook_layer(layer, block, len(ids), edits, kept)
        try:
            out = self.model(torch.tensor([list(ids)]), use_cache=False, output_attentions=True)
        finally:
            for handle in handles:
                handle.remove()

        def each(name: str) -> list[Tensor]:
            return [kept[name, layer] for layer in range(n_layers)]

        return Full(
            logits=out.logits[0],
            z=each("z"),
            neurons=each("neurons"),
            pattern=[pattern[0] for pattern in out.attentions],
            resid=[kept["start", 0], *each("resid")],
            attn_out=each("attn_out"),
            mlp_out=each("mlp_out"),
            attn_raw=each("attn_raw"),
            mlp_raw=each("mlp_raw"),
        )

    def greedy(self, prompt: Sequence[int], n_new: int) -> list[int]:
        """The tokens of Hugging Face's own greedy `generate`, prompt included, end of text ignored."""
        out = self.model.generate(
            torch.tensor([list(prompt)]), do_sample=False, min_new_tokens=n_new, max_new_tokens=n_new, eos_token_id=-1
        )
        return [int(token_id) for token_id in out[0]]

    def _hook_layer(
        self, layer: int, block: nn.Module, n: int, edits: Sequence[Edit], kept: dict[tuple[str, int], Tensor]
    ) -> list[torch.utils.hooks.RemovableHandle]:
        attention, mlp = getattr(block, self._attn), getattr(block, self._mlp)
        w_o, w_out = getattr(attention, self._w_o), getattr(mlp, self._w_out)
        factors = self._factors(layer, n, w_o, w_out, edits)

        def before(name: str, factor: Tensor | None) -> Callable[..., tuple[Tensor, ...] | None]:
            def hook(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
                value = args[0] if factor is None else args[0] * factor
                kept[name, layer] = value[0].clone()
                return None if factor is None else (value, *args[1:])

            return hook

        def after(name: str, factor: Tensor | None) -> Callable[..., object]:
            def hook(module: nn.Module, args: object, output: object) -> object:
                first = output[0] if isinstance(output, tuple) else output
                value = first if factor is None else first * factor
                kept[name, layer] = value[0].clone()
                if factor is None:
                    return None
                return (value, *output[1:]) if isinstance(output, tuple) else value

            return hook

        handles = [
            w_o.register_forward_pre_hook(before("z", factors["z"])),
            w_out.register_forward_pre_hook(before("neurons", factors["neurons"])),
            attention.register_forward_hook(after("attn_raw", None)),
            mlp.register_forward_hook(after("mlp_raw", None)),
            (getattr(block, self._post_attn) if self._post_attn else attention).register_forward_hook(
                after("attn_out", factors["attn"])
            ),
            (getattr(block, self._post_mlp) if self._post_mlp else mlp).register_forward_hook(
                after("mlp_out", factors["mlp"])
            ),
            block.register_forward_hook(after("resid", None)),
        ]
        if layer == 0:
            handles.append(block.register_forward_pre_hook(before("start", None)))
        return handles

    def _factors(
        self, layer: int, n: int, w_o: nn.Module, w_out: nn.Module, edits: Sequence[Edit]
    ) -> dict[str, Tensor | None]:
        """Factors [position, width] of this layer's four sites, none where nothing is edited."""
        width = self.w_in_out(w_o).shape[0]
        d_head = width // self.n_heads
        z, neurons = torch.ones(n, width), torch.ones(n, self.w_in_out(w_out).shape[0])
        attn, mlp = torch.ones(n, 1), torch.ones(n, 1)
        for edit in edits:
            span = slice(edit.start, edit.stop)
            for (at, head), factor in edit.heads.items():
                if at == layer:
                    z[span, head * d_head : (head + 1) * d_head] *= factor
            for (at, neuron), factor in edit.neurons.items():
                if at == layer:
                    neurons[span, neuron] *= factor
            attn[span] *= edit.attn.get(layer, 1.0)
            mlp[span] *= edit.mlp.get(layer, 1.0)
        named = {"z": z, "neurons": neurons, "attn": attn, "mlp": mlp}
        return {name: None if bool((factor == 1).all()) else factor for name, factor in named.items()}

    # ------------------------------------------------------------------ what is read off it

    @staticmethod
    def w_in_out(module: nn.Module) -> Tensor:
        """A linear module's weight, [in, out]."""
        return module.weight if type(module).__name__ == "Conv1D" else module.weight.T

    @torch.no_grad()
    def head_writes(self, full: Full, position: int) -> Tensor:
        """[layer, head, d_model]: z @ W_O of each head."""
        writes = []
        for block, z in zip(self.blocks, full.z, strict=True):
            weight = self.w_in_out(getattr(getattr(block, self._attn), self._w_o))
            per_head = weight.reshape(self.n_heads, -1, weight.shape[-1])
            writes.append(torch.einsum("hd,hdm->hm", z[position].view(self.n_heads, -1), per_head))
        return torch.stack(writes)

    @torch.no_grad()
    def lens_logits(self, full: Full, position: int) -> Tensor:
        """[layer, d_vocab]: each layer's stream through the final norm and unembedding, cap included."""
        if position // LENS_BLOCK not in full.lens_blocks:
            span = slice(position - position % LENS_BLOCK, position - position % LENS_BLOCK + LENS_BLOCK)
            rows = self.final_norm(torch.stack([stream[span] for stream in full.resid[1:]], dim=1))
            logits = self.model.lm_head(rows)
            if self.soft_cap is not None:
                logits = torch.tanh(logits / self.soft_cap) * self.soft_cap
            full.lens_blocks.clear()  # a block of the shipped model's is 47 MB
            full.lens_blocks[position // LENS_BLOCK] = logits
        return full.lens_blocks[position // LENS_BLOCK][position % LENS_BLOCK]

    def _norm_linear(self, norm: nn.Module, stream: Tensor, vectors: Tensor) -> Tensor:
        """`vectors` through `norm` with its scale frozen at `stream`, bias left out."""
        gain = norm.weight + (1.0 if self.is_gemma else 0.0)
        if isinstance(norm, nn.LayerNorm):
            stream, vectors = stream - stream.mean(), vectors - vectors.mean(-1, keepdim=True)
        eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        return vectors * gain / torch.sqrt(stream.square().mean() + eps)

    @torch.no_grad()
    def direct(
        self, full: Full, position: int, target: int, distractor: int | None, edits: Sequence[Edit] = ()
    ) -> dict[str, Tensor]:
        """Direct contributions, term by term: heads, neurons, mlps, embed."""
        unembed = self.model.lm_head.weight
        away = self.unembed_mean if distractor is None else unembed[distractor]
        along = unembed[target] - away
        end = full.resid[-1][position]
        heads, neurons, mlps = [], [], []
        writes = self.head_writes(full, position)
        for layer, block in enumerate(self.blocks):
            live = [edit for edit in edits if edit.start <= position < edit.stop]
            attn_factor = float(torch.tensor([edit.attn.get(layer, 1.0) for edit in live]).prod()) if live else 1.0
            mlp_factor = float(torch.tensor([edit.mlp.get(layer, 1.0) for edit in live]).prod()) if live else 1.0
            written = writes[layer] * attn_factor
            w_out = self.w_in_out(getattr(getattr(block, self._mlp), self._w_out))
            rows = full.neurons[layer][position][:, None] * w_out * mlp_factor
            if self._post_attn:
                written = self._norm_linear(getattr(block, self._post_attn), full.attn_raw[layer][position], written)
                rows = self._norm_linear(getattr(block, self._post_mlp), full.mlp_raw[layer][position], rows)
            heads.append(self._norm_linear(self.final_norm, end, written) @ along)
            neurons.append(self._norm_linear(self.final_norm, end, rows) @ along)
            mlps.append(self._norm_linear(self.final_norm, end, full.mlp_out[layer][position][None])[0] @ along)
        embed = self._norm_linear(self.final_norm, end, full.resid[0][position][None])[0] @ along
        return {
            "heads": torch.stack(heads),
            "neurons": torch.stack(neurons),
            "mlps": torch.stack(mlps),
            "embed": embed,
        }

    @torch.no_grad()
    def metric(self, full: Full, position: int, target: int, distractor: int | None) -> float:
        """logit(target) - logit(distractor), or the mean of all logits; before any soft cap."""
        logits = full.logits[position].double()
        if self.soft_cap is not None:
            logits = self.model.lm_head(self.final_norm(full.resid[-1][position])).double()
        return float(logits[target] - (logits.mean() if distractor is None else logits[distractor]))
