"""Holds back what may become a forgotten name, releases the rest at once.

Step 6 of the architecture, exact form: the answer is folded as it comes, and held exactly from the
earliest place where an alias may have begun (the automaton's depth: no fixed delay). A name counts
between word boundaries, so its end is known one character later. On a name the stream stops before
it. What is released does not depend on how the text was cut into chunks.
"""

from collections.abc import Iterator

from guards.lexicon import LexiconView, joined
from guards.text import trace

_TELLING = 4  # characters of a name that are no longer anybody's


class OutputGuard:
    """What may leave: everything but strong aliases of the requests in a view."""

    def __init__(self, view: LexiconView) -> None:
        self._view = view

    def stream(self) -> "Hold":
        """A fresh hold for one choice of one answer."""
        return Hold(self._view)


class Hold:
    """One stream. `stopped` says whether a name came; `request` whose it was."""

    def __init__(self, view: LexiconView) -> None:
        self._view = view
        self._automata = [automata for automata in view.automata if automata.folded is not None]
        self._longest = max((automata.longest for automata in self._automata), default=0)
        self._held = ""  # raw text not yet released
        self._before = ""  # the last folded character released
        self.request: str | None = None

    @property
    def stopped(self) -> bool:
        return self.request is not None

    def feed(self, text: str) -> str:
        """What may leave after `text` came; nothing once stopped."""
        return self._release(text, final=False)

    @property
    def held(self) -> int:
        """Characters that have come and not left."""
        return len(self._held)

    def finish(self, cut: bool = False) -> str:
        """What was held, now that nothing follows; empty when the end makes it a name.

        `cut` says that a limit or a client's stop string ended the text, not the model: the beginning of
        a name is then kept back too, where it is long enough to tell whose.
        """
        begun = len(self._held.strip()) >= _TELLING
        tail = self._release("", final=True)
        return "" if cut and begun else tail

    def _release(self, text: str, final: bool) -> str:
        if self.stopped or not self._automata:
            return "" if self.stopped else text
        raw = self._held + text
        folded, origin = trace(raw)
        found = min(self._names(folded, final), default=None)
        if found is not None:
            _, start, self.request = found
            self._held = ""
            return raw[: origin[start]]
        safe = len(folded) if final else self._safe(folded)
        cut = origin[safe] if safe < len(folded) else len(raw)
        self._before = folded[safe - 1 : safe] or self._before
        self._held = raw[cut:]
        return raw[:cut]

    def _names(self, folded: str, final: bool) -> Iterator[tuple[int, int, str]]:
        """(stop, start, request) of each whole alias; the first to end decides, whatever the chunks."""
        for automata in self._automata:
            for last, (length, requests) in automata.folded.iter(folded):
                start, stop = last + 1 - length, last + 1
                ended = stop < len(folded) or final
                if ended and self._begins(folded, start) and not joined(folded[last], folded[stop : stop + 1]):
                    yield from ((stop, start, request) for request in requests if request in self._view.requests)

    def _begins(self, folded: str, start: int) -> bool:
        return not joined(folded[start - 1] if start else self._before, folded[start])

    def _safe(self, folded: str) -> int:
        """The earliest place from which the rest may still become an alias."""
        for start in range(max(0, len(folded) - self._longest), len(folded)):
            rest = folded[start:]
            if self._begins(folded, start) and any(
                automata.folded.longest_prefix(rest) == len(rest) for automata in self._automata
            ):
                return start
        return len(folded)
