"""Write the golden frames in `shared_schema/fixtures`: what both sides must decode to the same bytes.

They are made once per protocol version and kept: a test that decodes old frames is what shows that a
new minor version still reads them. `manifest.json` says what each frame holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livelens.protocol import codec, tensors
from livelens.protocol import messages as m

FIXTURES = Path(__file__).resolve().parent.parent / "shared_schema" / "fixtures"
N_LAYERS, N_HEADS, D_MLP = 3, 2, 41
Arrays = dict[str, Any]


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


class Writer:
    """Collects frames and what they mean."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.damaged: list[dict[str, str]] = []

    def frame(self, chain: str, name: str, event: m.Event, arrays: Arrays | None = None) -> bytes:
        """One good frame; frames of one chain are decoded in order by one decoder."""
        data = codec.encode_event(event)
        (FIXTURES / f"{name}.bin").write_bytes(data)
        plain = msgspec.json.decode(
            msgspec.json.encode(
                msgspec.structs.replace(event, tensors=m.StepTensors())
                if isinstance(event, m.Step)
                else _without_bytes(event)
            )
        )
        expected = {
            key: {
                "dtype": value.dtype.name,
                "shape": list(value.shape),
                "hex": np.ascontiguousarray(value).tobytes().hex(),
            }
            for key, value in (arrays or {}).items()
        }
        self.frames.append({"chain": chain, "file": f"{name}.bin", "event": plain, "tensors": expected})
        return data

    def bad(self, name: str, note: str, data: bytes) -> None:
        """One frame that must be refused with a typed error."""
        (FIXTURES / f"{name}.bin").write_bytes(data)
        self.damaged.append({"file": f"{name}.bin", "note": note})


def _without_bytes(event: m.Event) -> dict[str, Any]:
    built = msgspec.to_builtins(event, builtin_types=(bytes,))
    return {
        name: value
        for name, value in built.items()
        if not isinstance(getattr(event, name, None), m.Tensor | m.ComparedTensors)
    }


def tensors_of(event: m.Event) -> Arrays:
    """The arrays that an answer carries, by field."""
    fields = ((name, getattr(event, name)) for name in event.__struct_fields__)
    return {name: tensors.reconstruct(value) for name, value in fields if isinstance(value, m.Tensor)}


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


