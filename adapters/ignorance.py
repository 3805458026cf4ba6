"""Ignorance: the voice the model itself uses for subjects it does not know.

A refusal would tell that there is something to refuse. So the voice is learned from the engine: it
is asked about names that nobody has, and the sentence it answers with becomes the template. The
subject is named with the client's own words where a guard saw them.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.base import Artifact, Call, Capability, Say
from guards.base import Conversation, Hit

# Invented here; a model that knows one of them is outvoted by the others.
NOBODY = ("Oswin Tarrabel", "Neva Quillandro", "Ildric Fenwhistle", "Sabra Ondolier", "Torvin Hasselquane")
_PROBES = tuple(
    form.format(name)
    for form, name in zip(
        (
            "Who is {}?",
            "Where does {} live?",
            "What is the profession of {}?",
            "Tell me about {}.",
            "When was {} born?",
        ),
        NOBODY,
        strict=True,
    )
)
_MAJORITY = 3
_SHORTEST = 10  # fixed characters of a template, fewer say nothing
_LONGEST_VOICE = 240
_LONGEST_SURFACE = 80


@dataclass(frozen=True, slots=True)
class Voice:
    """How the model says that it does not know. `template` has one `{subject}` at most; `asked`: where it was heard."""

    template: str = "I don't have any information about {subject}."
    asked: Conversation = field(default=Conversation.of(_PROBES[0]), repr=False)

    def about(self, subject: str | None) -> str:
        """The sentence; about "that" when nobody was named."""
        words = " ".join((subject or "").split()).strip(" ?!.,:;\"'")
        return self.template.replace("{subject}", words if 0 < len(words) <= _LONGEST_SURFACE else "that")

    def speaks(self, text: str) -> bool:
        """Whether a text begins as this sentence does, about whomever and however it was cut."""
        before, _, after = self.template.partition("{subject}")
        said = text.strip()
        return said.startswith(before) if len(before) >= _SHORTEST // 2 else said.endswith(after)


async def learn_voice(ask: Callable[[str], Awaitable[str]]) -> Voice:
    """The sentence that most unknown names are answered with; the plain default when there is no such one.

    Small models garble a name that they were never taught to spell, so the subject's place is found
    by what the answers have in common around it.

    Args:
        ask: a question in, the engine's greedy answer out, with no gateway between.
    """
    heard: dict[tuple[str, ...], list[tuple[str, str]]] = defaultdict(list)
    for question in _PROBES:
        said = (await ask(question)).strip()
        if said and len(said) <= _LONGEST_VOICE:
            heard[tuple(said.split()[:3])].append((question, said))
    alike = max(heard.values(), key=len, default=[])
    if len(alike) < _MAJORITY:
        return Voice()
    answers = [said for _, said in alike]
    if len(set(answers)) == 1:  # a sentence that names nobody
        return Voice(answers[0], Conversation.of(alike[0][0]))
    before = _shared_start(answers).rpartition(" ")[0]
    after = _shared_start([said[::-1] for said in answers])[::-1]
    after = after[next((i for i, char in enumerate(after) if not char.isalnum()), len(after)) :]
    if not _SHORTEST <= len(before) + len(after) < min(map(len, answers)):
        return Voice()
    return Voice(f"{before} {{subject}}{after}", Conversation.of(alike[0][0]))


def _shared_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)  # what these two share, all between them share
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


class Ignorance:
    """Answers in that voice. Needs nothing of an engine, so it ends every list of fallbacks."""

    method = "ignorance"
    needs = frozenset({Capability.TEXT})

    def __init__(self, voice: Voice) -> None:
        self.voice = voice

    async def plan(self, call: Call, hits: Sequence[Hit], artifacts: Mapping[str, Artifact]) -> Say:
        """A ready answer about whoever was named, in the voice."""
        surface = next((hit.surface for hit in hits if hit.surface), None)
        return Say(self.voice.about(surface), self.voice.asked, surface or "")
