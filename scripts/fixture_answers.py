"""The golden frames of answers to questions about a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from fixture_frames import D_MLP, N_HEADS, N_LAYERS, Writer, floats, nested_tensors, tensors_of
from livelens.protocol import messages as m
from livelens.protocol import tensors

IDS: dict[str, Any] = {"request_id": 10, "run_id": "fixture-run"}
METRIC = m.Metric(7, 1001, " Mary", 1002, " John", 1.75, "' Mary Ann' is 2 tokens: its first is taken")
HEAD, NEURON = m.Component("head", 0, 1), m.Component("neuron", 2, 40)
PROMOTED, SUPPRESSED = [m.TopToken(1001, " Mary", 1.5)], [m.TopToken(7, "<b>é漢</b>", -1.5)]


def rank_one_edit() -> m.RankOneEditInfo:
    """One of a head's rows, with every field of its recipe that has no default."""
    recipe = m.RankOneRecipe("rome", "ov", 1, 0, "Hi Mary é漢", key_pos=1, wanted=" Mary", prefixes=["So."])
    return m.RankOneEditInfo("ef" * 16, "Mary → Mary (L1 W_O of H0)", recipe, D_MLP, 8, 0.5, 2.5)


def write_comparison(out: Writer) -> None:
    """The one answer whose tensors lie a level deeper: `other` has attention rows, the difference has none."""

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


def write_answers(out: Writer) -> None:
    """Every answer to a question about a run once."""
    for event in (
        m.AnalysisProgress(**IDS, done=3, total=12),
        *attributed_answers(),
        *measured_answers(),
        *head_answers(),
        *lens_answers(),
        *made_answers(),
        neuron_answer(),
    ):
        out.frame("events", f"event_{event.__struct_config__.tag}", event, tensors_of(event))


def attributed_answers() -> list[m.Event]:
    """Why this token."""
    of_mean = m.Metric(7, 1001, " Mary", None, None, 2.5)
    edge = m.Edge("L0H1@3", "L2N40@7", "input", -0.25)
    looked = m.Edge("embed@3", "L1H1@7", "query", 0.5)
    part = m.AttributionPart("value", 1.0, [edge], 1.125, 3, 0.125, 0.0)
    scored = m.AttributionPart("query", 2.0, [looked], 1.0, 2, 0.5, 0.0, 3, [edge])
    return [
        m.AttributionReady(
            **IDS, metric=METRIC, node="L1H1@7", direction="incoming", relevance=1.0, parts=[part, scored]
        ),
        m.PathsReady(
            **IDS,
            metric=METRIC,
            nodes=[m.GraphNode("logit@7", 1.75, " Mary"), m.GraphNode("L2N40@7", -0.25, "L2N40")],
            edges=[edge],
            shown=0.875,
        ),
        m.OverviewReady(
            **IDS,
            metric=of_mean,
            layer_line=floats(N_LAYERS + 1),
            direct_heads=floats(N_LAYERS, N_HEADS),
            direct_mlps=floats(N_LAYERS),
            direct_bias=floats(N_LAYERS),
            relevance_heads=floats(N_LAYERS, N_HEADS),
            relevance_mlps=floats(N_LAYERS),
            embed=0.5,
            final_bias=0.0,
            neurons=[NEURON],
            neuron_values=floats(1),
            shown=1.0,
        ),
        m.RelevanceReady(**IDS, metric=METRIC, method="frozen", tokens=floats(8), bias=0.5, total=1.75, error=0.0),
    ]


