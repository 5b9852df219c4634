"""What a viewer on loopback sees: speed, bytes, how soon a toggle holds. Runs in the bench's own process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from livelens.client import ablate, connect
from livelens.protocol.messages import CHANNELS, MEASURED_CHANNELS, Channel, Sampling

PROMPT: Final = "When Mary and John went to the store, John gave a drink to"
WITHOUT_LENS: Final[tuple[Channel, ...]] = ("neurons", "heads", "attention", "residual", "direct_logit")
# All that comes with the generation's own forward calls.
CAPTURED: Final[tuple[Channel, ...]] = tuple(channel for channel in CHANNELS if channel not in MEASURED_CHANNELS)
_BYTES_FROM_POS, _BYTES_TO_POS = 95, 105


@dataclass(frozen=True, slots=True)
class Viewed:
    """One generation as its viewer saw it. `token_bytes`: mean frame bytes about position 100; none if shorter."""

    secs: float
    token_ids: list[int]
    token_bytes: float | None


async def generate(url: str, *, channels: Sequence[Channel], n_tokens: int, prompt: str = PROMPT) -> Viewed:
    """From the command sent to the last generated step received, every subscribed tensor rebuilt."""
    async with connect(url) as client:
        start = time.perf_counter()
        run = await client.start_run(prompt, channels=channels, sampling=_sampling(n_tokens))
        last_pos, secs = run.n_prompt_tokens + n_tokens - 2, 0.0
        marks: dict[int, int] = {}
        async for step in run:
            marks[step.pos] = client.n_bytes_received
            if step.pos == last_pos:
                secs = time.perf_counter() - start
    token_bytes = None
    if _BYTES_TO_POS in marks:
        token_bytes = (marks[_BYTES_TO_POS] - marks[_BYTES_FROM_POS]) / (_BYTES_TO_POS - _BYTES_FROM_POS)
    return Viewed(secs, run.token_ids[run.n_prompt_tokens :], token_bytes)


async def toggle_delays(url: str, *, n_toggles: int) -> list[int]:
    """Positions between the one in progress when a toggle was sent and the first one computed under it."""
    delays: list[int] = []
    async with connect(url) as client:
        # Longer than needed: where the machine is busy this viewer is told late, and a run that has ended takes no set.
        run = await client.start_run(PROMPT, channels=CAPTURED, sampling=_sampling(50 * n_toggles))
        async for step in run:
            if step.pos < run.n_prompt_tokens or step.pos % 4:
                continue
            in_progress = max(run.steps) + 1
            applied = await client.set_interventions(run, [] if len(delays) % 2 else [ablate("L3H1")])
            delays.append(applied.from_pos - in_progress)
            if len(delays) == n_toggles:
                break
        await client.stop(run)
    return delays


def _sampling(n_tokens: int) -> Sampling:
    return Sampling(max_new_tokens=n_tokens, stop_at_eos=False)
