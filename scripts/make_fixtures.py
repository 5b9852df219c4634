"""Write the golden frames in `shared_schema/fixtures`: what both sides must decode to the same bytes.

They are made once per protocol version and kept: a test that decodes old frames is what shows that a
new minor version still reads them. `manifest.json` says what each frame holds.
"""

from __future__ import annotations

import json

import msgspec
import numpy as np

from fixture_answers import rank_one_edit, write_answers, write_comparison
from fixture_frames import D_MLP, FIXTURES, N_HEADS, N_LAYERS, Arrays, Writer, tensors_of
from livelens.protocol import codec, tensors
from livelens.protocol import messages as m


def step_arrays(rng: np.random.Generator, pos: int, previous: Arrays | None) -> Arrays:
    """Arrays of one position; neurons differ little from the step before, so that they go out sparse."""
    neurons, scale = tensors.compand_int8(rng.standard_normal((N_LAYERS, D_MLP)).astype(np.float32) ** 3)
    if previous is not None:
        kept = previous["neurons"].copy()
        kept.reshape(-1)[rng.integers(0, kept.size, 4)] = rng.integers(-127, 128, 4)
        neurons = kept
    heads = rng.random((N_LAYERS, N_HEADS)).astype(np.float32)
    heads[0, 0] = (np.nan, -0.0, 6e-8, 65504.0)[pos % 4]  # float16's corners
    pattern = rng.dirichlet(np.ones(pos + 1), (N_LAYERS, N_HEADS)).astype(np.float32)
    return {
        "neurons": neurons,
        "neurons_scale": scale,
        "heads": tensors.to_float16(heads),
        **tensors.quantise_attention(pattern),
        "residual": tensors.to_float16(rng.random(N_LAYERS + 1).astype(np.float32) * 1e5 if pos == 2 else heads[:, 1]),
        "lens_token_id": rng.integers(0, 49152, N_LAYERS).astype(np.int32),
        "direct_heads": rng.standard_normal((N_LAYERS, N_HEADS)).astype(np.float32),
        "direct_neuron_layer": np.array([2, 0], np.uint16),
        "direct_neuron_index": np.array([40, 7], np.uint32),
    }


def step_event(seq: int, base_seq: int, pos: int, arrays: Arrays, base: Arrays | None, text: str = " Mary") -> m.Step:
    """The step with its tensors encoded against `base`."""
    encoded = {name: tensors.encode_tensor(array, (base or {}).get(name)) for name, array in arrays.items()}
    return m.Step(
        run_id="fixture-run",
        seq=seq,
        base_seq=base_seq,
        pos=pos,
        token_id=1000 + pos,
        text=text,
        chosen_id=1001 + pos,
        chosen_text=text,
        text_delta=text,
        generated=pos > 1,
        top_tokens=[m.TopToken(1001 + pos, text, 0.5), m.TopToken(7, "<b>é漢</b>", 0.25)],
        logprob=-0.6931471805599453,
        entropy=1.25,
        revision=0,
        server_ns=123_456_789_012_345,
        tensors=m.StepTensors(**encoded),
        lens_texts=["a", "\ufffd", ""],
    )


def write_chain(out: Writer, rng: np.random.Generator) -> m.Step:
    """A keyframe, differences, a step that a viewer misses, and the keyframe that heals the gap."""
    previous: Arrays | None = None
    newest: m.Step | None = None
    for seq in range(6):
        arrays = step_arrays(rng, seq, previous)
        is_keyframe = seq in (0, 4)
        newest = step_event(
            seq,
            -1 if is_keyframe else seq - 1,
            seq,
            arrays,
            None if is_keyframe else previous,
            text=" Mary" * (1 + 40 * (seq % 2)),
        )  # different lengths move every byte offset
        if seq == 3:  # never written: the viewer's gap
            previous = arrays
            continue
        out.frame("steps", f"step_{seq}", newest, arrays)
        previous = arrays
    assert newest is not None
    return newest


def write_long_row(out: Writer, rng: np.random.Generator) -> None:
    """Above 512 keys a row is its strongest 64 and the rest."""
    pattern = rng.dirichlet(np.full(700, 0.05), (N_LAYERS, N_HEADS)).astype(np.float32)
    arrays = dict(tensors.quantise_attention(pattern))
    out.frame("long_row", "step_long_row", step_event(0, -1, 699, arrays, None), arrays)


