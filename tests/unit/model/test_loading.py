"""load_engine's choices that need no model."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from livelens.model.loading import _device, _dtype, load_engine
from livelens.model.source_errors import ModelSourceError


def test_the_fake_engine_needs_no_torch() -> None:
    code = "import sys; from livelens.model.loading import load_engine; e = load_engine('fake:3x2x8');"
    code += "print(e.info.n_layers, e.info.n_heads, e.info.d_mlp, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["3", "2", "8", "False"]


def test_a_device_that_is_not_there_is_refused_with_the_flag_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelSourceError, match="--device cpu"):
        _device("cuda")


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert _device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert _device("auto") == torch.device("cpu")


def test_auto_dtype_is_float32_on_a_cpu_and_the_models_own_elsewhere() -> None:
    assert _dtype("auto", torch.device("cpu")) == torch.float32
    assert _dtype("auto", torch.device("cuda")) == "auto"
    assert _dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_a_model_that_is_not_there_is_one_error(tmp_path: object) -> None:
    with pytest.raises(ModelSourceError, match="does not exist"):
        load_engine(f"{tmp_path}/nowhere")
