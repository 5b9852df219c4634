"""Write the JSON Schema and the TypeScript types from `server/livelens/protocol/messages.py`.

And copy `shared_schema/picture.json`, how a network is drawn, to the page and to the package.

python scripts/generate_protocol.py           # write
python scripts/generate_protocol.py --check   # exit 1 and say so when a file is stale
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from livelens.protocol import messages, tensors

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "shared_schema" / "protocol.schema.json"
TYPESCRIPT = ROOT / "client" / "src" / "protocol" / "generated.ts"
PICTURE = ROOT / "shared_schema" / "picture.json"
PICTURE_COPIES = (
    ROOT / "client" / "src" / "layout" / "picture.json",
    ROOT / "server" / "livelens" / "notebook" / "picture.json",
)
SOURCE = "server/livelens/protocol/messages.py"
# Values that are sent with fields left out; every other event value is sent whole.
SPARSE_VALUES = {
    "StepTensors",
    "Tensor",
    "ComparedTensors",
    "Positions",
    "Reference",
    "StreamPlace",
    "AttentionEdit",
    "DirectionRecipe",
    "RankOneRecipe",
}
# Fields that a viewer may leave out of a value it sends.
OPTIONAL_FIELDS = {
    "InterventionSpec": {"positions", "reference", "direction_id", "unit", "stream", "attention", "edit_id"},
    "PutDirection": {"recipe", "layer"},
    "StartRun": {"twin"},
    "ForkRun": {"twin"},
    "JoinRun": {"follows"},
}


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of both directions."""
    (command, event), definitions = msgspec.json.schema_components(
        (messages.Command, messages.Event), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Generated from {SOURCE} by scripts/generate_protocol.py; do not edit.",
        "title": "LivelensProtocol",
        "description": f"livelens protocol {messages.PROTOCOL_VERSION}, websocket subprotocol {messages.SUBPROTOCOL}.",
        "type": "object",
        "properties": {"command": {**command, "title": "Command"}, "event": {**event, "title": "Event"}},
        "$defs": dict(sorted(definitions.items())),
    }


def typescript(document: dict[str, Any]) -> str:
    """TypeScript interfaces of the schema, and the constants both sides share."""
    tightened = json.loads(json.dumps(document))
    tightened.pop("$comment")
    tightened["required"] = ["command", "event"]
    for name, definition in tightened["$defs"].items():
        definition.setdefault("additionalProperties", False)
        if name not in SPARSE_VALUES:
            left_out = OPTIONAL_FIELDS.get(name, set())
            definition["required"] = [field for field in definition["properties"] if field not in left_out]
        for prop in definition["properties"].values():
            prop.pop("title", None)
            prop.pop("maxItems", None)  # would become a tuple of that length
            prop.pop("minItems", None)
            if "$ref" in prop:
                prop.pop("default", None)  # a bare reference is also what makes its type be written
            if "$ref" in prop and len(prop) > 1:  # described where it is used: would become a copy, `Tensor1`
                prop["tsType"] = prop.pop("$ref").rpartition("/")[2]
    result = subprocess.run(
        ["node", str(ROOT / "client" / "json_schema_to_ts.mjs")],
        input=json.dumps(tightened),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"json-schema-to-typescript failed (is client/node_modules installed?):\n{result.stderr}")
    constants = {
        "PROTOCOL_VERSION": messages.PROTOCOL_VERSION,
        "SUBPROTOCOL": messages.SUBPROTOCOL,
        "MAX_COMMAND_BYTES": messages.MAX_COMMAND_BYTES,
        "MAX_PROMPT_CHARS": messages.MAX_PROMPT_CHARS,
        "MAX_REQUESTED_POSITIONS": messages.MAX_REQUESTED_POSITIONS,
        "CHANNELS": messages.CHANNELS,
        "MEASURED_CHANNELS": messages.MEASURED_CHANNELS,
        "CHANNEL_TENSORS": messages.CHANNEL_TENSORS,
        "CAUSAL_KINDS": messages.CAUSAL_KINDS,
        "NONFINITE_INT8": tensors.NONFINITE_INT8,
        "FRAME_PLAIN": 0,
        "FRAME_ZSTD": 1,
    }
    lines = [f"export const {name} = {json.dumps(value)} as const;" for name, value in constants.items()]
    header = f"// Generated from {SOURCE} by scripts/generate_protocol.py; do not edit.\n\n"
    return header + result.stdout.strip() + "\n\n" + "\n".join(lines) + "\n"


def main() -> int:
    """Write or check; the exit code."""
    document = schema()
    wanted = {SCHEMA: json.dumps(document, indent=2) + "\n", TYPESCRIPT: typescript(document)}
    wanted |= dict.fromkeys(PICTURE_COPIES, PICTURE.read_text())
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is stale: run `python scripts/generate_protocol.py`", file=sys.stderr)
        return 1 if stale else 0
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
