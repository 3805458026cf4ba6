"""Answers that are text already, paced and counted without a tokenizer: one word a delta."""

import re
from collections import deque
from collections.abc import Iterator, Sequence

from adapters.base import Delta, Sampling, Usage
from gateway.engines.text import Stops


def words(text: str) -> list[str]:
    """The text in pieces of one word, each with the white space before it; all of it, in order."""
    return re.findall(r"\s*\S+|\s+$", text)


def estimate(*texts: str) -> int:
    """About how many tokens some texts have together: four for three words. Only a tokenizer counts."""
    return -(-sum(len(text.split()) for text in texts) * 4 // 3)


def recite(answers: Sequence[str], sampling: Sampling) -> Iterator[Delta]:
    """Choice i says answer i: a word of each in turn, the last delta of each with its finish.

    Stop strings and `max_tokens`, by the estimate of three words for four tokens, end a choice early.
    """
    choices = deque(_choice(index, answer, sampling) for index, answer in enumerate(answers))
    while choices:
        choice = choices.popleft()
        delta = next(choice)
        yield delta
        if delta.finish is None:
            choices.append(choice)


def _choice(index: int, answer: str, sampling: Sampling) -> Iterator[Delta]:
    stops, pieces = Stops(sampling.stop), words(answer)
    limit = len(pieces) if sampling.max_tokens is None else max(1, sampling.max_tokens * 3 // 4)
    for piece in pieces[:limit]:
        text, stopped = stops.push(piece)
        if stopped:
            yield Delta(index, text, finish="stop")
            return
        if text:
            yield Delta(index, text)
    yield Delta(index, stops.rest(), finish="length" if limit < len(pieces) else "stop")


def usage(prompt: Sequence[str], written: Sequence[str]) -> Usage:
    """An estimated usage."""
    return Usage(estimate(*prompt), estimate(*written))
