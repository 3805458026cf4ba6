"""A ready answer at the pace of a real one: said in place of what a generation says, event by event.

What comes from the engine tells when a token is due and how many there were; never what it was.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

from adapters.base import Delta, TokenLogprob


class Reciter:
    """One choice that says a text.

    Args:
        pieces: the text in the pieces that its tokens make; the last, the end of an answer, is empty.
        limit: of tokens; None for no limit.
        known: log-probabilities of the pieces.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        limit: int | None = None,
        known: Sequence[TokenLogprob] = (),
    ) -> None:
        self._pieces = list(pieces[:limit])
        self._finish: Literal["stop", "length"] = "stop" if len(self._pieces) == len(pieces) else "length"
        self._known = known
        self._at = 0
        self.text = "".join(self._pieces)

    @property
    def tokens(self) -> int:
        """Of the whole choice, its end included."""
        return len(self._pieces)

    @property
    def over(self) -> bool:
        """Whether all was said."""
        return self._at == len(self._pieces)

    def left(self, chars: int) -> int | None:
        """Pieces to say until `chars` characters are said; None where that is within a piece."""
        ends = [0, *accumulate(map(len, self._pieces))]
        return max(0, ends.index(chars) - self._at) if chars in ends else None

    def say(self, came: Delta, tokens: int = 1) -> Delta:
        """The next pieces, in place of the `tokens` that came; all that is left, where that was the end."""
        start = self._at
        self._at = len(self._pieces) if came.finish else min(start + tokens, len(self._pieces))
        return Delta(
            came.index,
            "".join(self._pieces[start : self._at]),
            tuple(self._known[start : self._at]),
            self._finish if self.over else None,
            usage=came.usage,
            wire=came.wire and came.wire.changed(),
        )
