"""TransformerLens's names of the places where livelens reads and writes the network.

Everything that names a place in a model names it as here; `hf_paths.py` says where the same place is
in the Hugging Face model.
"""

from __future__ import annotations

EMBED = "embed"
FINAL_NORM = "ln_final"
UNEMBED = "unembed"


POSITION_EMBED = "pos_embed"

# What reads inside a layer, and the name of its bias.
READ_BIASES = {
    "ln1": "ln1.b",
    "attn.q": "attn.b_Q",
    "attn.k": "attn.b_K",
    "attn.v": "attn.b_V",
    "attn.qkv": "attn.b_QKV",
    "ln2": "ln2.b",
    "mlp.gate": "mlp.b_gate",
    "mlp.in": "mlp.b_in",
}


def block(layer: int) -> str:
    """Component: one layer; its `hook_out` is resid_post."""
    return f"blocks.{layer}"


def attention(layer: int) -> str:
    """Component: a layer's attention."""
    return f"blocks.{layer}.attn"


def attention_output(layer: int) -> str:
    """Component: the output matrix W_O (and b_O) of a layer's attention."""
    return f"blocks.{layer}.attn.o"


def attention_norm(layer: int) -> str:
    """Component: the norm that a layer's attention reads the stream through."""
    return f"blocks.{layer}.ln1"


def mlp_norm(layer: int) -> str:
    """Component: the norm that a layer's MLP reads the stream through; some families have none of its own."""
    return f"blocks.{layer}.ln2"


def query_norm(layer: int) -> str:
    """Component: the norm of each head's query, where a model has one (Qwen3)."""
    return f"blocks.{layer}.attn.q_norm"


def key_norm(layer: int) -> str:
    """Component: the norm of each head's key, where a model has one (Qwen3)."""
    return f"blocks.{layer}.attn.k_norm"


def mlp(layer: int) -> str:
    """Component: a layer's MLP."""
    return f"blocks.{layer}.mlp"


def mlp_output(layer: int) -> str:
    """Component: the output matrix W_out (and b_out) of a layer's MLP."""
    return f"blocks.{layer}.mlp.out"


def attention_post_norm(layer: int) -> str:
    """Component: the norm between attention and the residual stream, where a model has one (Gemma-2)."""
    return f"blocks.{layer}.ln1_post"


def mlp_post_norm(layer: int) -> str:
    """Component: the norm between MLP and the residual stream, where a model has one (Gemma-2)."""
    return f"blocks.{layer}.ln2_post"


def hook_z(layer: int) -> str:
    """Hook: [batch, pos, n_heads, d_head], the heads' values mixed by their patterns, before W_O."""
    return f"{attention(layer)}.hook_z"


def hook_pattern(layer: int) -> str:
    """Hook: [batch, n_heads, pos, key_pos], attention after the softmax."""
    return f"{attention(layer)}.hook_pattern"


def hook_neurons(layer: int) -> str:
    """Hook: [batch, pos, d_mlp], what multiplies W_out: after activation and gate."""
    return f"{mlp_output(layer)}.hook_in"


def hook_attn_out(layer: int, *, has_post_norm: bool) -> str:
    """Hook: [batch, pos, d_model], what attention writes to the residual stream."""
    return f"{attention_post_norm(layer) if has_post_norm else attention(layer)}.hook_out"


def hook_mlp_out(layer: int, *, has_post_norm: bool) -> str:
    """Hook: [batch, pos, d_model], what the MLP writes to the residual stream."""
    return f"{mlp_post_norm(layer) if has_post_norm else mlp(layer)}.hook_out"


def hook_resid_pre(layer: int) -> str:
    """Hook: [batch, pos, d_model], the residual stream before a layer."""
    return f"{block(layer)}.hook_in"


def hook_resid_post(layer: int) -> str:
    """Hook: [batch, pos, d_model], the residual stream after a layer."""
    return f"{block(layer)}.hook_out"
