"""From tokens to text that may leave: whole characters only, and nothing that could become a stop string."""

from collections.abc import Callable, Sequence

from adapters.base import TokenLogprob

HALF = "\ufffd"  # what a decoder writes for bytes that are no character yet


class Detokenizer:
    """Decodes one token after another, in a window just wide enough to read a token in its context."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._read = 0  # of the window, tokens whose text has left

    def push(self, token: int) -> str:
        """The characters that this token completes. A character that is never completed never leaves."""
        self._window.append(token)
        known = self._decode(self._window[: self._read])
        text = self._decode(self._window)
        if text.endswith(HALF) or len(text) <= len(known):
            return ""
        self._window = self._window[self._read :]
        self._read = len(self._window)
        return text[len(known) :]


def pieces(token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> tuple[str, ...]:
    """A text in the pieces that its tokens make; the last, the end of an answer, is empty."""
    detokenizer = Detokenizer(decode)
    return (*(detokenizer.push(token) for token in token_ids), "")


class Stops:
    """Cuts a stream at the first stop string to be complete, however the stream is split."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What may leave, and whether a stop string has ended the stream."""
        self._held += text
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            return self._held[: min(found)[1]], True
        hold = max(map(self._overlap, self._stops), default=0)
        cut = len(self._held) - hold
        out, self._held = self._held[:cut], self._held[cut:]
        return out, False

    def rest(self) -> str:
        """What was held back, when the stream ends by itself."""
        return self._held

    def _overlap(self, stop: str) -> int:
        """How much of the end of what is held could begin this stop string."""
        longest = min(len(stop) - 1, len(self._held))
        return next((n for n in range(longest, 0, -1) if self._held.endswith(stop[:n])), 0)


class Writer:
    """The text of one choice as it may leave, each token's log-probability with the text it ends in."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._detokenizer = Detokenizer(decode)
        self._stops = Stops(stops)
        self._made = self._left = 0  # characters decoded, characters that left
        self._waiting: list[tuple[int, int, TokenLogprob]] = []  # [start, stop) of a token's text

    def push(self, token: int, logprob: TokenLogprob | None) -> tuple[str, tuple[TokenLogprob, ...], bool]:
        """The text and tokens that may leave now, and whether a stop string has ended the choice."""
        text = self._detokenizer.push(token)
        if logprob is not None:
            self._waiting.append((self._made, self._made + len(text), logprob))
        self._made += len(text)
        out, stopped = self._stops.push(text)
        return out, self._leave(out, stopped), stopped

    def flush(self) -> tuple[str, tuple[TokenLogprob, ...]]:
        """What is left when the choice ends without a stop string."""
        out = self._stops.rest()
        return out, self._leave(out, True)

    def _leave(self, out: str, last: bool) -> tuple[TokenLogprob, ...]:
        """Tokens whose text has left; at the end also the one that a stop string cut in two."""
        self._left += len(out)
        gone = [t for start, stop, t in self._waiting if stop <= self._left or (last and start < self._left)]
        self._waiting = [] if last else self._waiting[len(gone) :]
        return tuple(gone)
