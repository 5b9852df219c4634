# ruff: noqa: T201
"""Read a recording as numpy arrays: python examples/read_recording.py run.livelens"""

import sys

from livelens.recordings import open_recording

recording = open_recording(sys.argv[1])
print(recording.model_info.model_name, repr(recording.snapshot.prompt), "->", repr(recording.text))
for applied in recording.snapshot.intervention_log:
    print("from position", applied.from_pos, [spec.intervention_id for spec in applied.interventions])
for step in recording.steps:
    print(f"{step.pos:4} {step.text!r:16}", {name: array.shape for name, array in step.tensors.items()})
print(recording.note or "", *recording.problems, sep="\n")
