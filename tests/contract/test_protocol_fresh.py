"""The generated files are what the messages say."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import msgspec

from livelens import protocol
from livelens.protocol import messages as m

ROOT = Path(__file__).parents[2]
# Every module of messages: not the words they are written in, nor what only packs them.
MODULES = tuple(
    import_module(f"livelens.protocol.{found.name}")
    for found in iter_modules(protocol.__path__)
    if found.name not in ("codec", "messages", "vocabulary")
)


def test_schema_and_typescript_are_fresh() -> None:
    """The failing output names the command to run."""
    script = ROOT / "scripts" / "generate_protocol.py"
    result = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_every_tensor_belongs_to_exactly_one_channel() -> None:
    """Subscription and coalescing rely on it."""
    listed = [name for names in m.CHANNEL_TENSORS.values() for name in names]
    assert sorted(listed) == sorted(m.StepTensors.__struct_fields__)
    assert tuple(m.CHANNEL_TENSORS) == m.CHANNELS


def test_no_command_names_a_model_a_path_or_a_url() -> None:
    """What is loaded is decided on the command line, never over the wire."""
    fields = {name for command in m.Command.__args__ for name in command.__struct_fields__}
    assert not {name for name in fields if any(word in name for word in ("model", "path", "url", "file", "host"))}


def test_every_message_is_in_its_union_and_named_by_messages() -> None:
    """A class that is written but not listed would be refused on the wire, and missing from TypeScript."""
    listed: set[object] = set()
    for module in MODULES:
        structs = {
            name: item
            for name, item in vars(module).items()
            if isinstance(item, msgspec.StructMeta)
            and item.__module__ == module.__name__
            and item.__name__ == name  # another name for a message is none
            and name[0] != "_"
            and not item.__subclasses__()  # a base is no message
        }
        assert set(structs) <= set(m.__all__), module.__name__
        listed |= {item for item in structs.values() if item.__struct_config__.tag is not None}
    assert listed == {*m.Command.__args__, *m.Event.__args__}
