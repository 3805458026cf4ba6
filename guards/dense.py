"""Judges by likeness: windows are encoded, and each near request says how far they reach.

Before it: `guards.conversation` cuts the windows, `guards.encoder` turns them into vectors,
`guards.index` finds the requests that are near. After it: `guards.base` merges what all guards found.
"""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from guards.base import Conversation, GuardError, Hit
from guards.conversation import LIMIT, Window, windows
from guards.encoder import Encoder
from guards.index import IndexView
from guards.targets import Targets

_INLINE = 2_000_000  # multiplications (rows × windows × d / 100) done on the event loop
_LONG = 4_000  # characters from which windows may not all be encoded


class DenseGuard:
    """Judges by likeness: a hit where the margin of any window reaches the request's threshold.

    Args:
        encoder: whose vectors the view holds.
        view: the requests of one policy.
        scale: multiplies every threshold; an operator's choice, below 1 more is touched.
    """

    name = "dense"

    def __init__(self, encoder: Encoder, view: IndexView, scale: float = 1.0) -> None:
        self._encoder = encoder
        self._view = view
        self._scale = scale

    async def judge(self, conversation: Conversation) -> Sequence[Hit]:
        if not self._view.requests or not self._view.shelves:
            return ()
        long = sum(len(turn.text) for turn in conversation.turns) > _LONG
        if long:  # a megabyte takes half a second, which is the event loop's no longer
            cut = await asyncio.to_thread(windows, conversation, LIMIT, self._view.words)
        else:
            cut = windows(conversation, LIMIT)
        if not cut:
            return ()
        texts = [window.text for window in cut]
        vectors = await self._encoder.encode(texts)
        if not np.isfinite(vectors).all():
            raise GuardError("the encoder returned no numbers")
        if self._view.size * len(texts) * vectors.shape[1] > 100 * _INLINE:
            scored = await asyncio.to_thread(self._view.scores, texts, vectors)
        else:
            scored = self._view.scores(texts, vectors)
        return tuple(hit for targets, scores in scored.values() if (hit := self._hit(targets, scores, cut)))

    def _hit(self, targets: Targets, scores: Mapping[int, float], cut: Sequence[Window]) -> Hit | None:
        """Named by the turns that carry it alone, where there are any, else by all that a window covers."""
        threshold = targets.threshold * self._scale
        over = [cut[i] for i, score in scores.items() if score >= threshold]
        if not over:
            return None
        alone = [window for window in over if len(window.turns) == 1]
        turns = {turn for window in alone or over for turn in window.turns}
        return Hit(targets.request, max(scores.values()), threshold, self.name, tuple(sorted(turns)))
