"""What is looked at: shared by a view and the pages in its frames."""

from __future__ import annotations

from dataclasses import dataclass

from livelens.protocol.components import component_id
from livelens.protocol.messages import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A component, none when nothing is selected; and a position, none for the newest token."""

    component: Component | None = None
    pos: int | None = None

    @property
    def name(self) -> str | None:
        """`L12H3`, `L7N1404`, `L5.attn`, `L5.mlp`."""
        return None if self.component is None else component_id(self.component)

    def __str__(self) -> str:
        at = "" if self.pos is None else f"@{self.pos}"
        return f"{self.name or 'nothing'}{at}"
