"""Two runs side by side at one position: every channel of the other one, and what this run has more of.

The difference is taken between exact float32 values on the server: between quantised ones it would be
mostly rounding.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from livelens.protocol.commands import RunCommand
from livelens.protocol.events import AnswerEvent
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.values import TopToken
from livelens.protocol.vocabulary import MAX_PROMPT_CHARS, Index, TokenText, WireValue


class RequestComparison(RunCommand, frozen=True, tag="request_comparison"):
    """Every channel at one position, of this run and of another: of other text, or without the interventions.

    Positions are aligned from the start. Where the other prompt has as many tokens as the run's, what was
    generated since follows it; else the other run is its prompt alone.
    """

    pos: Index
    other_prompt: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS)] | None,
        Meta(description="takes the prompt's place in the other run; none: the run's own text"),
    ] = None
    apply_chat_template: Annotated[bool, Meta(description="to other_prompt")] = False
    without_interventions: Annotated[
        bool, Meta(description="the other run has none of the run's interventions; else all of them, by position")
    ] = False
    target: Annotated[
        Index | TokenText | None,
        Meta(
            description="of direct_logit and the lens, in both: token id, or its text, of several tokens the first; "
            "none: the run's next token"
        ),
    ] = None
    distractor: Annotated[Index | TokenText | None, Meta(description="none: the mean of all logits")] = None


class ComparedTensors(WireValue, frozen=True, omit_defaults=True):
    """One position's channels, exact; as in `StepTensors`, but nothing is quantised. Absent: the model has none."""

    neurons: Annotated[Tensor | None, Meta(description="float32 [n_layers, d_mlp]")] = None
    heads: Annotated[Tensor | None, Meta(description="float32 [n_layers, n_heads]: norms")] = None
    attention: Annotated[Tensor | None, Meta(description="float32 [n_layers, n_heads, pos+1]")] = None
    residual: Annotated[Tensor | None, Meta(description="float32 [n_layers+1]: norms")] = None
    attn_out: Annotated[Tensor | None, Meta(description="float32 [n_layers]: norms")] = None
    mlp_out: Annotated[Tensor | None, Meta(description="float32 [n_layers]: norms")] = None
    lens_token_id: Annotated[Tensor | None, Meta(description="int32 [n_layers]; not in a difference")] = None
    lens_prob: Annotated[Tensor | None, Meta(description="float32 [n_layers]; not in a difference")] = None
    lens_entropy: Annotated[Tensor | None, Meta(description="float32 [n_layers], nats")] = None
    lens_rank: Annotated[Tensor | None, Meta(description="int32 [n_layers]: of the target")] = None
    lens_logprob: Annotated[Tensor | None, Meta(description="float32 [n_layers]: of the target")] = None
    direct_heads: Annotated[Tensor | None, Meta(description="float32 [n_layers, n_heads], logits")] = None
    direct_mlps: Annotated[Tensor | None, Meta(description="float32 [n_layers], logits")] = None
    direct_bias: Annotated[Tensor | None, Meta(description="float32 [n_layers], logits")] = None
    direct_ends: Annotated[Tensor | None, Meta(description="float32 [3]: embedding, final biases, total")] = None
    direct_neuron_layer: Annotated[
        Tensor | None, Meta(description="uint16 [k]: strongest neurons; of a difference, those that differ most")
    ] = None
    direct_neuron_index: Annotated[Tensor | None, Meta(description="uint32 [k]")] = None
    direct_neuron_value: Annotated[Tensor | None, Meta(description="float32 [k], logits")] = None


class ComparisonReady(AnswerEvent, frozen=True, tag="comparison_ready"):
    """Answer to `request_comparison`: `other` is the other run's, `difference` is this run - the other."""

    pos: Index
    without_interventions: bool
    other_tokens: Annotated[list[str], Meta(description="the other run's texts, by position")]
    differing: Annotated[list[Index], Meta(description="positions that both have, with another token")]
    first_difference: Annotated[
        Index | None,
        Meta(description="first other token or lacking intervention: before it both compute the same, bit for bit"),
    ]
    target_id: Index
    target_text: str
    distractor_id: Index | None
    distractor_text: str | None
    other_top_tokens: Annotated[list[TopToken], Meta(description="what the other run predicts after pos")]
    other_logprob: Annotated[float, Meta(description="of the target, after pos, in the other run")]
    other_entropy: Annotated[float, Meta(description="nats")]
    logprob: Annotated[float, Meta(description="of the target, in this run, computed in the same way")]
    other_lens_texts: Annotated[list[str] | None, Meta(description="text of each lens_token_id of `other`")]
    other: ComparedTensors
    difference: ComparedTensors
    secs: float
