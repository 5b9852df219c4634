"""How many cores one torch operation uses, on a CPU.

An operation split over cores ends when its slowest part does. For one new token the parts are tiny, and
where anything else wants the cores (a browser that draws, say) each waits for a time slice: measured
on two busy cores, one token of the shipped model took 50 ms on one core and 250 to 700 ms on two,
and on idle cores the same 50. So small work runs on one core (`narrow`), and only the few products
that read a hundred megabytes get all of them (`wide`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_outer = threading.local()
# So few that a browser that draws takes one of them: split over all, a piece of 0.2 s took 4 s.
_FEW_CORES = 4


@contextmanager
def narrow(*, when: bool = True) -> Iterator[None]:
    """Inside, this thread's torch operations use one core (where `when`)."""
    before = torch.get_num_threads()
    if before == 1 or not when:
        yield
        return
    _outer.n_threads = before
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        del _outer.n_threads


@contextmanager
def narrow_on_few() -> Iterator[None]:
    """Inside, one core where there are so few that something else soon wants one of them."""
    with narrow(when=torch.get_num_threads() <= _FEW_CORES):
        yield


@contextmanager
def wide() -> Iterator[None]:
    """Inside, within `narrow`, all cores that there were outside it; elsewhere nothing changes."""
    n_threads = getattr(_outer, "n_threads", None)
    if n_threads is None:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(1)
