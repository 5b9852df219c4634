"""The rank-1 edits of weight matrices that the server holds for its viewers."""

from __future__ import annotations

from livelens.model.interventions import check_matrix, width_into
from livelens.model.operations import WeightEdit
from livelens.protocol.messages import ModelInfo, PutRankOneEdit, RankOneEditInfo, RankOneEditReady, RankOneRecipe
from livelens.protocol.rank_one_edits import rank_one_edit_info
from livelens.protocol.tensors import reconstruct
from livelens.session.directions import floats_of
from livelens.session.held import Held


class RankOneEdits(Held[RankOneEditInfo]):
    """What is held, and what of a viewer's keys and values can be."""

    def __init__(self, model_info: ModelInfo) -> None:
        super().__init__()
        self._info = model_info

    def read(self, command: PutRankOneEdit) -> tuple[RankOneEditInfo, WeightEdit]:
        """The edit that a viewer sends, and what it is; raises ValueError when it cannot be put in force."""
        recipe, info = command.recipe, self._info
        check_recipe(recipe, info)
        key = floats_of(f"the key of an edit of {recipe.matrix}", command.key, width_into(recipe.matrix, info))
        value = floats_of("the value of an edit", command.value, info.d_model)
        held = rank_one_edit_info(key, value, name=command.name, recipe=recipe)
        return held, WeightEdit(recipe.matrix, recipe.layer, key, value)


def check_recipe(recipe: RankOneRecipe, info: ModelInfo) -> None:
    """Raise ValueError, naming the limit, unless the model has this matrix and this head."""
    check_matrix(recipe.matrix, recipe.layer, info)
    if recipe.head_index is not None and recipe.head_index >= info.n_heads:
        raise ValueError(f"head {recipe.head_index} does not exist: each layer has heads 0 to {info.n_heads - 1}")


def edit_of(answer: RankOneEditReady) -> WeightEdit:
    """The edit that was made."""
    recipe = answer.edit.recipe
    key, value = reconstruct(answer.key).astype("float32"), reconstruct(answer.value).astype("float32")
    return WeightEdit(recipe.matrix, recipe.layer, key, value)
