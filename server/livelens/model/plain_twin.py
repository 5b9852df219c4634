"""A plain Hugging Face model over the parameters of a TransformerBridge that somebody already has."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from livelens.model.assembly import assemble_engine
from livelens.model.source_errors import ModelSourceError
from livelens.model.torch_engine import TorchEngine

if TYPE_CHECKING:
    from livelens.model.bridge import TransformerBridge

# how a bridge names what it has wrapped, inside the module tree that it was given
_WRAPPED: Final = "._original_component"


def engine_of_bridge(bridge: TransformerBridge) -> TorchEngine:
    """An engine on the bridge's own parameters; raises ModelSourceError when they no longer are the plain model's."""
    from livelens.model.bridge import TransformerBridge  # slow to import, and there already where it is given

    if not isinstance(bridge, TransformerBridge):
        raise ModelSourceError(
            f"{type(bridge).__name__} is no TransformerBridge: give one (TransformerBridge.boot_transformers), "
            "or the name or folder of a model"
        )
    if bridge._weights_processed:  # folded, centred: other numbers under the plain model's names
        raise ModelSourceError("the bridge's weights were processed: make it without compatibility mode")
    devices = sorted({str(parameter.device) for parameter in bridge.original_model.parameters()})
    if len(devices) != 1 or devices == ["meta"]:
        raise ModelSourceError(
            f"the bridge's weights are on {' and '.join(devices)}: livelens watches a model on one device, "
            "so move it first (bridge.to(device))"
        )
    twin = plain_twin(bridge)
    tokenizer = bridge.tokenizer
    if tokenizer is None:
        raise ModelSourceError("the bridge has no tokenizer: livelens needs one to read a prompt")
    name = str(getattr(bridge.cfg, "model_name", "") or type(twin).__name__)
    # Moving weights would leave the bridge with a copy of its own.
    return assemble_engine(twin, tokenizer, model_name=name, weights_sha256="", may_move_weights=False)


def plain_twin(bridge: TransformerBridge) -> PreTrainedModel:
    """The unwrapped model: modules of its own, parameters and buffers that lie where the bridge's lie."""
    wrapped = bridge.original_model
    if not isinstance(wrapped, PreTrainedModel):
        raise ModelSourceError(f"{type(wrapped).__name__} is no Hugging Face model: livelens cannot watch it")
    config = copy.deepcopy(wrapped.config)
    with torch.device("meta"):
        twin = type(wrapped)(config)
    tensors: dict[str, Tensor] = {}
    for name, tensor in (*wrapped.named_parameters(remove_duplicate=False), *wrapped.named_buffers()):
        tensors.setdefault(name.replace(_WRAPPED, ""), tensor)
    for name, old in (*twin.named_parameters(remove_duplicate=False), *twin.named_buffers()):
        found = tensors.get(name)
        if found is None or found.shape != old.shape:
            raise ModelSourceError(f"the bridge holds no plain {name}: load it without processing its weights")
        _put(twin, name, found)
    twin.set_attn_implementation("eager")
    return twin.eval()


def _put(model: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    if leaf in owner._parameters:
        setattr(owner, leaf, nn.Parameter(tensor.detach(), requires_grad=False))
    else:
        owner._buffers[leaf] = tensor