def measured_answers() -> list[m.Event]:
    """What ablating and patching do; `attributed` is none, as for neurons that nobody attributed."""
    return [
        m.EffectsReady(
            **IDS,
            metric=METRIC,
            scope="listed",
            ablation="zero",
            everywhere=False,
            components=[HEAD, NEURON],
            effects=floats(2),
            probs=floats(2),
            clean_prob=0.5,
            attributed=None,
            spearman=None,
            sign_agreement=0.5,
            secs=0.25,
        ),
        m.PatchingReady(
            **IDS,
            metric=METRIC,
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
    ]


def head_answers() -> list[m.Event]:
    """What heads do."""
    score = m.HeadScore(1, 1, 0.5, 0.25, 0.75, -0.125)
    pattern = tensors.encode_tensor(tensors.to_float16(np.array([[1.0, 0.0], [0.25, 0.75]], np.float32)))
    return [
        m.HeadScoresReady(**IDS, scores=[score], n_random_tokens=64),
        m.HeadProfileReady(
            **IDS,
            layer=1,
            head_index=1,
            query_pos=1,
            pattern=pattern,
            entropy=floats(2),
            score=score,
            reads=[m.ReadToken(0, "Hi", 0.25, PROMOTED, SUPPRESSED)],
            feeders=[m.Feeder(HEAD, "key", 0.25)],
        ),
    ]


def made_answers() -> list[m.Event]:
    """What was made to be put in force."""
    contrast = m.DirectionRecipe("contrast", positive=["glad", "happy"], negative=["sad", "sorry"])
    return [
        m.RankOneEditReady(
            **IDS,
            edit=rank_one_edit(),
            key=floats(D_MLP),
            value=floats(8),
            tokens=["Hi", " Mary", " é漢"],
            key_pos=1,
            wanted_tokens=[m.TopToken(1001, " Mary", 0.25), m.TopToken(7, "<b>é漢</b>", 0.5)],
            prob_before=0.125,
            prob_after=0.875,
            top_before=SUPPRESSED,
            top_after=PROMOTED,
            losses=floats(3),
            output_norm=1.5,
            n_covariance_tokens=0,
            spillover=[m.Spillover("Hi", 0.25, SUPPRESSED[0], PROMOTED[0], 0.0, 0.5)],
            notice="' Mary Ann' is 2 tokens",
            secs=0.5,
        ),
        m.DirectionReady(
            **IDS,
            direction=m.DirectionInfo("cd" * 16, "glad", contrast, 8, 2.5, 1),
            vector=floats(8),
            separation=floats(N_LAYERS),
            accuracy=floats(N_LAYERS),
        ),
    ]


def neuron_answer() -> m.Event:
    """What a neuron does."""
    return m.NeuronProfileReady(
        **IDS,
        layer=2,
        neuron_index=40,
        promoted=PROMOTED,
        suppressed=SUPPRESSED,
        driven_by=PROMOTED,
        contexts=[m.NeuronContext(3, 2.25, "When", " Mary")],
        alike_in=[m.Feeder(NEURON, "input", 0.5)],
        alike_out=[m.Feeder(NEURON, "value", -0.5)],
        histogram=floats(4),
        histogram_edges=floats(5),
        past_contexts=[m.NeuronContext(1, -1.5, "", "é漢", "fixture-run-before")],
        n_past_runs=1,
        n_past_tokens=12,
    )


def lens_answers() -> list[m.Event]:
    """What lies at a token."""

    def floats(*shape: int) -> m.Tensor:
        return tensors.encode_tensor(np.linspace(0.25, 3.0, int(np.prod(shape)), dtype=np.float32).reshape(shape))

    def ints(*shape: int) -> m.Tensor:
        return tensors.encode_tensor(np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape))

    target = {"pos": 7, "target_id": 1001, "target_text": " Mary", "notice": None}
    return [
        m.LensReady(
            **IDS,
            **target,
            top=[[m.TopToken(1001, " Mary", 0.5), m.TopToken(7, "<b>é漢</b>", 0.25)]] * N_LAYERS,
            entropy=floats(N_LAYERS),
            rank=ints(N_LAYERS),
            logprob=floats(N_LAYERS),
        ),
        m.HeadLensReady(
            **IDS,
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
            **IDS,
            scaling="rms",
            skip_first=1,
            coordinates=floats(2, N_LAYERS + 1, 3),
            explained=floats(3),
            promoted=[PROMOTED] * 3,
            suppressed=[SUPPRESSED] * 3,
        ),
        m.AttentionEntropyReady(
            **IDS,
            pos=7,
            entropy=floats(N_LAYERS, N_HEADS),
            top_key=ints(N_LAYERS, N_HEADS),
            top_weight=floats(N_LAYERS, N_HEADS),
        ),
    ]
