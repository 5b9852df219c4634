"""The Python client's rank-1 edits of a weight matrix: made by the server, put in force, saved and loaded.

rome = await client.make_rank_one_edit(run, RankOneRecipe("rome", "mlp_out", 8, prompt="The Eiffel Tower is in the "
    "city of", subject="Eiffel Tower", wanted=" Rome"))
await client.set_interventions(run, [in_force(rome)], mode="recompute")
save_edit("rome.safetensors", rome, model_info=client.model_info)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from livelens.client.asking import Asking, Progress
from livelens.client.errors import LivelensError
from livelens.client.run import ClientRun
from livelens.client.vectors_file import load_vectors, save_vectors
from livelens.protocol.messages import (
    Component,
    InterventionSpec,
    ModelInfo,
    Positions,
    PutRankOneEdit,
    RankOneEditInfo,
    RankOneEditReady,
    RankOneEditStored,
    RankOneRecipe,
    RequestRankOneEdit,
)
from livelens.protocol.tensors import reconstruct

F32 = NDArray[np.float32]
_FORMAT = "livelens rank-1 edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOneEdit:
    """An edit that the server holds: key [d_in] and value [d_model]; `made` says what it did, where the server made it.

    `W'x = Wx + amount * value (key . x)`.
    """

    info: RankOneEditInfo
    key: F32
    value: F32
    made: RankOneEditReady | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedEdit:
    """An edit as a file has it, and of which model."""

    name: str
    recipe: RankOneRecipe
    key: F32
    value: F32
    model_name: str
    weights_sha256: str


def in_force(
    edit: RankOneEdit, *, amount: float = 1.0, positions: Positions | None = None, intervention_id: str | None = None
) -> InterventionSpec:
    """The intervention that multiplies by the edited matrix, `amount` times the edit."""
    return InterventionSpec(
        intervention_id=intervention_id or f"edit {edit.info.name}"[:64],
        operation="rank_one_edit",
        components=[edited_component(edit.info.recipe)],
        amount=amount,
        positions=Positions() if positions is None else positions,
        edit_id=edit.info.edit_id,
    )


def edited_component(recipe: RankOneRecipe) -> Component:
    """What the edited matrix belongs to: a layer's MLP, its attention, or one head."""
    if recipe.matrix == "mlp_out":
        return Component("mlp", recipe.layer)
    if recipe.head_index is None:
        return Component("attn", recipe.layer)
    return Component("head", recipe.layer, recipe.head_index)


def save_edit(path: str | Path, edit: RankOneEdit, *, model_info: ModelInfo) -> None:
    """Write safetensors: `key` [d_in] and `value` [d_model], float32, and in the metadata what made them."""
    facts = {"name": edit.info.name, "recipe": msgspec.json.encode(edit.info.recipe).decode()}
    save_vectors(path, {"key": edit.key, "value": edit.value}, _FORMAT, facts, model_info)


def load_edit(path: str | Path) -> SavedEdit:
    """Read what `save_edit` wrote; raises LivelensError for any other file."""
    vectors, facts = load_vectors(path, ("key", "value"), _FORMAT, "no rank-1 edit of livelens")
    try:
        return SavedEdit(
            name=facts["name"],
            recipe=msgspec.json.decode(facts["recipe"], type=RankOneRecipe),
            key=vectors["key"],
            value=vectors["value"],
            model_name=facts["model_name"],
            weights_sha256=facts["weights_sha256"],
        )
    except (KeyError, msgspec.DecodeError) as error:
        raise LivelensError("bad_file", f"{path} holds no rank-1 edit of livelens: {error}") from error


class RankOneEdits(Asking):
    """Base of `Client`: edits of the server that it is connected to. All raise LivelensError."""

    async def make_rank_one_edit(
        self, run: ClientRun, recipe: RankOneRecipe, *, name: str = "", progress: Progress | None = None
    ) -> RankOneEdit:
        """Have the server make an edit; `run` is the one whose tokens are the prompt where the recipe has none."""
        question = RequestRankOneEdit(
            request_id=self._connection.request_id(), run_id=run.run_id, recipe=recipe, name=name
        )
        made = await self._ask(question, RankOneEditReady, progress)
        key, value = (reconstruct(tensor).astype(np.float32) for tensor in (made.key, made.value))
        return RankOneEdit(info=made.edit, key=key, value=value, made=made)

    async def put_rank_one_edit(
        self, key: NDArray[np.floating], value: NDArray[np.floating], recipe: RankOneRecipe, *, name: str
    ) -> RankOneEdit:
        """Have the server hold an edit; the recipe says of which matrix."""
        keys, values = np.ascontiguousarray(key, "<f4"), np.ascontiguousarray(value, "<f4")
        answer = await self._connection.ask(
            PutRankOneEdit(
                request_id=self._connection.request_id(),
                name=name,
                recipe=recipe,
                key=keys.tobytes(),
                value=values.tobytes(),
            ),
            RankOneEditStored,
        )
        return RankOneEdit(info=answer.edit, key=keys.astype(np.float32), value=values.astype(np.float32))

    async def put_saved_edit(self, saved: SavedEdit) -> RankOneEdit:
        """Have the server hold an edit from a file."""
        return await self.put_rank_one_edit(saved.key, saved.value, saved.recipe, name=saved.name)
