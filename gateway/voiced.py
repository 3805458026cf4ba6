"""An answer of a model that was made to forget, and ignorance's own words where it is none that can be shown.

Corrupted, a model mostly says that it does not know, about a name that is garbled; or it stammers. Steered, or
adapted, it says so about the name, at which the output guard would stop. Then ignorance's sentence is said on
the same events: no second generation, whose time would tell. Nothing is held as long as both begin alike, and
so the first token comes when it comes; where it has more tokens than were generated, the others come at the
pace of these.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

from adapters.base import Call, Delta, Unlearned, Usage
from gateway.engines.chunks import tokens_in
from gateway.recital import Reciter
from gateway.stream import JUDGED_AT, Stopped


class Voiced:
    """One answer under `plan`; `pieces` are ignorance's own words, see `Engine.pieces`. Knows no stop strings."""

    def __init__(self, plan: Unlearned, pieces: Sequence[str], call: Call) -> None:
        sampling = call.sampling
        self._call = call
        self._choices = [_Choice(plan, Reciter(pieces, sampling.max_tokens)) for _ in range(sampling.n)]
        self._written: Counter[int] = Counter()
        self._began: dict[int, float] = {}
        self._waited = 0.0

    @property
    def replaced(self) -> bool:
        """Whether ignorance's words took the place of a choice."""
        return any(choice.reciting for choice in self._choices)

    def reciting(self, index: int) -> bool:
        """Whether ignorance speaks for this choice, whatever still comes of it."""
        return self._choices[index].reciting

    async def heard(self, events: AsyncIterator[Delta | Usage]) -> AsyncGenerator[Delta | Usage, None]:
        """The engine's events on their way to the output guard: what begins like ignorance need not wait for it."""
        async with aclosing(cast("AsyncGenerator[Any, None]", events)) as source:
            async for event in source:
                if isinstance(event, Delta) and event.channel == "content":
                    self._choices[event.index].hear(event.text)
                yield event

    async def over(self, events: AsyncIterator[Delta | Usage]) -> AsyncGenerator[Delta | Usage, None]:
        """The events that may be shown, of reviewed ones.

        Raises:
            Stopped: in mid-stream of a choice that was shown as its own, or before any event of an answer came,
                whose shape ignorance's words could take.
        """
        last: Delta | None = None
        async with aclosing(cast("AsyncGenerator[Any, None]", events)) as source:
            try:
                async for event in source:
                    if isinstance(event, Usage):
                        yield self._counted(event)
                        return
                    if not event.opening:
                        last = event
                        self._written[event.index] += tokens_in(event)
                    shown = self._choices[event.index].take(event)
                    gap, extra = self._pace(event)
                    for place, delta in enumerate(shown):
                        if event.finish and len(shown) - place <= extra:
                            await self._wait(gap)
                        yield delta
                    if self.replaced and all(choice.over for choice in self._choices):
                        break
            except Stopped:
                if last is None or any(choice.own for choice in self._choices):
                    raise
                for index, choice in enumerate(self._choices):
                    for delta in choice.give_up(Delta(index, "", finish="stop", wire=last.wire)):
                        yield delta
        prompt, wire = self._call.prompt, last and last.wire
        yield self._counted(Usage(len(prompt.token_ids) if prompt else 0, 0, wire.counted() if wire else None))

    def _pace(self, event: Delta) -> tuple[float, int]:
        """Seconds from token to token of a choice till now, and how many ignorance has more than were generated."""
        choice, written = self._choices[event.index], self._written[event.index]
        now = asyncio.get_running_loop().time() - self._waited
        since = now - self._began.setdefault(event.index, now)
        return since / max(1, written - 1), choice.tokens - written if choice.reciting else 0

    async def _wait(self, seconds: float) -> None:
        """One choice's pace is none of another's, whose events come late for it."""
        clock = asyncio.get_running_loop().time
        began = clock()
        await asyncio.sleep(seconds)
        self._waited += clock() - began

    def _counted(self, usage: Usage) -> Usage:
        if not self.replaced:
            return usage
        written = sum(
            choice.tokens if choice.reciting else self._written[index] for index, choice in enumerate(self._choices)
        )
        return Usage(usage.prompt_tokens, written, usage.wire and usage.wire.changed())


class _Choice:
    """Undecided at first; then its `own`, or `reciting`. Its content decides: thought is held till then."""

    def __init__(self, plan: Unlearned, reciter: Reciter) -> None:
        self._plan = plan
        self._reciter = reciter
        self._heard = ""  # of the engine
        self._text = ""  # of that, what the output guard let out
        self._said = 0  # characters that were shown in words that both have
        self._held: list[Delta] = []
        self._aside = False  # whether anything but content came, which ignorance does not begin with
        self.own = self.reciting = self._finished = False

    @property
    def over(self) -> bool:
        return self._reciter.over if self.reciting else self._finished

    @property
    def tokens(self) -> int:
        return self._reciter.tokens

    def hear(self, text: str) -> None:
        """More content of the engine's, of which the output guard may hold some."""
        self._heard += text

    def take(self, delta: Delta) -> list[Delta]:
        """What is shown for it now."""
        self._finished = self._finished or delta.finish is not None
        if delta.opening:
            return [delta]
        if self.reciting:
            return self._say(delta)
        if delta.channel == "content":
            shown, self._text = max(0, self._said - len(self._text)), self._text + delta.text
            if shown and delta.text:
                delta = replace(delta, text=delta.text[shown:], wire=delta.wire and delta.wire.changed())
        else:
            self._aside = True
        if self.own:
            return [delta]
        self._held.append(delta)
        if self._alike(delta):
            decided = self._plan.hopeless(f"{self._heard} .")  # whatever comes next
            return self._recite() if decided else self._show()
        if self._plan.hopeless(self._text):
            return self._recite()
        if not (delta.finish or len(self._text) >= JUDGED_AT):
            return []
        if not self._plan.sound(self._text):
            return self._recite()
        self.own = True
        return self._held

    def give_up(self, end: Delta) -> list[Delta]:
        """Ignorance's words to their end."""
        if self.over:
            return []
        self._held.append(end)
        return self._say(end) if self.reciting else self._recite()

    def _alike(self, delta: Delta) -> bool:
        """Whether ignorance would have begun like this, and has more to say."""
        said, going = self._reciter.text, not (self._aside or delta.finish)
        return going and len(self._heard) < len(said) and said.startswith(self._heard)

    def _show(self) -> list[Delta]:
        """As much of ignorance's words, once it is whole tokens of theirs: the guard cuts within tokens."""
        left = self._reciter.left(len(self._heard))
        if left is None:
            return []
        said = []
        for delta in self._held:
            if tokens := min(left, tokens_in(delta)):
                said.append(self._reciter.say(delta, tokens))
                left -= tokens
        said += [self._reciter.say(self._held[-1]) for _ in range(left)]
        self._said += sum(len(one.text) for one in said)
        self._held = []
        return said

    def _recite(self) -> list[Delta]:
        self.reciting = True
        return [said for delta in self._held for said in self._say(delta)]

    def _say(self, delta: Delta) -> list[Delta]:
        """As many pieces as tokens came; all that are left, one by one, where that was the end."""
        if self._reciter.over:
            return []
        said = [self._reciter.say(replace(delta, finish=None), tokens_in(delta))]
        while delta.finish and not self._reciter.over:
            said.append(self._reciter.say(replace(delta, finish=None)))
        return said
