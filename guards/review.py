"""The second look at an answer: sentence by sentence, for requests that the prompt nearly touched.

After it: `gateway.stream` ends the answer, or shows it. Exact watches (`guards.output`) have read the
text before; here an asynchronous reviewer hears the question and whole sentences. It has a deadline: one
that raises, hangs or returns junk stops the answer, and is counted. Where sentences end depends on the
text alone, so as long as the reviewer judges each by itself, what is released does not depend on chunks.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from guards.base import Hit, sane

LONGEST = 300  # characters, about 60 tokens, that are held at most

_SENTENCE = re.compile(rf".{{0,{LONGEST - 1}}}?(?:[.?!…](?=\s)|[\n。？！])|.{{{LONGEST}}}", re.DOTALL)


class Reviewer(Protocol):
    """Reads sentences of an answer with the question they answer. `name` is the label under which it is counted."""

    @property
    def name(self) -> str: ...

    async def review(self, near: Mapping[str, str], sentences: Sequence[str]) -> Sequence[Hit]:
        """The requests of `near` that a sentence gives away; `turns` of a hit are indices into `sentences`.

        `near` holds for each request the text that came near it, which the sentence answers. Each sentence
        is judged by itself. A hit that does not reach its threshold changes nothing.
        """
        ...


class Review:
    """One stream, held until each of its sentences was reviewed.

    Args:
        deadline: seconds for all sentences that are ready at once.
        failed: called with the reviewer's name and `"error"`, `"deadline"` or `"junk"`.
    """

    def __init__(
        self,
        reviewer: Reviewer,
        near: Mapping[str, str],
        deadline: float,
        failed: Callable[[str, str], None] = lambda guard, kind: None,
    ) -> None:
        self._reviewer = reviewer
        self._near = near
        self._deadline = deadline
        self._failed = failed
        self._held = ""
        self.stopped = False

    @property
    def held(self) -> int:
        """Characters that have come and not left."""
        return len(self._held)

    async def feed(self, text: str) -> str:
        """What may leave after `text` came; nothing once stopped."""
        self._held += text
        ready, at = [], 0
        while sentence := _SENTENCE.match(self._held, at):
            ready.append(sentence[0])
            at = sentence.end()
        self._held = self._held[at:]
        return await self._passed(ready)

    async def finish(self) -> str:
        """What was held, now that nothing follows."""
        rest, self._held = self._held, ""
        return await self._passed([rest] if rest else [])

    async def _passed(self, sentences: list[str]) -> str:
        """The sentences before the first that gives something away."""
        asked = [i for i, sentence in enumerate(sentences) if not sentence.isspace()]
        if self.stopped or not asked:
            return "" if self.stopped else "".join(sentences)
        hits = await self._review([sentences[i].strip() for i in asked])
        if hits is None:
            self.stopped = True
            return ""
        bad = [asked[i] for hit in hits if hit.reached for i in hit.turns]
        self.stopped = bool(bad)
        return "".join(sentences[: min(bad)] if bad else sentences)

    async def _review(self, sentences: Sequence[str]) -> Sequence[Hit] | None:
        try:
            async with asyncio.timeout(self._deadline):
                hits = await self._reviewer.review(self._near, sentences)
        except TimeoutError:
            kind = "deadline"
        except Exception:  # whatever a reviewer raises stops the answer; the name is counted, the text never shown
            kind = "error"
        else:
            if sane(hits, len(sentences)):
                return hits
            kind = "junk"
        self._failed(self._reviewer.name, kind)
        return None
