"""Viewers who look at the same: selections and runs are told to who gave the key, and to nobody else."""

from __future__ import annotations

import pytest
from tests.unit.session.hub import Hub, SimViewer

from livelens.protocol.messages import (
    Acknowledged,
    Component,
    ErrorReport,
    JoinRun,
    RunShared,
    SelectionChanged,
    SetSelection,
    ShareView,
)

KEY = "a-key-that-nobody-guesses"
HEAD = Component(kind="head", layer=1, index=1)


def share(viewer: SimViewer, key: str | None = KEY) -> None:
    assert isinstance(viewer.ask(ShareView(request_id=viewer.next_id(), key=key)), Acknowledged)


def select(viewer: SimViewer, component: Component | None = HEAD, pos: int | None = None) -> object:
    return viewer.ask(SetSelection(request_id=viewer.next_id(), component=component, pos=pos))


def told(viewer: SimViewer) -> list[object]:
    """What the viewer was told of the group since it was asked last."""
    viewer.drain()
    found = [event for event in viewer.events if isinstance(event, SelectionChanged | RunShared)]
    viewer.events.clear()
    return found


def follow(viewer: SimViewer, run_id: str) -> None:
    viewer.ask(JoinRun(request_id=viewer.next_id(), run_id=run_id, follows=True))


def test_a_selection_is_told_to_the_group_and_to_nobody_else() -> None:
    hub = Hub()
    ann, bob, carl, dora = (hub.viewer() for _ in range(4))
    share(ann)
    share(bob)
    share(carl, "another-key-of-sixteen")
    answer = select(ann, pos=3)
    assert answer == SelectionChanged(component=HEAD, pos=3, author=ann.viewer_id, request_id=ann.newest_id)
    assert told(bob) == [SelectionChanged(component=HEAD, pos=3, author=ann.viewer_id)]
    assert told(carl) == told(dora) == []
    refused = select(dora)
    assert isinstance(refused, ErrorReport) and refused.code == "not_sharing"
    refused = select(ann, Component(kind="head", layer=1, index=9))
    assert isinstance(refused, ErrorReport) and refused.code == "component_out_of_range"
    share(bob, None)
    select(ann, None)
    assert told(bob) == []


def test_who_comes_later_is_told_what_is_looked_at_and_the_last_one_takes_it_along() -> None:
    hub = Hub()
    ann, bob = hub.viewer(), hub.viewer()
    share(ann)
    started = ann.start()
    select(ann)
    share(bob)
    assert told(bob) == [
        RunShared(run_id=started.run.run_id, author=ann.viewer_id),
        SelectionChanged(component=HEAD, pos=None, author=ann.viewer_id),
    ]
    for viewer in (ann, bob):
        hub.session.disconnect(viewer.viewer_id, hub.now)
    assert len(hub.session.sharing) == 0
    late = hub.viewer()
    share(late)
    assert told(late) == []


def test_a_run_that_was_watched_before_is_shared_by_who_comes_first() -> None:
    hub = Hub()
    ann, bob = hub.viewer(), hub.viewer()
    run_id = ann.start().run.run_id
    share(ann)
    share(bob)
    assert told(bob) == [RunShared(run_id=run_id, author=ann.viewer_id)]


def test_going_to_a_run_is_told_and_following_is_not() -> None:
    """However late a follower is, it takes nobody back: two who follow each other must not circle."""
    hub = Hub()
    ann, bob = hub.viewer(), hub.viewer()
    share(ann)
    share(bob)
    first = ann.start().run.run_id
    second = ann.start().run.run_id
    assert [event.run_id for event in told(bob)] == [first, second]
    follow(bob, first)
    assert told(ann) == []
    follow(bob, second)
    assert told(ann) == []
    bob.join(first)  # of its own will
    assert told(ann) == [RunShared(run_id=first, author=bob.viewer_id)]
    follow(ann, first)
    third = bob.start().run.run_id
    assert told(ann) == [RunShared(run_id=third, author=bob.viewer_id)]


@pytest.mark.parametrize("key", ["short", "x" * 65, "with spaces in the key", "ä" * 20])
def test_a_key_that_can_be_guessed_is_refused(key: str) -> None:
    viewer = Hub().viewer()
    viewer.send(ShareView(request_id=viewer.next_id(), key=key))
    viewer.drain()
    assert isinstance(viewer.answers[viewer.newest_id], ErrorReport)