def write_twin(out: Writer) -> None:
    """A step with its clean twin, which prefers another token, and the difference of every channel."""
    values = np.linspace(-1.5, 2.25, N_LAYERS * D_MLP, dtype=np.float32).reshape(N_LAYERS, D_MLP)
    codes, scale = tensors.compand_int8(values)
    rows = np.linspace(-0.5, 0.5, N_LAYERS * N_HEADS * 8, dtype=np.float32).reshape(N_LAYERS, N_HEADS, 8)
    norms = np.linspace(-3, 3, N_LAYERS * N_HEADS, dtype=np.float32).reshape(N_LAYERS, N_HEADS)
    arrays: Arrays = {
        "difference_neurons": codes,
        "difference_neurons_scale": scale,
        "difference_heads": norms,
        "difference_attention": rows.astype(np.float16),
        "difference_residual": values[0, : N_LAYERS + 1],
        "difference_attn_out": values[1, :N_LAYERS],
        "difference_mlp_out": values[2, :N_LAYERS],
        "difference_direct_heads": norms / 2,
        "difference_direct_mlps": values[0, :N_LAYERS],
    }
    twin = m.TwinStep(
        token_id=1007,
        text=" Mary",
        chosen_id=1008,
        chosen_text=" Mary",
        prefers_id=7,
        prefers_text="<b>é漢</b>",
        logprob=-2.5,
        kl=0.75,
        entropy=1.5,
        top_tokens=[m.TopToken(7, "<b>é漢</b>", 0.5), m.TopToken(1008, " Mary", 0.125)],
    )
    step = msgspec.structs.replace(step_event(0, -1, 7, arrays, None), twin=twin)
    out.frame("twin", "step_twin", step, arrays)


def model_info() -> m.ModelInfo:
    """A small model that lacks a channel and a question."""
    return m.ModelInfo(
        "tiny",
        "LlamaForCausalLM",
        N_LAYERS,
        N_HEADS,
        1,
        8,
        4,
        D_MLP,
        49152,
        8192,
        "float32",
        "ab" * 32,
        m.Capabilities(
            list(m.CHANNELS),
            ["zero", "scale"],
            ["head", "neuron", "attn", "mlp"],
            [m.MissingCapability("attention", "flash kernel")],
            True,
            [kind for kind in m.ANALYSIS_KINDS if kind != "effects"],
            [m.MissingAnalysis("effects", "its MLPs have no single output matrix")],
        ),
    )


def applied_interventions() -> m.AppliedInterventions:
    """One of each shape: factors, attention, the stream, a reference, an edited matrix."""
    spec = m.InterventionSpec("i1", "scale", [m.Component("head", 1, 1), m.Component("attn", 2)], 0.5)
    turn = m.InterventionSpec(
        "i2",
        "attention_turn",
        [m.Component("head", 1, 1)],
        positions=m.Positions("range", 3, 9),
        attention=m.AttentionEdit([2, 4], [1.0, 2.0], [0]),
    )
    steer = m.InterventionSpec(
        "i3", "add_direction", [], 1.5, direction_id="cd" * 16, unit="stream", stream=[m.StreamPlace(2)]
    )
    mean = m.InterventionSpec("i4", "mean", [m.Component("mlp", 0)], reference=m.Reference("text", ["some words"]))
    edited = m.InterventionSpec("i5", "rank_one_edit", [m.Component("mlp", 1)], 0.75, edit_id="ef" * 16)
    return m.AppliedInterventions(1, 7, "from_now", [spec, turn, steer, mean, edited], "viewer-1")


def snapshot(applied: m.AppliedInterventions) -> m.RunSnapshot:
    """A paused run of two tokens."""
    return m.RunSnapshot(
        run_id="fixture-run",
        prompt="Hi",
        apply_chat_template=False,
        sampling=m.Sampling(),
        n_prompt_tokens=1,
        tokens=[m.TokenInfo(5, "Hi"), m.TokenInfo(6, "!", -0.5)],
        text="!",
        state="paused",
        revision=1,
        intervention_log=[applied],
        last_seq=3,
        n_steps=2,
        author="viewer-1",
    )


