"""Engines for the model tests: the shipped model, and tiny random models of every proven family."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.model.families import save_tiny_model
from tests.model.reference import Reference

from livelens.model.loading import load_torch_engine
from livelens.model.sources import ModelSource, resolve_source
from livelens.model.torch_engine import TorchEngine

torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For matrices so small that they would only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shipped_source() -> ModelSource:
    """The shipped model, fetched and converted where this machine does not have it yet."""
    return resolve_source("smollm2", progress=print)


@pytest.fixture(scope="session")
def shipped(engine: TorchEngine) -> TorchEngine:
    """The engine of the shipped model, float32 on the CPU: the one of this process."""
    return engine


@pytest.fixture(scope="session")
def shipped_reference(shipped_source: ModelSource) -> Reference:
    """The shipped model without livelens."""
    return Reference(shipped_source.folder)


@pytest.fixture(scope="session")
def tiny_folder(shipped_source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_folder(family)`: a saved random model of that family, with the shipped tokenizer."""
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in made:
            folder = tmp_path_factory.mktemp(f"tiny_{family}")
            save_tiny_model(family, folder)
            for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
                shutil.copy(shipped_source.folder / name, folder / name)
            made[family] = folder
        return made[family]

    return folder_of


@pytest.fixture(scope="session")
def tiny(tiny_folder: Callable[[str], Path]) -> Callable[[str], TorchEngine]:
    """`tiny(family)`: the engine of a tiny random model."""
    made: dict[str, TorchEngine] = {}

    def engine_of(family: str) -> TorchEngine:
        if family not in made:
            source = ModelSource(model_name=f"tiny-{family}", folder=tiny_folder(family), weights_sha256="0" * 64)
            made[family] = load_torch_engine(source, device="cpu")
        return made[family]

    return engine_of


@pytest.fixture(scope="session")
def tiny_reference(tiny_folder: Callable[[str], Path]) -> Callable[[str], Reference]:
    """`tiny_reference(family)`: the same model without livelens."""
    made: dict[str, Reference] = {}

    def reference_of(family: str) -> Reference:
        if family not in made:
            made[family] = Reference(tiny_folder(family))
        return made[family]

    return reference_of
