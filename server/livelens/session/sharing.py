"""Viewers who look at the same: each is told what another selects, and which run it goes to.

They name one key, which nobody can guess: whoever holds it may look along. Nothing is kept once the last has gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from livelens.protocol.messages import Event, RunShared, SelectionChanged, SetSelection

if TYPE_CHECKING:
    from livelens.session.session import Viewer


@dataclass(slots=True)
class _Group:
    viewers: dict[str, Viewer] = field(default_factory=dict)
    run: RunShared | None = None
    selection: SelectionChanged | None = None


class Sharing:
    """The groups of one session. `tell` queues an event for a viewer."""

    def __init__(self, tell: Callable[[Viewer, Event], None]) -> None:
        self._tell = tell
        self._groups: dict[str, _Group] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def enter(self, viewer: Viewer, key: str | None) -> None:
        """Leave the group of before, and join that of `key`, which is told where this viewer is, or tells it."""
        self.leave(viewer)
        viewer.share_key = key
        if key is None:
            return
        group = self._groups.setdefault(key, _Group())
        group.viewers[viewer.viewer_id] = viewer
        if group.run is not None and group.run.run_id != viewer.run_id:
            self._tell(viewer, group.run)
        elif viewer.run_id is not None:
            self.went(viewer, viewer.run_id)
        if group.selection is not None:
            self._tell(viewer, group.selection)

    def leave(self, viewer: Viewer) -> None:
        """The viewer shares no longer, or has gone."""
        key, viewer.share_key = viewer.share_key, None
        group = self._groups.get(key) if key is not None else None
        if key is None or group is None:
            return
        group.viewers.pop(viewer.viewer_id, None)
        if not group.viewers:
            del self._groups[key]

    def went(self, viewer: Viewer, run_id: str) -> None:
        """The viewer went to this run by itself: the others are told."""
        if viewer.share_key is None:
            return
        group = self._groups[viewer.share_key]
        if group.run is not None and group.run.run_id == run_id:
            return
        group.run = RunShared(run_id=run_id, author=viewer.viewer_id)
        for other in group.viewers.values():
            if other is not viewer and other.run_id != run_id:
                self._tell(other, group.run)

    def select(self, viewer: Viewer, command: SetSelection) -> None:
        """Tell the group, the viewer included. Only for a viewer that shares."""
        assert viewer.share_key is not None
        group = self._groups[viewer.share_key]
        group.selection = SelectionChanged(component=command.component, pos=command.pos, author=viewer.viewer_id)
        answer = msgspec.structs.replace(group.selection, request_id=command.request_id)
        for other in group.viewers.values():
            self._tell(other, answer if other is viewer else group.selection)
