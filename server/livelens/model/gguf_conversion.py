"""GGUF to a folder of safetensors, once: reading a GGUF takes 20 s, reading the folder one."""

from __future__ import annotations

from pathlib import Path

from livelens.model.source_errors import ModelSourceError


def check_gguf(path: Path) -> None:
    """Raise ModelSourceError unless `path` is a GGUF whose tensors lie inside the file."""
    from gguf import GGUFReader  # numpy only, but not needed for other sources

    try:
        size = path.stat().st_size
        if size < 32 or path.open("rb").read(4) != b"GGUF":
            raise ModelSourceError(f"{path.name} is not a GGUF file, or it is cut short: fetch it again")
        for tensor in GGUFReader(str(path)).tensors:
            if int(tensor.data_offset) + int(tensor.n_bytes) > size:
                raise ModelSourceError(f"{path.name} is cut short at tensor {tensor.name}: fetch it again")
    except ModelSourceError:
        raise
    except Exception as error:  # a hostile header can fail anywhere in the reader
        raise ModelSourceError(f"{path.name} cannot be read as GGUF: {error}") from error


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the model of `gguf`, in float32, and its tokenizer to `folder` as safetensors.

    Raises ModelSourceError when transformers cannot read it.
    """
    check_gguf(gguf)
    import torch  # the command line imports this module and must start without torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    except Exception as error:
        raise ModelSourceError(f"transformers cannot read {gguf.name}: {error}") from error
    # The weights are dequantised now; what says otherwise would make the next load fail.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
