"""What livelens is compared with, in a process of its own: `python -m livelens.bench.peers FOLDER`.

Reads one JSON request a line (`{"peer": ..., "prompt": ..., "n_tokens": ...}`) and answers with one
(`{"secs": ..., "token_ids": [...]}`), so that its runs can alternate with livelens's on one machine.
The only file besides `model/bridge.py` that may import transformer_lens: here it is the peer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

N_THREADS = 2


@dataclass(frozen=True, slots=True)
class PeerRun:
    """One timed generation."""

    secs: float
    token_ids: list[int]


class Peers:
    """The parent's side of the process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, peer: str, *, prompt: str, n_tokens: int) -> PeerRun:
        """Generate greedily with `hf_generate` or `run_with_cache`; raises RuntimeError when the process died."""
        stdin, stdout = self._pipes()
        stdin.write(json.dumps({"peer": peer, "prompt": prompt, "n_tokens": n_tokens}) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise RuntimeError(f"the peers' process ended with {self._process.wait()}")
        return PeerRun(**json.loads(line))

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the peers' process has no pipes")
        return self._process.stdin, self._process.stdout


@contextmanager
def peers(folder: Path) -> Iterator[Peers]:
    """The peers on the weights in `folder`; their model is loaded on first use."""
    command = [sys.executable, "-m", "livelens.bench.peers", str(folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield Peers(process)
        finally:
            process.kill()


class _HuggingFace:
    """Plain `generate`: greedy, KV cache, no hooks."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(N_THREADS)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def generate(self, prompt: str, n_tokens: int) -> list[int]:
        import torch

        encoded = self._tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            ids = self._model.generate(**encoded, do_sample=False, min_new_tokens=n_tokens, max_new_tokens=n_tokens)
        return [int(token) for token in ids[0, encoded.input_ids.shape[1] :]]


class _RunWithCache:
    """What a TransformerLens user writes: `run_with_cache` on the growing sequence."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformer_lens.model_bridge import TransformerBridge

        torch.set_num_threads(N_THREADS)
        self._bridge: Any = TransformerBridge.boot_transformers(folder, device="cpu")

    def generate(self, prompt: str, n_tokens: int) -> list[int]:
        import torch

        ids = self._bridge.to_tokens(prompt, prepend_bos=False)
        start = ids.shape[1]
        with torch.inference_mode():
            for _ in range(n_tokens):
                logits, _cache = self._bridge.run_with_cache(ids)
                ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        return [int(token) for token in ids[0, start:]]


def main() -> None:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries that print must not spoil the answers
    makers: dict[str, type[_HuggingFace] | type[_RunWithCache]] = {
        "hf_generate": _HuggingFace,
        "run_with_cache": _RunWithCache,
    }
    ready: dict[str, _HuggingFace | _RunWithCache] = {}
    for line in sys.stdin:
        request = json.loads(line)
        name = request["peer"]
        if name not in ready:
            ready[name] = makers[name](sys.argv[1])
            ready[name].generate(request["prompt"], 2)  # first call warms up
        start = time.perf_counter()
        token_ids = ready[name].generate(request["prompt"], request["n_tokens"])
        answers.write(json.dumps({"secs": time.perf_counter() - start, "token_ids": token_ids}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
