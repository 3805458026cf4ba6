"""What the last turn leaves to the turns before it: whom a pronoun means, whose name began earlier.

"And where was she born?" names nobody. Its pronouns are replaced by the subjects that were last named
by the user, by the assistant and by anybody else (system, tools, documents): at most three readings.
Rules rather than a model, on the side of replacing, for a reading too many costs one window. A pronoun
is left alone where its own turn offers somebody before it ("Did Otto Brandt love his mother?", "my
boss and his car"); "it" and "they" count in short questions only. A turn that asks on without any
subject ("And when?") gets one in front. English; of other languages the last turns are read together.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from guards.aliases import common_words, everyday_words, words
from guards.base import Turn

REACH = 7  # turns back in which a subject is looked for: three exchanges and what stands before them
_ELLIPSIS = 5  # words of a turn that may ask on without a subject
_SHORT = 10  # words of a turn whose "it" or "they" is taken for somebody
_READ = 1_000  # characters at either end of a turn in which names are looked for
_PIECES = 4  # lone words that a turn may lend to a name told in pieces

_TOKEN = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_JOINED = re.compile(r"[ \-'’]*|\. ?")
_NEW_SENTENCE = re.compile(r"(?:^|[.?!:\n])[\s\"“(]*$")
_PARTICLES = frozenset(("al", "bin", "da", "de", "del", "der", "di", "dos", "du", "ibn", "la", "van", "von"))
_PERSON = re.compile(
    r"\b(?:he|she|him|her|his|hers|himself|herself"
    r"|(?:this|that|the same) (?:person|man|woman|author|writer|artist|guy|lady))\b",
    re.I,
)
_THING = re.compile(r"\b(?:they|them|their|theirs|its|(?:(?<=about )|(?<=of )|(?<=was )|(?<=did ))it)\b", re.I)
_OTHERS = re.compile(
    r"\b(?:my|your|our|every|each|someone|somebody|everyone|anyone|people)\b|\ban? (?:\w+ ){1,2}(?:who|and|whose)\b",
    re.I,
)
_ASKS_ON = re.compile(
    r"\W*(?:(?:and|but|so|also|(?:what|how) about|tell me more|more|go on)\b"
    r"|(?:when|where|why|how)(?: (?!you)\w+){0,2}\W*$)",
    re.I,
)
_OBJECT = re.compile(r"\s*(?:$|[^\w\s]|(?:about|and|as|at|for|from|in|is|on|or|to|was|when|with)\b)", re.I)


def asked(turns: Sequence[Turn]) -> int:
    """The index of what the model is asked to answer: the last user turn, or the last of all."""
    return max((i for i, turn in enumerate(turns) if turn.role == "user"), default=len(turns) - 1)


def resolved(turns: Sequence[Turn]) -> tuple[str, ...]:
    """The last user turn with its pronouns replaced, once for each subject that they may mean; often empty."""
    last = asked(turns)
    if last < 1:
        return ()
    replace = _replacement(turns[last].text)
    return tuple(replace(subject) for subject in _subjects(turns[max(0, last - REACH) : last])) if replace else ()


def assembled(turns: Sequence[Turn]) -> tuple[str, ...]:
    """Lone words of earlier user turns, each with one of the last: "Mara" in one turn and "Lind" in the next."""
    last = asked(turns)
    if last < 1:
        return ()
    pieces = _pieces(turns[last].text)
    if not pieces:
        return ()
    earlier = [turn.text for turn in turns[max(0, last - REACH) : last] if turn.role == "user"]
    return tuple(f"{first} {second}" for text in earlier for first in _pieces(text) for second in pieces)


def runs(text: str) -> Iterator[tuple[int, str]]:
    """What looks like names, with its place: capitalised words; where there are none, two or more uncommon ones."""
    tokens = list(_TOKEN.finditer(text))
    cased = any(_capital(token[0]) and not (_opens(text, token) and _ordinary(token[0])) for token in tokens)
    found = _runs(text, tokens, cased)
    yield from found if cased else ((start, name) for start, name in found if len(_TOKEN.findall(name)) > 1)


def _runs(text: str, tokens: Sequence[re.Match[str]], cased: bool) -> Iterator[tuple[int, str]]:
    start = stop = end = -1  # of the run; where its last name ends, where its last token does
    for token in tokens:
        word = token[0]
        name = _capital(word) and not (_opens(text, token) and _ordinary(word)) if cased else not _ordinary(word)
        inside = start >= 0 and _JOINED.fullmatch(text, end, token.start()) is not None
        end = token.end()
        if inside and (name or word in _PARTICLES):
            stop = end if name else stop
            continue
        if start >= 0:
            yield start, text[start:stop]
            start = -1
        if name:
            start, stop = token.span()
    if start >= 0:
        yield start, text[start:stop]


def _capital(word: str) -> bool:
    return word[0].isupper() and word not in ("I", "I'm", "I’m")


def _opens(text: str, token: re.Match[str]) -> bool:
    return _NEW_SENTENCE.search(text, max(0, token.start() - 4), token.start()) is not None or token.start() == 0


def _ordinary(word: str) -> bool:
    return all(part in common_words() or part in everyday_words() or part.isdigit() for part in words(word))


def _names(text: str) -> list[str]:
    """Names at both ends of a turn, in order; a possessive without its ending."""
    ends = (text,) if len(text) <= 2 * _READ else (text[:_READ], text[-_READ:])
    return [name.removesuffix("'s").removesuffix("’s") for end in ends for _, name in runs(end)]


def _subjects(turns: Sequence[Turn]) -> tuple[str, ...]:
    """Whom the user last named, what the assistant's last answer began with, and what anything else is about."""
    said: dict[str, str] = {}
    for turn in reversed(turns):
        speaker = turn.role if turn.role in ("user", "assistant") else "others"
        if speaker not in said and (found := _names(turn.text)):
            said[speaker] = found[-1] if speaker == "user" else found[0]
    return tuple(dict.fromkeys(said.values()))


def _replacement(text: str) -> Callable[[str], str] | None:
    """How a subject is put into a turn that needs one; None where the turn speaks for itself."""
    if len(text) > _READ:
        return None
    size = len(text.split())
    named = min((start for start, name in runs(text) if start or " " in name), default=len(text))
    for pronouns in (_PERSON, *((_THING,) if size <= _SHORT else ())):
        found = pronouns.search(text)
        if found and found.start() < named and not _elsewhere(text[: found.start()], pronouns):
            return lambda subject: pronouns.sub(lambda pronoun: _put(pronoun, subject), text)
    if size <= _ELLIPSIS and named == len(text) and _ASKS_ON.match(text):
        return lambda subject: f"{subject}: {text}"
    return None


def _elsewhere(before: str, pronouns: re.Pattern[str]) -> bool:
    """Whether what stands before a pronoun offers somebody else for it."""
    return _OTHERS.search(before) is not None or (pronouns is _THING and len(before.split()) > _SHORT // 2)


def _put(pronoun: re.Match[str], subject: str) -> str:
    word = pronoun[0].lower()
    owns = word in ("his", "their", "its") or (word == "her" and not _OBJECT.match(pronoun.string, pronoun.end()))
    return f"{subject}'s" if owns else subject


def _pieces(text: str) -> list[str]:
    """Names of one word in a turn."""
    return [name for name in _names(text) if _TOKEN.fullmatch(name)][-_PIECES:] if len(text) <= _READ else []
