"""From a model's name to an engine that can be watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from livelens.model.engine import Engine
from livelens.model.source_errors import ModelSourceError
from livelens.model.sources import ModelSource, resolve_source

if TYPE_CHECKING:
    import torch

    from livelens.model.torch_engine import TorchEngine

Device = Literal["auto", "cpu", "cuda", "mps"]
DTypeName = Literal["auto", "float32", "bfloat16", "float16"]


def load_engine(
    name: str,
    *,
    device: Device = "auto",
    dtype: DTypeName = "auto",
    n_threads: int | None = None,
    trust_remote_code: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Engine:
    """The engine of the model called `name`.

    name: `smollm2` (the shipped model), `fake` or `fake:LAYERSxHEADSxDMLP`, a folder, a GGUF file, or a
    name on the model hub. dtype auto: float32 on a CPU, else the model's own. n_threads: of torch on a
    CPU at most, default all processors. Raises ModelSourceError.
    """
    if name.startswith(("fake:", "fake@")) or name == "fake":
        from livelens.model.fake.engine import fake_engine  # no torch on this way

        return fake_engine(name)
    source = resolve_source(name, progress=progress, trust_remote_code=trust_remote_code)
    if progress is not None:
        progress(f"loading {source.model_name}")
    if n_threads is not None:
        import torch

        torch.set_num_threads(n_threads)
    return load_torch_engine(source, device=device, dtype=dtype, trust_remote_code=trust_remote_code)


def load_torch_engine(
    source: ModelSource, *, device: Device = "auto", dtype: DTypeName = "auto", trust_remote_code: bool = False
) -> TorchEngine:
    """The engine of a model on this machine; raises ModelSourceError when it cannot be loaded or watched."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # slow to import

    from livelens.model.assembly import assemble_engine

    place = _device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(source.folder), local_files_only=True, trust_remote_code=trust_remote_code
        )
        model, report = AutoModelForCausalLM.from_pretrained(
            str(source.folder),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            attn_implementation="eager",  # the only one that has the pattern it used
            dtype=_dtype(dtype, place),
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelSourceError(f"transformers cannot load {source.model_name}: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelSourceError(f"{source.model_name} is half there: {len(missing)} weights are missing ({missing[0]})")
    model.eval().requires_grad_(False).to(place)
    return assemble_engine(model, tokenizer, model_name=source.model_name, weights_sha256=source.weights_sha256)


def _device(wanted: Device) -> torch.device:
    import torch  # the command line imports this module and must start without torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, here in available.items() if here))
    if not available[wanted]:
        raise ModelSourceError(f"there is no {wanted} device here: use --device cpu or --device auto")
    return torch.device(wanted)


def _dtype(wanted: DTypeName, place: torch.device) -> torch.dtype | str:
    import torch  # as above

    if wanted == "auto":
        return torch.float32 if place.type == "cpu" else "auto"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[wanted]
