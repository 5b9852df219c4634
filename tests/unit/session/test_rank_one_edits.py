"""Rank-1 edits over the session: put, refused, in force on the fake engine, let go of, undone to the same bits."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from tests.unit.session.hub import Hub, SimViewer
from tests.unit.session.test_directions import SAMPLING, hub, intervene

from livelens.model.fake import FakeEngine
from livelens.model.fake.weights import D_HEAD
from livelens.model.interventions import masks_from
from livelens.model.operations import WeightEdit
from livelens.protocol.messages import (
    Component,
    EditedMatrix,
    ErrorReport,
    InterventionsApplied,
    InterventionSpec,
    PutRankOneEdit,
    RankOneEditStored,
    RankOneRecipe,
    RequestRankOneEdit,
)
from livelens.run.resources import RunResources, Surroundings

N_IN = {"mlp_out": 16, "ov": 2 * D_HEAD}


def put(
    viewer: SimViewer, matrix: EditedMatrix = "mlp_out", *, layer: int = 1, key: object = None, value: object = None
) -> RankOneEditStored | ErrorReport:
    rng = np.random.default_rng(4)
    d_model = viewer.hub.engine.info.d_model
    keys = rng.standard_normal(N_IN[matrix]) if key is None else key
    values = 9 * rng.standard_normal(d_model) if value is None else value
    answer = viewer.ask(
        PutRankOneEdit(
            request_id=viewer.next_id(),
            name="mine",
            recipe=RankOneRecipe("put", matrix, layer),
            key=np.ascontiguousarray(keys, "<f4").tobytes(),
            value=np.ascontiguousarray(values, "<f4").tobytes(),
        )
    )
    assert isinstance(answer, RankOneEditStored | ErrorReport)
    return answer


def edited(edit_id: str, amount: float = 1.0, *, enabled: bool = True, **fields: object) -> InterventionSpec:
    return InterventionSpec("e", "rank_one_edit", [], amount, enabled, edit_id=edit_id, **fields)  # type: ignore[arg-type]


def residuals(viewer: SimViewer) -> dict[int, np.ndarray]:
    viewer.hub.work(80)
    viewer.drain()
    return {pos: step.residual.copy() for pos, step in viewer.run.steps.items()}


@pytest.mark.parametrize("matrix", ["mlp_out", "ov"])
def test_an_edit_in_force_changes_its_layer_and_undone_every_bit_is_back(matrix: EditedMatrix) -> None:
    viewer = hub().viewer(channels=["residual"])
    stored = put(viewer, matrix)
    assert isinstance(stored, RankOneEditStored) and stored.edit.d_in == N_IN[matrix]
    viewer.start(sampling=SAMPLING, start_paused=True)
    before = residuals(viewer)
    assert isinstance(intervene(viewer, edited(stored.edit.edit_id, 3.0)), InterventionsApplied)
    under = residuals(viewer)
    assert under[2][1] == before[2][1] and abs(under[2][2] - before[2][2]) > 0.5  # before its layer; after it
    for spec in ([edited(stored.edit.edit_id, 3.0, enabled=False)], []):
        assert isinstance(intervene(viewer, *spec), InterventionsApplied)
        after = residuals(viewer)
        assert all(np.array_equal(after[pos], before[pos]) for pos in before)


def test_on_the_fake_engine_it_is_the_product_that_is_written_by_hand() -> None:
    engine = FakeEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64)
    rng = np.random.default_rng(1)
    for matrix, read, out in (("mlp_out", "neurons", "mlp_out"), ("ov", "z", "attn_out")):
        key = rng.standard_normal(N_IN[matrix]).astype(np.float32)
        value = rng.standard_normal(engine.info.d_model).astype(np.float32)
        edit = WeightEdit(matrix, 1, key, value)  # type: ignore[arg-type]
        resources = RunResources(engine, [3], Surroundings(directions={}, edits={"e": edit}))
        masks = masks_from([edited("e", -2.0)], engine.info, resources)
        places = [(read, 1), (out, 1)]
        clean, under = (
            engine.open_sequence().values_at([3, 9, 4], each, places)  # type: ignore[arg-type]
            for each in (masks_from([], engine.info), masks)
        )
        assert np.array_equal(clean[read, 1], under[read, 1])  # what enters the matrix is upstream of it
        expected = clean[out, 1] - 2.0 * np.outer(clean[read, 1] @ key, value)
        np.testing.assert_allclose(under[out, 1], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": np.zeros(16)}, "key of this edit is zero"),
        ({"key": np.full(16, np.nan)}, "NaN"),
        ({"key": np.full(16, np.inf)}, "infinity"),
        ({"key": np.ones(15)}, "16 float32 values"),
        ({"value": np.zeros(3)}, "float32 values"),
        ({"layer": 2}, "layers 0 to 1"),
        ({"matrix": "ov", "key": np.ones(16 * 99)}, "float32 values"),
    ],
)
def test_what_cannot_be_put_in_force_is_refused(changes: dict[str, object], reason: str) -> None:
    answer = put(hub().viewer(), **changes)  # type: ignore[arg-type]
    assert isinstance(answer, ErrorReport) and answer.code == "bad_edit" and reason in answer.message


def test_an_edit_that_is_not_held_or_of_something_else_is_refused() -> None:
    viewer = hub().viewer()
    viewer.start(sampling=SAMPLING, start_paused=True)
    unknown = intervene(viewer, edited("nobody put this"))
    assert isinstance(unknown, ErrorReport) and unknown.code == "edit_unknown"
    stored = put(viewer)
    assert isinstance(stored, RankOneEditStored)
    named = InterventionSpec("e", "rank_one_edit", [Component("attn", 1)], 1.0, edit_id=stored.edit.edit_id)
    other = intervene(viewer, named)
    assert isinstance(other, ErrorReport) and "is not what the edit is of" in other.message
    own = InterventionSpec("e", "rank_one_edit", [Component("mlp", 1)], 1.0, edit_id=stored.edit.edit_id)
    assert isinstance(intervene(viewer, own), InterventionsApplied)


def test_a_model_without_neurons_has_only_its_attention_edited() -> None:
    engine = FakeEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64)
    capabilities = msgspec.structs.replace(engine.info.capabilities, component_kinds=["head", "attn", "mlp"])
    engine._info = msgspec.structs.replace(engine.info, capabilities=capabilities)
    viewer = Hub(engine).viewer()
    refused = put(viewer)
    assert isinstance(refused, ErrorReport) and "no single output matrix" in refused.message
    assert isinstance(put(viewer, "ov"), RankOneEditStored)


@pytest.mark.parametrize(
    "fields",
    [
        {"n_steps": 101},
        {"n_steps": 0},
        {"ridge": float("nan")},
        {"learning_rate": float("inf")},
        {"wanted": None},
        {"subject": "", "key_pos": None},
        {"subject": "Tower", "key_pos": 3},
        {"head_index": 1},
        {"covariance_texts": ["a"]},
        {"covariance": "texts"},
        {"essence": "The Louvre is a"},
        {"prompt": "a Tower", "to_pos": 3},
    ],
)
def test_a_recipe_that_says_nothing_clear_is_refused_when_it_is_read(fields: dict[str, object]) -> None:
    plain = {"kind": "rome", "matrix": "mlp_out", "layer": 1, "prompt": "The Tower", "subject": "Tower", "wanted": "a"}
    question = {"request_id": 1, "run_id": "r", "type": "request_rank_one_edit"}
    read = msgspec.msgpack.Decoder(RequestRankOneEdit).decode
    assert read(msgspec.msgpack.encode({**question, "recipe": plain})).recipe.n_steps == 20
    with pytest.raises(msgspec.ValidationError):
        read(msgspec.msgpack.encode({**question, "recipe": {**plain, **fields}}))


def test_the_fake_engine_says_that_it_makes_none() -> None:
    viewer = hub().viewer()
    viewer.start(sampling=SAMPLING, start_paused=True)
    recipe = RankOneRecipe("rome", "mlp_out", 1, prompt="the cat", key_pos=0, wanted="dog")
    answer = viewer.ask(RequestRankOneEdit(request_id=viewer.next_id(), run_id=viewer.run.run_id, recipe=recipe))
    assert isinstance(answer, ErrorReport) and answer.code == "analysis_unavailable"
