"""The newest token once more, with one component zeroed in each row of a batch, over the run's own keys and values.

A row begins at the layer of its component, from the stream that the run itself had there: below it nothing is
computed, and what the strongest components of a token are is mostly written late. The keys and values of the
earlier tokens are read where they lie; the rows' own are let go of layer by layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from livelens.model import attention
from livelens.model.ablation import ablation_edits, place_of, span_of
from livelens.model.anatomy import Anatomy
from livelens.model.block_arguments import Arguments, with_stream
from livelens.model.caches import new_cache, prefix_cache
from livelens.model.capture import ForwardHooks
from livelens.model.edits import NO_EDITS, Place, SiteEdits
from livelens.model.engine import EngineError
from livelens.model.replaced import Plant, Planted
from livelens.model.threads import narrow
from livelens.protocol.messages import Component


class AblatedRows:
    """Runs one token of one model with components ablated. Used by the model thread only."""

    def __init__(self, model: PreTrainedModel, anatomy: Anatomy) -> None:
        self._model = model
        self._anatomy = anatomy
        self._block_returns: int | None = None  # how many values a block returns; 0: a bare tensor; none: not yet seen

    @torch.inference_mode()
    def normed(
        self,
        components: Sequence[Component],
        *,
        token_id: int,
        n_before: int,
        cache: Cache,
        streams: Sequence[Tensor],
        edits: SiteEdits,
        is_small: bool,
    ) -> Tensor:
        """What leaves the final norm in each component's row, [n_components, d_model].

        token_id: the newest token; n_before: how many tokens stand before it; cache: the run's, which has at least
        these; streams: the run's residual stream at this token before each layer, each [d_model]; edits: the run's
        own at this position, of one row; is_small: for one core. Raises EngineError where memory runs out.
        """
        order = sorted(range(len(components)), key=lambda i: components[i].layer)
        rows = [components[i] for i in order]
        ids = torch.tensor([[token_id]], device=self._model.device)
        prefix = prefix_cache(
            cache,
            self._anatomy.shape.n_layers,
            n_positions=n_before,
            keeps_rows=False,
            is_copied=not attention.is_used_by(self._model),
        )
        with ExitStack() as hooks, _told_when_memory_runs_out(len(rows)):
            self._skip_blocks(hooks, rows[0].layer)
            self._begin_rows(hooks, rows, streams)
            hooks.enter_context(narrow(when=is_small))
            hooks.enter_context(
                ForwardHooks(self._anatomy, edits=self._edits(rows, edits), sites=frozenset(("resid",)))
            )
            normed: Tensor = self._model.base_model(
                input_ids=ids, past_key_values=prefix, use_cache=True
            ).last_hidden_state[:, -1]
        return normed[torch.tensor(order, device=normed.device).argsort()]

    def _edits(self, rows: Sequence[Component], own: SiteEdits) -> SiteEdits:
        """`own` in every row, each row's component zeroed. What `own` puts into the first stream is in it already."""
        edits = {place: edit for place, edit in own.edits.items() if place != ("resid", 0)}
        zeroed: dict[Place, list[Plant]] = {}
        for row, component in enumerate(rows):
            plant = Plant(row=row, positions=slice(None), columns=span_of(component, self._anatomy), value=0.0)
            zeroed.setdefault(place_of(component), []).append(plant)
        for place, plants in zeroed.items():
            edits[place] = Planted(edits.get(place), plants)
        return replace(own, edits=edits)

    def _begin_rows(self, hooks: ExitStack, rows: Sequence[Component], streams: Sequence[Tensor]) -> None:
        first = rows[0].layer
        for layer, n_rows in Counter(row.layer for row in rows).items():
            begun = streams[layer].expand(n_rows, 1, -1)
            block = self._anatomy.layers[layer].block
            handle = block.register_forward_pre_hook(_Begin(begun, is_first=layer == first), with_kwargs=True)
            hooks.callback(handle.remove)

    def _skip_blocks(self, hooks: ExitStack, n_blocks: int) -> None:
        """Let the first blocks pass on what they get; the very first time they run, to see what they return."""
        blocks = [layer.block for layer in self._anatomy.layers]
        if self._block_returns is None:
            handle = blocks[-1].register_forward_hook(self._look_at_output)
            hooks.callback(handle.remove)
            return
        for block in blocks[:n_blocks]:
            hooks.enter_context(_passing_on(block, self._block_returns))

    def _look_at_output(self, module: nn.Module, args: object, output: object) -> None:
        self._block_returns = len(output) if isinstance(output, tuple) else 0


@torch.inference_mode()
def rows_fault(model: PreTrainedModel, anatomy: Anatomy, ids: Tensor, *, tolerance: float) -> str | None:
    """Why components of this model cannot be measured so; none where they can.

    Compared on a few tokens, ids [1, n], with every row computed through every layer.
    """
    layers = sorted({0, anatomy.shape.n_layers // 2, anatomy.shape.n_layers - 1})
    components = [Component(kind="mlp", layer=layer) for layer in layers]
    components += [Component(kind="head", layer=layer, index=anatomy.shape.n_heads - 1) for layer in layers[1:]]
    cache, rows = new_cache(), AblatedRows(model, anatomy)
    n_before = ids.shape[1] - 1
    edits = ablation_edits([None, *components], NO_EDITS, anatomy, means=None, like=ids)
    try:
        model.base_model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True)
        prefix = prefix_cache(cache, anatomy.shape.n_layers, keeps_rows=False)
        with ForwardHooks(anatomy, edits=edits, sites=frozenset(("resid",))) as hooks:
            every_row = ids[:, -1:].expand(1 + len(components), -1)
            whole = model.base_model(input_ids=every_row, past_key_values=prefix, use_cache=True).last_hidden_state
        streams = [stream[0, -1] for stream in hooks.tensors["resid"] if stream is not None]
        for asked in (components, components[-1:]):  # the first time no layer is left out
            found = rows.normed(
                asked,
                token_id=int(ids[0, -1]),
                n_before=n_before,
                cache=cache,
                streams=streams,
                edits=NO_EDITS,
                is_small=False,
            )
            expected = whole[-len(asked) :, -1]
            if float((found - expected).abs().max()) > tolerance * max(1.0, float(expected.abs().max())):
                return "its layers, begun in the middle, do not give what they give in a whole forward call"
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        return f"its layers cannot be begun in the middle: {error}"
    return None


@dataclass(frozen=True, slots=True)
class _Begin:
    """A hook before a layer: `begun` [n_rows, 1, d_model] after the rows that there are, or in their place."""

    begun: Tensor
    is_first: bool

    def __call__(self, module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> Arguments:
        """The layer's arguments, with the stream of all rows."""
        return with_stream(
            module, args, kwargs, lambda stream: self.begun if self.is_first else torch.cat([stream, self.begun])
        )


@contextmanager
def _passing_on(block: nn.Module, n_returned: int) -> Iterator[None]:
    """Inside, `block` returns the stream that it is given; n_returned: in a tuple of so many, 0: bare."""

    def forward(hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor | tuple[Tensor | None, ...]:
        return hidden_states if n_returned == 0 else (hidden_states, *[None] * (n_returned - 1))

    before = block.__dict__.get("forward")  # its own where something else has put itself before the class's
    block.__dict__["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del block.__dict__["forward"]
        else:
            block.__dict__["forward"] = before


@contextmanager
def _told_when_memory_runs_out(n_rows: int) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise EngineError(f"out of memory while measuring {n_rows} components of one token") from error
