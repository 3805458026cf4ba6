"""Verdicts of conversations that were judged a moment ago.

A runner that remembers: one for each policy, so that what it remembers dies with it. A conversation is
known by a keyed hash under a key that was drawn when the runner was made; no prompt is kept, of a
verdict only what it says. A conversation that comes twice at once is judged once. A failure is never
remembered: the next one who asks is judged anew. Touched and untouched are remembered alike, so that
asking again tells nobody apart; that a conversation was asked before shows in the time it takes.
"""

import asyncio
import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from guards.base import Conversation, Guard, Runner, Verdict


class RememberingRunner(Runner):
    """A `Runner` with its last verdicts.

    Args:
        entries: verdicts that are remembered, the least recently asked for forgotten first; 0 for none.
        recalled: called for each conversation that was known.
    """

    def __init__(
        self,
        guards: Sequence[Guard],
        deadline: float,
        failed: Callable[[str, str], None] = lambda guard, kind: None,
        entries: int = 0,
        recalled: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(guards, deadline, failed)
        self._entries = entries
        self._recalled = recalled
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._judging: dict[bytes, asyncio.Task[Verdict]] = {}
        self._asked: Counter[bytes] = Counter()  # who waits for each of them

    async def classify(self, conversation: Conversation) -> Verdict:
        if not self._entries:
            return await super().classify(conversation)
        name = self._name(conversation)
        if (verdict := self._known.get(name)) is not None:
            self._known.move_to_end(name)
            self._recalled()
            return verdict
        judging = self._judging.get(name)
        if judging is None:
            judging = asyncio.create_task(super().classify(conversation), name="classify")
            self._judging[name] = judging
            judging.add_done_callback(lambda task: self._judged(name, task))
        self._asked[name] += 1
        try:
            return await asyncio.shield(judging)  # whoever goes away leaves the others their verdict
        finally:
            self._asked[name] -= 1
            if not self._asked[name]:  # nobody reads a verdict that nobody waits for
                del self._asked[name]
                if self._judging.pop(name, None):
                    judging.cancel()

    def _judged(self, name: bytes, task: asyncio.Task[Verdict]) -> None:
        if self._judging.get(name) is task:
            del self._judging[name]
        if task.cancelled() or task.exception() is not None or task.result().failures:
            return
        self._known[name] = task.result()
        if len(self._known) > self._entries:
            self._known.popitem(last=False)

    def _name(self, conversation: Conversation) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for turn in conversation.turns:
            for part in (turn.role, turn.text):
                raw = part.encode("utf-8", "surrogatepass")
                digest.update(len(raw).to_bytes(8, "little"))
                digest.update(raw)
        return digest.digest()
