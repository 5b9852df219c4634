"""A helper process that answers one JSON line per request; its model and its clock are its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

_Request = TypeVar("_Request", bound=msgspec.Struct)
_Answer = TypeVar("_Answer", bound=msgspec.Struct)


class HelperProcess:
    """The parent's side: `ask` sends a request and waits for its answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, request: msgspec.Struct, answer: type[_Answer]) -> _Answer:
        """The answer, which is of this class; raises RuntimeError when the process died over it."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the helper process has no pipes")
        stdin.write(msgspec.json.encode(request).decode() + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"a helper process ended with {self._process.wait()} at {request}")
        return msgspec.json.decode(line, type=answer)


@contextmanager
def helper(module: str, arguments: Sequence[str]) -> Iterator[HelperProcess]:
    """`python -m MODULE ARGUMENTS`, killed afterwards."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield HelperProcess(process)
        finally:
            process.kill()


def answer_requests(kind: type[_Request], handle: Callable[[_Request], msgspec.Struct]) -> None:
    """The helper's side: until standard input ends. What libraries print goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        answers.write(msgspec.json.encode(handle(msgspec.json.decode(line, type=kind))).decode() + "\n")
        answers.flush()
