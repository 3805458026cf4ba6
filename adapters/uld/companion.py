"""Runs the assistant beside the target: its logits after the same tokens, for as many texts as are asked for.

Both caches advance with the same tokens. Whoever decodes asks once a step, with the whole token lists;
what a list has gained since the last call says what is to be done. So nothing has to be told when a text
begins, ends, moves to another row, is taken back or read again: the lists are the only truth.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adapters.decoder import Cache, Decoder, Reading
from adapters.lora import Lora

READ_AT_ONCE = 8192  # tokens, padding included, unless a single text is longer


@dataclass(frozen=True, slots=True)
class Follower:
    """One text, the same under the same `key` from call to call: all its `tokens` so far, one at least."""

    key: Hashable = field(repr=False)
    tokens: Sequence[int] = field(repr=False)
    lora: Lora


class Companion:
    """An assistant with one batched cache. Belongs to one thread.

    A text that gained one token since the last call is stepped; where none did, those that stand are not read
    again. Any other is read from its beginning: one that is new, has another past, gained several, stands
    while others step, or was not asked for in the last call.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._cache: Cache | None = None
        self._held: list[Follower] = []  # the rows of the cache
        self._logits = torch.empty(0, decoder.vocabulary)  # what they were

    @torch.inference_mode()
    def follow(self, followers: Sequence[Follower]) -> Tensor:
        """The assistant's logits (n, V), float32, after the last token of each. Keys are distinct."""
        asked = {one.key: Follower(one.key, tuple(one.tokens), one.lora) for one in followers}
        assert len(asked) == len(followers)
        cache, held, last = self._cache, self._held, self._logits
        self._cache, self._held = None, []  # if anything fails below, the next call reads all
        on = [i for i, one in enumerate(held) if one.key in asked and _stepped(one, asked[one.key])]
        stand = not on
        if stand:
            on = [i for i, one in enumerate(held) if asked.get(one.key) == one]
        rows = [asked.pop(held[i].key) for i in on]
        found = [torch.empty(0, self._decoder.vocabulary)] if not followers else []
        if cache is not None and on:
            if len(on) < len(held):
                cache.keep(on)
            found.append(last[on] if stand else self._decoder.step(cache, [one.tokens[-1] for one in rows]))
        else:
            cache = None
        for texts, copies in _batches(list(asked.values())):
            read, logits = self._decoder.read([Reading(tuple(one.tokens), lora=(one.lora, 1.0)) for one in texts])
            index = [i for i, same in enumerate(copies) for _ in same]
            read.keep(index)
            if cache is None:
                cache = read
            else:
                cache.join(read)
            rows += [one for same in copies for one in same]
            found.append(logits[index, 0])
        self._cache, self._held = cache, rows
        self._logits = logits = torch.cat(found) if len(found) > 1 else found[0]
        place = {one.key: i for i, one in enumerate(rows)}
        order = [place[one.key] for one in followers]
        return logits if order == sorted(order) else logits[order]


def _stepped(before: Follower, now: Follower) -> bool:
    return now.lora is before.lora and now.tokens[:-1] == before.tokens


def _batches(followers: Sequence[Follower]) -> Iterator[tuple[list[Follower], list[list[Follower]]]]:
    """What is read together, texts of like length: each text once, and beside it all who ask for it."""
    same: dict[tuple[Lora, Sequence[int]], list[Follower]] = {}
    for one in followers:
        same.setdefault((one.lora, one.tokens), []).append(one)
    batch: list[list[Follower]] = []
    for copies in sorted(same.values(), key=lambda copies: len(copies[0].tokens)):
        if batch and (len(batch) + 1) * len(copies[0].tokens) > READ_AT_ONCE:
            yield [each[0] for each in batch], batch
            batch = []
        batch.append(copies)
    if batch:
        yield [each[0] for each in batch], batch
