"""What livelens is compared with: `python -m livelens.bench.peers FOLDER`, in a process of its own.

Besides `model/bridge.py` the only file that imports transformer_lens: here it is the peer.
"""

from __future__ import annotations

import sys
import time

import msgspec

from livelens.bench.json_lines import answer_requests

N_THREADS = 2


class PeerRequest(msgspec.Struct, frozen=True):
    """Make `n_tokens` after `prompt` with the peer of this name."""

    peer: str
    prompt: str
    n_tokens: int


class PeerAnswer(msgspec.Struct, frozen=True):
    """How long it took, and what it made."""

    secs: float
    token_ids: list[int]


class _HuggingFace:
    """Plain `generate`: greedy, KV cache, no hooks."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(N_THREADS)
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._model.generation_config.eos_token_id = None  # go on past the end of the text, as livelens is told to

    def generate(self, prompt: str, n_tokens: int) -> list[int]:
        import torch

        encoded = self._tokenizer(prompt, return_tensors="pt")
        with torch.inference_mode():
            ids = self._model.generate(**encoded, do_sample=False, max_new_tokens=n_tokens)
        return [int(token) for token in ids[0, encoded.input_ids.shape[1] :]]


class _RunWithCache:
    """What a TransformerLens user writes: `run_with_cache` on the growing sequence."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformer_lens.model_bridge import TransformerBridge

        torch.set_num_threads(N_THREADS)
        self._bridge = TransformerBridge.boot_transformers(folder, device="cpu")

    def generate(self, prompt: str, n_tokens: int) -> list[int]:
        import torch

        ids = self._bridge.to_tokens(prompt, prepend_bos=False)
        start = ids.shape[1]
        with torch.inference_mode():
            for _ in range(n_tokens):
                logits, _cache = self._bridge.run_with_cache(ids)
                ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
        return [int(token) for token in ids[0, start:]]


_MAKERS: dict[str, type[_HuggingFace] | type[_RunWithCache]] = {
    "hf_generate": _HuggingFace,
    "run_with_cache": _RunWithCache,
}


class _Peers:
    """Loads a peer at its first request and times each generation."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._ready: dict[str, _HuggingFace | _RunWithCache] = {}

    def handle(self, request: PeerRequest) -> PeerAnswer:
        name = request.peer
        if name not in self._ready:
            self._ready[name] = _MAKERS[name](self._folder)
            self._ready[name].generate(request.prompt, 2)  # the first call warms up
        start = time.perf_counter()
        token_ids = self._ready[name].generate(request.prompt, request.n_tokens)
        return PeerAnswer(time.perf_counter() - start, token_ids)


if __name__ == "__main__":
    answer_requests(PeerRequest, _Peers(sys.argv[1]).handle)