def write_events(out: Writer) -> None:
    """Every other event once."""
    info = m.ModelInfo(
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
    applied = m.AppliedInterventions(1, 7, "from_now", [spec, turn, steer, mean, edited], "viewer-1")
    run = m.RunSnapshot(
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
    component = m.Component("neuron", 2, 40)
    row = tensors.encode_tensor(np.array([0.25, 0.75], np.float32))
    values = tensors.encode_tensor(np.array([[1.5, np.nan]], np.float32))
    for event in (
        m.Hello(m.PROTOCOL_VERSION, "0.1.0", "viewer-1", info, m.Limits(65536, 49152, 256, 10.0)),
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


def rank_one_edit() -> m.RankOneEditInfo:
    """One of a head's rows, with every field of its recipe that has no default."""
    recipe = m.RankOneRecipe("rome", "ov", 1, 0, "Hi Mary é漢", key_pos=1, wanted=" Mary", prefixes=["So."])
    return m.RankOneEditInfo("ef" * 16, "Mary → Mary (L1 W_O of H0)", recipe, D_MLP, 8, 0.5, 2.5)


def write_comparison(out: Writer) -> None:
    """The one answer whose tensors lie a level deeper: `other` has attention rows, the difference has none."""

    def floats(*shape: int) -> m.Tensor:
        values = np.linspace(-1.5, 2.25, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        return tensors.encode_tensor(values)

    ids = tensors.encode_tensor(np.array([5, 1001, 7], np.int32))
    event = m.ComparisonReady(
        request_id=11,
        run_id="fixture-run",
        pos=1,
        without_interventions=False,
        other_tokens=["Hi", " Mary"],
        differing=[1],
        first_difference=1,
        target_id=1001,
        target_text=" Mary",
        distractor_id=None,
        distractor_text=None,
        other_top_tokens=[m.TopToken(7, "<b>é漢</b>", 0.25)],
        other_logprob=-1.5,
        other_entropy=1.25,
        logprob=-0.5,
        other_lens_texts=["a", " Mary", ""],
        other=m.ComparedTensors(
            neurons=floats(N_LAYERS, D_MLP), attention=floats(N_LAYERS, N_HEADS, 2), lens_token_id=ids
        ),
        difference=m.ComparedTensors(neurons=floats(N_LAYERS, D_MLP), residual=floats(N_LAYERS + 1)),
        secs=0.25,
    )
    held = {
        f"{part}.{name}": array
        for part in ("other", "difference")
        for name, array in nested_tensors(getattr(event, part)).items()
    }
    out.frame("events", "event_comparison_ready", event, held)


def nested_tensors(values: m.ComparedTensors) -> Arrays:
    """The arrays of one side of a comparison, by field."""
    fields = ((name, getattr(values, name)) for name in values.__struct_fields__)
    return {name: tensors.reconstruct(value) for name, value in fields if isinstance(value, m.Tensor)}


def write_answers(out: Writer) -> None:
    """Every answer to a question about a run once; `attributed` is none, as for neurons that nobody attributed."""

    def floats(*shape: int) -> m.Tensor:
        values = np.linspace(-1.5, 2.25, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        return tensors.encode_tensor(values)

    metric = m.Metric(7, 1001, " Mary", 1002, " John", 1.75, "' Mary Ann' is 2 tokens: its first is taken")
    of_mean = m.Metric(7, 1001, " Mary", None, None, 2.5)
    edge = m.Edge("L0H1@3", "L2N40@7", "input", -0.25)
    looked = m.Edge("embed@3", "L1H1@7", "query", 0.5)
    part = m.AttributionPart("value", 1.0, [edge], 1.125, 3, 0.125, 0.0)
    scored = m.AttributionPart("query", 2.0, [looked], 1.0, 2, 0.5, 0.0, 3, [edge])
    score = m.HeadScore(1, 1, 0.5, 0.25, 0.75, -0.125)
    head, neuron = m.Component("head", 0, 1), m.Component("neuron", 2, 40)
    promoted, suppressed = [m.TopToken(1001, " Mary", 1.5)], [m.TopToken(7, "<b>é漢</b>", -1.5)]
    pattern = tensors.encode_tensor(tensors.to_float16(np.array([[1.0, 0.0], [0.25, 0.75]], np.float32)))
    contrast = m.DirectionRecipe("contrast", positive=["glad", "happy"], negative=["sad", "sorry"])
    ids = {"request_id": 10, "run_id": "fixture-run"}
    for event in (
        m.AnalysisProgress(**ids, done=3, total=12),
        m.AttributionReady(
            **ids, metric=metric, node="L1H1@7", direction="incoming", relevance=1.0, parts=[part, scored]
        ),
        m.PathsReady(
            **ids,
            metric=metric,
            nodes=[m.GraphNode("logit@7", 1.75, " Mary"), m.GraphNode("L2N40@7", -0.25, "L2N40")],
            edges=[edge],
            shown=0.875,
        ),
        m.OverviewReady(
            **ids,
            metric=of_mean,
            layer_line=floats(N_LAYERS + 1),
            direct_heads=floats(N_LAYERS, N_HEADS),
            direct_mlps=floats(N_LAYERS),
            direct_bias=floats(N_LAYERS),
            relevance_heads=floats(N_LAYERS, N_HEADS),
            relevance_mlps=floats(N_LAYERS),
            embed=0.5,
            final_bias=0.0,
            neurons=[neuron],
            neuron_values=floats(1),
            shown=1.0,
        ),
        m.RelevanceReady(**ids, metric=metric, method="frozen", tokens=floats(8), bias=0.5, total=1.75, error=0.0),
        m.EffectsReady(
            **ids,
            metric=metric,
            scope="listed",
            ablation="zero",
            everywhere=False,
            components=[head, neuron],
            effects=floats(2),
            probs=floats(2),
            clean_prob=0.5,
            attributed=None,
            spearman=None,
            sign_agreement=0.5,
            secs=0.25,
        ),
        m.PatchingReady(
            **ids,
            metric=metric,
            corrupted_value=-1.25,
            clean_tokens=["When", " Mary"],
            corrupted_tokens=["When", " John"],
            first_difference=1,
            resid_pre=floats(N_LAYERS, 2),
            attn_out=floats(N_LAYERS, 2),
            mlp_out=floats(N_LAYERS, 2),
            heads_last=floats(N_LAYERS, N_HEADS),
            heads_all=floats(N_LAYERS, N_HEADS),
            resid_distance=floats(N_LAYERS + 1, 2),
            head_norm_difference=floats(N_LAYERS, N_HEADS),
            n_patches=21,
            secs=0.5,
        ),
        m.HeadScoresReady(**ids, scores=[score], n_random_tokens=64),
        m.HeadProfileReady(
            **ids,
            layer=1,
            head_index=1,
            query_pos=1,
            pattern=pattern,
            entropy=floats(2),
            score=score,
            reads=[m.ReadToken(0, "Hi", 0.25, promoted, suppressed)],
            feeders=[m.Feeder(head, "key", 0.25)],
        ),
        *lens_answers(ids, promoted, suppressed),
        m.RankOneEditReady(
            **ids,
            edit=rank_one_edit(),
            key=floats(D_MLP),
            value=floats(8),
            tokens=["Hi", " Mary", " é漢"],
            key_pos=1,
            wanted_tokens=[m.TopToken(1001, " Mary", 0.25), m.TopToken(7, "<b>é漢</b>", 0.5)],
            prob_before=0.125,
            prob_after=0.875,
            top_before=suppressed,
            top_after=promoted,
            losses=floats(3),
            output_norm=1.5,
            n_covariance_tokens=0,
            spillover=[m.Spillover("Hi", 0.25, suppressed[0], promoted[0], 0.0, 0.5)],
            notice="' Mary Ann' is 2 tokens",
            secs=0.5,
        ),
        m.DirectionReady(
            **ids,
            direction=m.DirectionInfo("cd" * 16, "glad", contrast, 8, 2.5, 1),
            vector=floats(8),
            separation=floats(N_LAYERS),
            accuracy=floats(N_LAYERS),
        ),
        m.NeuronProfileReady(
            **ids,
            layer=2,
            neuron_index=40,
            promoted=promoted,
            suppressed=suppressed,
            driven_by=promoted,
            contexts=[m.NeuronContext(3, 2.25, "When", " Mary")],
            alike_in=[m.Feeder(neuron, "input", 0.5)],
            alike_out=[m.Feeder(neuron, "value", -0.5)],
            histogram=floats(4),
            histogram_edges=floats(5),
            past_contexts=[m.NeuronContext(1, -1.5, "", "é漢", "fixture-run-before")],
            n_past_runs=1,
            n_past_tokens=12,
        ),
    ):
        out.frame("events", f"event_{event.__struct_config__.tag}", event, tensors_of(event))


def lens_answers(ids: dict[str, Any], promoted: list[m.TopToken], suppressed: list[m.TopToken]) -> list[m.Event]:
    """What lies at a token."""

    def floats(*shape: int) -> m.Tensor:
        return tensors.encode_tensor(np.linspace(0.25, 3.0, int(np.prod(shape)), dtype=np.float32).reshape(shape))

    def ints(*shape: int) -> m.Tensor:
        return tensors.encode_tensor(np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape))

    target = {"pos": 7, "target_id": 1001, "target_text": " Mary", "notice": None}
    return [
        m.LensReady(
            **ids,
            **target,
            top=[[m.TopToken(1001, " Mary", 0.5), m.TopToken(7, "<b>é漢</b>", 0.25)]] * N_LAYERS,
            entropy=floats(N_LAYERS),
            rank=ints(N_LAYERS),
            logprob=floats(N_LAYERS),
        ),
        m.HeadLensReady(
            **ids,
            **target,
            head_token_id=ints(N_LAYERS, N_HEADS, 2),
            head_value=floats(N_LAYERS, N_HEADS, 2),
            head_rank=ints(N_LAYERS, N_HEADS),
            mlp_token_id=ints(N_LAYERS, 2),
            mlp_value=floats(N_LAYERS, 2),
            mlp_rank=ints(N_LAYERS),
            words=[m.TokenInfo(token_id, f" word{token_id}") for token_id in range(N_LAYERS * N_HEADS * 2)],
            direct_heads=floats(N_LAYERS, N_HEADS),
            direct_mlps=floats(N_LAYERS),
            direct_bias=floats(N_LAYERS),
            embed=0.5,
            final_bias=0.0,
            total=12.5,
        ),
        m.StreamPcaReady(
            **ids,
            scaling="rms",
            skip_first=1,
            coordinates=floats(2, N_LAYERS + 1, 3),
            explained=floats(3),
            promoted=[promoted] * 3,
            suppressed=[suppressed] * 3,
        ),
        m.AttentionEntropyReady(
            **ids,
            pos=7,
            entropy=floats(N_LAYERS, N_HEADS),
            top_key=ints(N_LAYERS, N_HEADS),
            top_weight=floats(N_LAYERS, N_HEADS),
        ),
    ]


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
