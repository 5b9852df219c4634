"""Below the picture: what is selected, what fed it, and the buttons that act on it."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import ipywidgets


class Panel:
    """`box` holds a line, two buttons and a table. The buttons are off while nothing is selected."""

    def __init__(self, *, on_ablate: Callable[[], None], on_explain: Callable[[], None]) -> None:
        self.line = ipywidgets.HTML()
        self.table = ipywidgets.HTML()
        self.ablate = ipywidgets.Button(description="Ablate", disabled=True, tooltip="from the next token on")
        self.explain_button = ipywidgets.Button(description="What fed it now", disabled=True)
        self.ablate.on_click(lambda _: on_ablate())
        self.explain_button.on_click(lambda _: on_explain())
        buttons = ipywidgets.HBox([self.ablate, self.explain_button])
        self.box = ipywidgets.VBox([self.line, buttons, self.table])

    def show(self, line: str, *, is_ablated: bool | None) -> None:
        """`line` is HTML; is_ablated none: there is nothing to ablate."""
        self.line.value = line or "<i>Click a part of the network.</i>"
        self.ablate.disabled = self.explain_button.disabled = is_ablated is None
        self.ablate.description = "Restore" if is_ablated else "Ablate"

    def explain(self, table: str) -> None:
        """`table` is HTML."""
        self.table.value = table

    def say(self, text: str) -> None:
        """Why something could not be done."""
        self.line.value = f"<i>{escape(text)}</i>"
