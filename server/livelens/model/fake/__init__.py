"""A small deterministic engine in numpy, without torch: see `engine.py`."""

from livelens.model.fake.engine import FakeEngine

__all__ = ["FakeEngine"]
