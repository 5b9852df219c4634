"""A question about a run, checked against the model and the run before it is asked of the worker."""

from __future__ import annotations

from livelens.protocol.components import check_component, check_node, parse_node
from livelens.protocol.messages import (
    Component,
    ComponentKind,
    ModelInfo,
    Question,
    RequestAttentionEntropy,
    RequestAttribution,
    RequestComparison,
    RequestDirection,
    RequestEffects,
    RequestHeadLens,
    RequestHeadProfile,
    RequestHeadScores,
    RequestLens,
    RequestNeuronProfile,
    RequestRankOneEdit,
    RequestStreamPca,
    analysis_kind,
)
from livelens.session.rank_one_edits import check_recipe


class QuestionError(ValueError):
    """A question that is refused; `code` is stable, the text says the limit and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_question(question: Question, model_info: ModelInfo, n_tokens: int) -> None:
    """Raise QuestionError unless the engine answers such questions and what it names is in the model and the run.

    n_tokens: of the run, by now. Which of them were computed is known to the model thread alone, and checked there.
    """
    kind = analysis_kind(question)
    if kind not in model_info.capabilities.analyses:
        reasons = {missing.analysis: missing.reason for missing in model_info.capabilities.missing_analyses}
        reason = reasons.get(kind, "its engine does not know how")
        raise QuestionError("analysis_unavailable", f"this model answers no question of kind {kind}: {reason}")
    match question:
        case RequestHeadScores() | RequestStreamPca():
            return
        case RequestDirection():
            _check_recipe(question, model_info)
        case RequestRankOneEdit():
            _check_edit(question, model_info, n_tokens)
        case RequestLens() | RequestHeadLens() | RequestAttentionEntropy() | RequestComparison():
            _check_pos(question.pos, n_tokens)
        case RequestHeadProfile():
            _check_components([Component("head", question.layer, question.head_index)], model_info)
            if question.query_pos is not None:
                _check_pos(question.query_pos, n_tokens)
        case RequestNeuronProfile():
            _check_components([Component("neuron", question.layer, question.neuron_index)], model_info)
        case _:
            _check_pos(question.metric.pos, n_tokens)
    if isinstance(question, RequestAttribution):
        _check_attribution(question, model_info)
    if isinstance(question, RequestEffects):
        _check_components(question.components, model_info)


def _check_attribution(question: RequestAttribution, model_info: ModelInfo) -> None:
    try:
        node = parse_node(question.node)
        check_node(node, model_info, question.metric.pos + 1)
    except ValueError as error:
        raise QuestionError("node_out_of_range", str(error)) from error
    if node.part == "logit" and node.pos != question.metric.pos:
        raise QuestionError(
            "node_out_of_range",
            f"{question.node} is not the metric's position: this question is about logit@{question.metric.pos}",
        )
    if question.key_pos is not None and question.key_pos > node.pos:
        raise QuestionError(
            "position_out_of_range", f"{question.node} looks at keys 0 to {node.pos}, not at {question.key_pos}"
        )


def _check_recipe(question: RequestDirection, model_info: ModelInfo) -> None:
    recipe = question.recipe
    if recipe.kind in ("head", "neuron"):
        kind: ComponentKind = "head" if recipe.kind == "head" else "neuron"
        _check_components([Component(kind, recipe.layer or 0, recipe.index)], model_info)
    elif recipe.layer is not None and recipe.layer >= model_info.n_layers:
        raise QuestionError(
            "component_out_of_range",
            f"layer {recipe.layer} does not exist: this model has layers 0 to {model_info.n_layers - 1}",
        )


def _check_edit(question: RequestRankOneEdit, model_info: ModelInfo, n_tokens: int) -> None:
    recipe = question.recipe
    try:
        check_recipe(recipe, model_info)
    except ValueError as error:
        raise QuestionError("component_out_of_range", str(error)) from error
    if isinstance(recipe.wanted, int) and recipe.wanted >= model_info.d_vocab:
        message = f"the wanted token {recipe.wanted} does not exist: ids are 0 to {model_info.d_vocab - 1}"
        raise QuestionError("token_unknown", message)
    if not recipe.prompt:
        for pos in (recipe.to_pos, recipe.key_pos):
            if pos is not None:
                _check_pos(pos, n_tokens)


def _check_components(components: list[Component], model_info: ModelInfo) -> None:
    for component in components:
        try:
            check_component(component, model_info)
        except ValueError as error:
            raise QuestionError("component_out_of_range", str(error)) from error


def _check_pos(pos: int, n_tokens: int) -> None:
    if pos >= n_tokens:
        raise QuestionError(
            "position_out_of_range", f"position {pos} does not exist: this run has positions 0 to {n_tokens - 1}"
        )
