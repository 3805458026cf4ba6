"""Judges by likeness and by what the request's texts know of its subject.

Before it: `guards.conversation` cuts the windows, `guards.encoder` turns them into vectors,
`guards.index` finds the requests that are near, each of which says how far a window reaches
(`guards.targets`). After it: `guards.base` merges what all guards found, and `guards.review` asks the
same scores again where an answer must be heard before it leaves.
"""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np

from guards.base import Conversation, GuardError, Hit
from guards.conversation import LIMIT, Window, accumulated, windows
from guards.encoder import Encoder
from guards.index import IndexView
from guards.reading import Text
from guards.targets import NEAR, Targets

_INLINE = 2_000_000  # multiplications (rows × windows × d / 100) done on the event loop
_SPREAD = 3  # questions from which a target may be asked for piece by piece
_LONG = 4_000  # characters from which windows may not all be encoded


class DenseGuard:
    """A hit where any window reaches the request's threshold; near, a little below it.

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
        cut = () if long else windows(conversation, LIMIT)
        if long or len(cut) == LIMIT:  # not all is read: what is named first; a megabyte takes half a second
            cut = await asyncio.to_thread(windows, conversation, LIMIT, self._view.words)
        if not cut:
            return ()
        scored = await self._score([Text(window.text) for window in cut])
        users = [i for i, turn in enumerate(conversation.turns) if turn.role == "user"]
        return tuple(hit for one, scores in scored.values() if (hit := self._hit(one, scores, cut, users)))

    async def review(self, near: Mapping[str, str], sentences: Sequence[str]) -> Sequence[Hit]:
        """The requests that a sentence gives away: `guards.review.Reviewer`.

        A sentence is read after what was asked, for "Mara's father" is whoever's the question names; a little
        less is enough there than for a prompt. Where a person is asked for, an entity that is forgotten
        is the answer, and its name is found exactly elsewhere.
        """
        hits: list[Hit] = []
        for asked in dict.fromkeys(near.values()):
            requests = frozenset(request for request, text in near.items() if text == asked)
            scored = await self._score([Text(f"{asked} {sentence}") for sentence in sentences], requests)
            person = Text(asked).reading.asks
            hits += [
                Hit(request, targets.answered(score), targets.reached_at(self._scale), self.name, (i,))
                for request, (targets, scores) in scored.items()
                if not (person and targets.scope == "entity")
                for i, score in scores.items()
            ]
        return hits

    async def _score(
        self, texts: Sequence[Text], requests: frozenset[str] | None = None
    ) -> Mapping[str, tuple[Targets, Mapping[int, float]]]:
        """How far texts reach: request → (its targets, index of a text → score); of these requests, or of the near."""
        vectors = await self._encoder.encode(texts)
        if not np.isfinite(vectors).all():
            raise GuardError("the encoder returned no numbers")
        if requests is not None:
            return self._view.scores_of(requests, texts, vectors)
        if self._view.size * len(texts) * vectors.shape[1] > 100 * _INLINE:
            return await asyncio.to_thread(self._view.scores, texts, vectors, self._scale)
        return self._view.scores(texts, vectors, self._scale)

    def _hit(
        self, targets: Targets, scores: Mapping[int, float], cut: Sequence[Window], users: Sequence[int]
    ) -> Hit | None:
        """Named by the turns that carry it alone, where there are any, else by all that a window covers.

        A request that no turn reaches may be asked for piece by piece: turns that come near add up, and
        where they amount to it all of them carry it.
        """
        threshold = targets.reached_at(self._scale)
        best = max(scores.values())
        if best < threshold and len(users) >= _SPREAD:
            nearness = _nearness(scores, cut, threshold)
            if accumulated([nearness.get(turn, 0.0) for turn in users]) >= 1.0:
                return Hit(targets.request, threshold, threshold, self.name, tuple(sorted(nearness)))
        from_ = threshold if best >= threshold else targets.near_from(self._scale)
        over = [cut[i] for i, score in scores.items() if score >= from_]
        if not over:
            return None
        alone = [window for window in over if len(window.turns) == 1]
        turns = {turn for window in alone or over for turn in window.turns}
        nearest = cut[max(scores, key=lambda i: scores[i])].text
        return Hit(targets.request, best, threshold, self.name, tuple(sorted(turns)), window=nearest)


def _nearness(scores: Mapping[int, float], cut: Sequence[Window], threshold: float) -> dict[int, float]:
    """For each turn that comes near by itself, how near: 0 where near begins, 1 at the threshold."""
    found: dict[int, float] = {}
    for i, score in scores.items():
        near = 1.0 - (threshold - score) / NEAR
        if len(cut[i].turns) == 1 and near > 0.0:
            turn = cut[i].turns[0]
            found[turn] = max(found.get(turn, 0.0), near)
    return found