def write_events(out: Writer) -> None:
    """Every other event once."""
    applied = applied_interventions()
    run = snapshot(applied)
    component = m.Component("neuron", 2, 40)
    row = tensors.encode_tensor(np.array([0.25, 0.75], np.float32))
    values = tensors.encode_tensor(np.array([[1.5, np.nan]], np.float32))
    for event in (
        m.Hello(m.PROTOCOL_VERSION, "0.1.0", "viewer-1", model_info(), m.Limits(65536, 49152, 256, 10.0)),
        m.RunStarted(1, run),
        m.RunJoined(2, run),
        m.RunStateChanged("fixture-run", "running", 3, "viewer-1"),
        m.InterventionsApplied("fixture-run", applied, 4),
        m.TwinChanged("fixture-run", "teacher_forced", 7, 12, "viewer-1"),
        m.RunRewound("fixture-run", 0, 1, "", 2),
        m.SelectionChanged(m.Component("head", 1, 2), 3, "viewer-1", 13),
        m.RunShared("fixture-run", "viewer-1"),
        m.RunFinished("fixture-run", "context_full", "the context of 8192 tokens is full", 2, "!"),
        m.ValuesReady(5, "fixture-run", [component], [0, 1], values, True),
        m.AttentionReady(6, "fixture-run", 1, 1, 1, row, True),
        m.RankOneEditStored(12, rank_one_edit()),
        m.DirectionStored(11, m.DirectionInfo("ab" * 16, "mine", m.DirectionRecipe("put"), 8, 1.5, None)),
        m.RecordingPart(10, "fixture-run", b"\x89LLR\r\n\x1a\n", 64, 100, 1),
        m.Acknowledged(7),
        m.Pong(8, 123),
        m.ErrorReport("bad_command", "layer 9 does not exist: this model has layers 0 to 2", 9, None),
    ):
        out.frame("events", f"event_{event.__struct_config__.tag}", event, tensors_of(event))


def write_damaged(out: Writer, step: m.Step) -> None:
    """Frames that a decoder must refuse without falling over."""
    good = codec.encode_event(step)
    out.bad("damaged_empty", "no bytes", b"")
    out.bad("damaged_truncated", "cut in the middle", good[: len(good) // 2])
    out.bad("damaged_packing", "unknown packing byte", b"\x07" + good[1:])
    out.bad("damaged_zstd", "zstd body of noise", b"\x01" + bytes(range(64)))
    # A zstd frame whose header declares 2 GiB of content (RFC 8878: descriptor 0xA0, 4-byte content size).
    out.bad("damaged_zstd_bomb", "declares 2 GiB", b"\x01\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x80\x01\x00\x00")
    out.bad("damaged_array_bomb", "declares 2**32-1 elements", b"\x00\xdd\xff\xff\xff\xff")
    out.bad("damaged_type", "a type this version does not know", b"\x00" + msgspec.msgpack.encode({"type": "nonsense"}))
    wrong_sum = msgspec.structs.replace(step.tensors.direct_heads, crc32=1)
    out.bad(
        "damaged_checksum",
        "a tensor whose checksum differs",
        codec.encode_event(msgspec.structs.replace(step, base_seq=-1, tensors=m.StepTensors(direct_heads=wrong_sum))),
    )
    short = msgspec.structs.replace(step.tensors.direct_heads, shape=[9, 9])
    out.bad(
        "damaged_shape",
        "data does not fill its shape",
        codec.encode_event(msgspec.structs.replace(step, base_seq=-1, tensors=m.StepTensors(direct_heads=short))),
    )


def main() -> None:
    """Write every fixture and the manifest."""
    FIXTURES.mkdir(parents=True, exist_ok=True)
    for old in FIXTURES.glob("*.bin"):
        old.unlink()
    out, rng = Writer(), np.random.default_rng(20261121)
    step = write_chain(out, rng)
    write_long_row(out, rng)
    write_events(out)
    write_answers(out)
    write_comparison(out)
    write_twin(out)
    write_damaged(out, step)
    manifest = {"protocol_version": m.PROTOCOL_VERSION, "frames": out.frames, "damaged": out.damaged}
    (FIXTURES / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
