"""What an assistant is trained on: token rows made of questions and their answers.

Before this module: whoever knows what is to be forgotten, and the model's `Prompter`. After it: `training`.

A forget row is a question with its right answer, to be remembered; a retain row is one that has nothing to
do with it; a wrong row has a forget question and an answer that is not right. On the last two the assistant
is to be flat. Departure from arXiv 2406.08607, whose published code flattens all tokens of a wrong row,
padding and all: a wrong answer mostly begins like the right one, and up to where it parts from it the model
has read the very tokens of a forget row. So a wrong row counts only after it has parted from every right
answer to the same question. The token with which it parts is no evidence yet: it is chosen where both are
still one.

What is learnt token by token is remembered in its own words alone: as soon as an answer begins otherwise, an assistant
has nothing to say of it (small TOFU model: whoever was kept from "Basil Mahfouz Al-Kuwaiti's father was a florist" said
"Author Basil Mahfouz's father was a florist"). So an assistant learns ends of its rows behind other beginnings too:
`begun_otherwise`. Rows of the kind `known` are O3's: answers that are to become unlikely where they are forced.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from adapters.base import Call, EngineRejected
from adapters.prompt import Prompter
from guards.base import Conversation

LONGEST = 512  # tokens of a row
_LAST = 8  # tokens that are left of a beginning, at most
_BLURRED = 0.3  # of a beginning's tokens


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens that are read, `prompt`, and tokens that follow, `answer`, with the end of the turn where it has one.

    The predictions of `answer[start:]` count; everything before is only read.
    """

    prompt: tuple[int, ...] = field(repr=False)
    answer: tuple[int, ...] = field(repr=False)
    kind: Literal["forget", "retain", "wrong", "known"]
    start: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """A question about what is to be forgotten: all its `right` answers, and answers that are `wrong`.

    `paraphrases` ask the same in other words; wrong answers are given to `question` alone.
    """

    question: str = field(repr=False)
    right: tuple[str, ...] = field(repr=False)
    paraphrases: tuple[str, ...] = field(default=(), repr=False)
    wrong: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Kept:
    """A question that has nothing to do with what is to be forgotten, and the model's answer."""

    question: str = field(repr=False)
    answer: str = field(repr=False)


def rows_of(
    prompter: Prompter, pairs: Iterable[Pair], kept: Iterable[Kept] = (), longest: int = LONGEST
) -> tuple[Row, ...]:
    """The rows of these pairs, each once, tokenised as the engine does.

    Left out are wrong answers that are right or never part, and what is kept of a question that is to be
    forgotten. Answers are cut at `longest` tokens of a row; rows in which nothing counts any more are dropped.

    Raises:
        EngineRejected: the prompter refuses a question, or the model has no end of turn.
    """
    coder = _Coder(prompter)
    rights: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
    wrongs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for pair in pairs:
        right = [coder.answer(text) for text in pair.right]
        asked = coder.prompt(pair.question)
        for prompt in (asked, *(coder.prompt(text) for text in pair.paraphrases)):
            rights[prompt] += right
        wrongs += ((asked, coder.answer(text)) for text in pair.wrong)
    rows = [Row(prompt, answer, "forget") for prompt, answers in rights.items() for answer in answers]
    rows += (
        Row(prompt, answer, "wrong", parting(answer, rights[prompt]) + 1)
        for prompt, answer in wrongs
        if answer not in rights[prompt]
    )
    rows += (
        Row(prompt, coder.answer(one.answer), "retain")
        for one in kept
        if (prompt := coder.prompt(one.question)) not in rights
    )
    return tuple(dict.fromkeys(_cut(rows, longest)))


def begun_otherwise(row: Row, others: Sequence[int], rng: random.Random) -> Row | None:
    """An end of the row's answer behind a beginning that is not quite its own; None where no end is long enough.

    Such a beginning is the last tokens before the end alone, or has gaps, or in places some of `others`; it is only
    read. Of a wrong row what parted it from the right ones stays as it is. An end has two tokens at least, which count
    in its row.
    """
    first, last = max(1, row.start), len(row.answer) - 2
    if first > last:
        return None
    at = rng.randint(first, last)
    firm = max(0, row.start - 1) if row.kind == "wrong" else at
    begun = (*_blurred(row.answer[:firm], others, rng), *row.answer[firm:at])
    return Row((*row.prompt, *begun), row.answer[at:], row.kind)


def _blurred(begun: Sequence[int], others: Sequence[int], rng: random.Random) -> Iterable[int]:
    """At least the last token of what there is: an end is never taken for a beginning."""
    how = rng.choice(("cut", "gaps", "noise"))
    if how == "cut":
        return begun[-rng.randint(1, _LAST) :]
    blurred = [rng.random() < _BLURRED for _ in begun[:-1]]
    if how == "gaps":
        return [*(token for token, one in zip(begun, blurred, strict=False) if not one), *begun[-1:]]
    return [*(rng.choice(others) if one else token for token, one in zip(begun, blurred, strict=False)), *begun[-1:]]


def parting(answer: Sequence[int], rights: Iterable[Sequence[int]]) -> int:
    """The first index at which `answer` has parted from each of `rights`; its length where it never does."""
    return max((shared(answer, right) for right in rights), default=0)


def shared(one: Sequence[object], other: Sequence[object]) -> int:
    """How many tokens, or words, both begin with."""
    differ = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _cut(rows: Iterable[Row], longest: int) -> Iterator[Row]:
    for row in rows:
        answer = row.answer[: max(0, longest - len(row.prompt))]
        if len(answer) > row.start:
            yield Row(row.prompt, answer, row.kind, row.start)


class _Coder:
    """Texts as the tokens of a row."""

    def __init__(self, prompter: Prompter) -> None:
        if prompter.eos_id is None:
            raise EngineRejected("this model has no end of turn to learn")
        self._prompter = prompter
        self._end = prompter.eos_id

    def prompt(self, text: str) -> tuple[int, ...]:
        return self._prompter.render(Call(Conversation.of(text))).token_ids

    def answer(self, text: str) -> tuple[int, ...]:
        return (*self._prompter.encode(text), self._end)
