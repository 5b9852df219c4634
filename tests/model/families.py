"""Tiny random models of every proven family, made so that each one's peculiarities matter."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

N_LAYERS, N_HEADS, D_MLP, D_VOCAB, N_CTX = 3, 4, 40, 600, 128

_COMMON = {
    "hidden_size": 32,
    "intermediate_size": D_MLP,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": N_HEADS,
    "vocab_size": D_VOCAB,
    "max_position_embeddings": N_CTX,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def _config(family: str) -> PretrainedConfig:
    match family:
        case "llama":
            return LlamaConfig(**_COMMON, num_key_value_heads=2, attention_bias=True, mlp_bias=True)
        case "gpt2":
            return GPT2Config(
                n_embd=32, n_inner=D_MLP, n_layer=N_LAYERS, n_head=N_HEADS, vocab_size=D_VOCAB, n_positions=N_CTX,
                bos_token_id=1, eos_token_id=2,
            )  # fmt: skip
        case "gpt_neox":  # attention and MLP side by side
            return GPTNeoXConfig(**_COMMON, use_parallel_residual=True)
        case "gemma2":  # both soft caps biting, a window shorter than the tests' sequences
            return Gemma2Config(
                **_COMMON, num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, sliding_window=7,
                attn_logit_softcapping=2.0, final_logit_softcapping=4.0,
            )  # fmt: skip
        case "qwen2":
            return Qwen2Config(**_COMMON, num_key_value_heads=2)
        case "qwen3":  # heads wider than d_model / n_heads
            return Qwen3Config(**_COMMON, num_key_value_heads=2, head_dim=16)
    raise ValueError(family)


FAMILIES = ("llama", "gpt2", "gpt_neox", "gemma2", "qwen2", "qwen3")


def save_tiny_model(family: str, folder: Path) -> None:
    """Save a random model of `family` whose every parameter matters, norms and biases too."""
    torch.manual_seed(sum(map(ord, family)))
    model = AutoModelForCausalLM.from_config(_config(family), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = parameter.ndim == 1 and "norm" in name.replace("ln_", "norm_") and name.endswith("weight")
            noise = torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.2)
            parameter.copy_(noise + (1.0 if is_gain and family != "gemma2" else 0.0))
    model.save_pretrained(str(folder))
