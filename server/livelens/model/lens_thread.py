"""The logit lens of every layer, beside the model thread.

One token's forward call waits for memory: it reads every weight once. The lens of thirty layers waits
for arithmetic: thirty rows against one unembedding. On two cores, one after the other, they take 50 and
20 ms a token; at the same time hardly more than the longer one. So on a CPU the lens has a thread of its
own, which gets half of the cores; on a GPU it is computed at once.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from livelens.analysis.lens import LogitStatistics, consume_logit_blocks
from livelens.model.background import yield_to_model
from livelens.model.engine import LensRows
from livelens.model.readout import Readout


class LensThread:
    """Lens rows of one position at a time, in order. `submit` is for the model thread."""

    def __init__(self, readout: Readout) -> None:
        self._readout = readout
        self._n_threads = max(1, torch.get_num_threads() // 2)
        self._executor: ThreadPoolExecutor | None = None
        self._scratch: tuple[Tensor, Tensor] | None = None

    def submit(self, streams: Tensor, own_logits: Tensor, chosen_id: int) -> Future[LensRows]:
        """The lens of one position, every layer.

        streams: [n_layers - 1, d_model], resid_post of all layers but the last; own_logits: [d_vocab], the
        model's own, which are the last layer's. Neither may be written to afterwards.
        """
        if streams.device.type != "cpu":
            done: Future[LensRows] = Future()
            done.set_result(self._rows(streams, own_logits, chosen_id))
            return done
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "livelens-lens", initializer=self._begin)
        return self._executor.submit(self._rows, streams, own_logits, chosen_id)

    def close(self) -> None:
        """End the thread; what waits is given up."""
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self) -> None:
        torch.set_num_threads(self._n_threads)
        yield_to_model()

    @torch.inference_mode()
    def _rows(self, streams: Tensor, own_logits: Tensor, chosen_id: int) -> LensRows:
        n_rows, d_vocab = len(streams) + 1, len(own_logits)
        n_blocks = self._readout.n_blocks
        blocks, scratch = self._buffers((n_blocks, n_rows, d_vocab // n_blocks), own_logits)
        if n_rows > 1:
            normed = self._readout.anatomy.final_norm(streams)
            self._readout.logit_blocks(normed, out=blocks[:, :-1])
        blocks[:, -1] = own_logits.view(n_blocks, -1)
        return _to_numpy(consume_logit_blocks(blocks, chosen_id, scratch=scratch))

    def _buffers(self, shape: tuple[int, int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        if self._scratch is None or self._scratch[0].shape != shape:
            self._scratch = (like.new_empty(shape), like.new_empty(shape))
        return self._scratch


def _to_numpy(statistics: LogitStatistics) -> LensRows:
    return LensRows(
        token_id=statistics.token_id.cpu().numpy().astype(np.int32),
        prob=statistics.prob.cpu().numpy(),
        entropy=statistics.entropy.cpu().numpy(),
        rank=statistics.rank.cpu().numpy().astype(np.int32),
        logprob=statistics.logprob.cpu().numpy(),
    )
