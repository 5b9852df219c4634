"""Steps from captures: a position's arrays and prediction read out of the model, and its tokens as text."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

import msgspec

from livelens.model.engine import CausalEffects, Engine, EngineError, LensRows, LogitPair, StepArrays
from livelens.protocol.messages import Channel, Step
from livelens.run.causal import causal_effects
from livelens.run.readout import UnreadPosition
from livelens.run.twin_steps import difference_sources, differences, top_tokens, twin_step

_log = logging.getLogger(__name__)
TOP_TOKENS: Final = 10
_CHANNEL_OF: Final[dict[str, Channel]] = {
    "neurons": "neurons",
    "heads": "heads",
    "attention": "attention",
    "residual": "residual",
    "attn_out": "residual",
    "mlp_out": "residual",
    "direct": "direct_logit",
}
MadeStep = tuple[Step, StepArrays]
# Called once, off the model thread: what it still waits for (the logit lens) is computed beside the next token.
FinishStep = Callable[[], MadeStep]
EmitStep = Callable[[FinishStep], None]


class StepMaker:
    """Makes the steps of one run, and remembers the texts of the tokens it has seen."""

    def __init__(self, engine: Engine, *, run_id: str, n_prompt: int, pair: LogitPair) -> None:
        self._engine = engine
        self._info = engine.info
        self._run_id = run_id
        self._n_prompt = n_prompt
        self._pair = pair
        self._token_texts: dict[int, str] = {}

    def token_text(self, token_id: int) -> str:
        """One token alone."""
        text = self._token_texts.get(token_id)
        if text is None:
            text = self._token_texts[token_id] = self._engine.token_text(token_id)
        return text

    def step(
        self, unread: UnreadPosition, token_id: int, *, channels: frozenset[Channel], text_delta: str
    ) -> FinishStep:
        """The step of one position, whose token is `token_id`, without seq and tensors, and its exact arrays.

        All but the logit lens is read out now; that is awaited by the function returned.
        """
        lens = unread.captured.lens(unread.index, chosen_id=unread.chosen_id) if "logit_lens" in channels else None
        exact = self._arrays(unread, channels - {"logit_lens"})
        if "causal_effects" in channels:
            exact = replace(exact, causal=self._measured(unread, exact))
        prediction = unread.captured.prediction(unread.index, chosen_id=unread.chosen_id, top_k=TOP_TOKENS)
        explained = exact.causal if exact.direct is None else exact.direct
        clean = unread.clean
        step = Step(
            run_id=self._run_id,
            seq=0,  # counted by the session, in order of emission
            pos=unread.pos,
            token_id=token_id,
            text=self.token_text(token_id),
            chosen_id=unread.chosen_id,
            chosen_text=self.token_text(unread.chosen_id),
            text_delta=text_delta,
            generated=unread.pos + 1 >= self._n_prompt,
            top_tokens=top_tokens(prediction, self.token_text),
            logprob=prediction.logprob,
            entropy=prediction.entropy,
            revision=unread.revision,
            server_ns=time.monotonic_ns(),
            direct_target_id=None if explained is None else explained.target_id,
            direct_distractor_id=None if explained is None else explained.distractor_id,
            twin=None if clean is None else twin_step(unread, clean, token_text=self.token_text, top_k=TOP_TOKENS),
        )
        return lambda: (step, exact) if lens is None else self._with_lens(step, exact, lens)

    def _arrays(self, unread: UnreadPosition, channels: frozenset[Channel]) -> StepArrays:
        """The arrays of `channels`; `difference` where there is a twin to differ from."""

        def read(wanted: frozenset[Channel]) -> StepArrays:
            return unread.captured.arrays(unread.index, channels=wanted, chosen_id=unread.chosen_id, pair=self._pair)

        wanted = channels - {"difference"}
        if "difference" not in channels or unread.clean is None:
            return read(wanted)
        sources = difference_sources(self._info)
        whole = read(wanted | sources)
        found = differences(whole, unread.clean.captured, unread, pair=self._pair, info=self._info)
        unwanted = {name: None for name, channel in _CHANNEL_OF.items() if channel not in wanted}
        return replace(whole, difference=found, **unwanted)

    def _measured(self, unread: UnreadPosition, exact: StepArrays) -> CausalEffects | None:
        """The newest position's strongest components, measured; none where that failed."""
        direct, captured = exact.direct, unread.captured
        if direct is None:
            only: frozenset[Channel] = frozenset(("direct_logit",))
            direct = captured.arrays(unread.index, channels=only, chosen_id=unread.chosen_id, pair=self._pair).direct
        if direct is None:
            return None
        try:
            return causal_effects(captured, direct)
        except EngineError as error:  # the token was made and must be told, measured or not
            _log.error("position %d could not be measured: %s", unread.pos, error)
            return None

    def _with_lens(self, step: Step, exact: StepArrays, lens: Future[LensRows]) -> MadeStep:
        fault = lens.exception()
        if fault is not None:  # the token was made and must be told, lens or not
            _log.error("the logit lens of position %d failed: %r", step.pos, fault)
            return step, exact
        rows = lens.result()
        texts = [self.token_text(int(token_id)) for token_id in rows.token_id]
        return msgspec.structs.replace(step, lens_texts=texts), replace(exact, lens=rows)
