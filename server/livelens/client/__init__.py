"""A Python client of the protocol that the page speaks: `async with connect(url) as client: ...`.

The client itself is in `client.py`; what it asks in `questions.py`, `lenses.py`, `comparison.py`, `directions.py` and
`rank_one_edits.py`, and gets in `answers.py`; the run that it follows in `run.py`, a position of it in
`step_data.py`; the line, and coming back when it is lost, in `connection.py`.
"""

from livelens.client.answers import Attention, Values
from livelens.client.client import Client, ablate, connect
from livelens.client.errors import LivelensError
from livelens.client.run import ClientRun
from livelens.client.step_data import StepData

__all__ = ["Attention", "Client", "ClientRun", "LivelensError", "StepData", "Values", "ablate", "connect"]
