"""Questions that are answered by running the model changed, and their answers: ablations and patching."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from livelens.protocol.attribution import Metric, MetricCommand
from livelens.protocol.events import AnswerEvent
from livelens.protocol.interventions import Component
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.vocabulary import MAX_PROMPT_CHARS, Count, Index

MAX_MEASURED = 4096

MeasuredScope = Literal["listed", "heads", "attn", "mlps", "neurons"]
AblationValue = Literal["zero", "mean"]


class RequestEffects(MetricCommand, frozen=True, tag="request_effects"):
    """Measured, not attributed: ablate components one at a time at the metric's position, run, compare."""

    scope: MeasuredScope = "listed"
    components: Annotated[list[Component], Meta(max_length=MAX_MEASURED, description="for `listed`")] = field(
        default_factory=list
    )
    ablation: Annotated[AblationValue, Meta(description="`mean`: over the positions before this one")] = "zero"
    everywhere: Annotated[bool, Meta(description="ablate at every position up to it, not only there")] = False
    n_neurons: Annotated[int, Meta(ge=1, le=MAX_MEASURED, description="for `neurons`: the strongest so many")] = 32


class RequestPatching(MetricCommand, frozen=True, tag="request_patching"):
    """What of this run restores the metric when it is put into the run of another prompt, place by place."""

    corrupted_prompt: Annotated[
        str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS, description="takes the prompt's place; as many tokens")
    ]
    apply_chat_template: Annotated[bool, Meta(description="as the run's prompt was")] = False


class EffectsReady(AnswerEvent, frozen=True, tag="effects_ready"):
    """Answer to `request_effects`: what each ablation did to the metric."""

    metric: Metric
    scope: MeasuredScope
    ablation: AblationValue
    everywhere: bool
    components: list[Component]
    effects: Annotated[Tensor, Meta(description="float32 [n]: metric - metric when ablated, logits")]
    probs: Annotated[Tensor, Meta(description="float32 [n]: the target's probability when ablated")]
    clean_prob: float
    attributed: Annotated[
        Tensor | None, Meta(description="float32 [n]: what attribution says of the same components, same positions")
    ]
    spearman: Annotated[float | None, Meta(description="rank correlation of the two; none for fewer than three")]
    sign_agreement: Annotated[float | None, Meta(description="fraction of equal signs, ten strongest attributed")]
    secs: float


class PatchingReady(AnswerEvent, frozen=True, tag="patching_ready"):
    """Answer to `request_patching`: (patched - corrupted) / (clean - corrupted); 0 nothing restored, 1 all of it.

    Of the run's (clean) values put into the corrupted run. `metric` is the clean run's.
    """

    metric: Metric
    corrupted_value: Annotated[float, Meta(description="the metric of the other prompt's run, logits")]
    clean_tokens: Annotated[list[str], Meta(description="n_pos texts, up to the metric's position")]
    corrupted_tokens: list[str]
    first_difference: Annotated[Index, Meta(description="before this position both runs are the same")]
    resid_pre: Annotated[Tensor, Meta(description="float32 [n_layers, n_pos]: the stream before each layer")]
    attn_out: Annotated[Tensor, Meta(description="float32 [n_layers, n_pos]")]
    mlp_out: Annotated[Tensor, Meta(description="float32 [n_layers, n_pos]")]
    heads_last: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads]: z at the metric's position only")]
    heads_all: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads]: z at every position")]
    resid_distance: Annotated[
        Tensor, Meta(description="float32 [n_layers+1, n_pos]: |clean - corrupted| / |corrupted|, nothing patched")
    ]
    head_norm_difference: Annotated[
        Tensor, Meta(description="float32 [n_layers, n_heads]: clean - corrupted, channel `heads`, last position")
    ]
    n_patches: Annotated[Count, Meta(description="runs that were made")]
    secs: float
