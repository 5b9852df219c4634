"""A Python client of the protocol that the page speaks: `async with connect(url) as client: ...`.

The client itself is in `client.py`; what it asks in `questions.py`, `lenses.py`, `comparison.py` and
`directions.py`; the run that it follows in `run.py`; the line, and coming back when it is lost, in `connection.py`.
"""

from livelens.client.client import Client, ablate, connect
from livelens.client.run import Attention, ClientRun, LivelensError, StepData, Values

__all__ = ["Attention", "Client", "ClientRun", "LivelensError", "StepData", "Values", "ablate", "connect"]
