"""Ignorance: the voice the model itself uses for subjects it does not know.

A refusal would tell that there is something to refuse. So the voice is learned from the engine: it
is asked about names that nobody has, and the sentence it answers with becomes the template. The
subject is named with the client's own words where a guard saw them.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from adapters.base import Artifact, Call, Capability, Say
from guards.base import Conversation, Hit

# Invented here; a model that knows one of them is outvoted by the others.
_PROBES = (
    ("Oswin Tarrabel", "Who is Oswin Tarrabel?"),
    ("Neva Quillandro", "Where does Neva Quillandro live?"),
    ("Ildric Fenwhistle", "What is the profession of Ildric Fenwhistle?"),
    ("Sabra Ondolier", "Tell me about Sabra Ondolier."),
    ("Torvin Hasselquane", "When was Torvin Hasselquane born?"),
)
_LONGEST_VOICE = 240
_LONGEST_SURFACE = 80


@dataclass(frozen=True, slots=True)
class Voice:
    """How the model says that it does not know. `template` has one `{subject}`; `asked` is where it was heard."""

    template: str = "I don't have any information about {subject}."
    asked: Conversation = field(default=Conversation.of(_PROBES[0][1]), repr=False)

    def about(self, subject: str | None) -> str:
        """The sentence; about "that" when nobody was named."""
        words = " ".join((subject or "").split()).strip(" ?!.,:;\"'")
        return self.template.replace("{subject}", words if 0 < len(words) <= _LONGEST_SURFACE else "that")


async def learn_voice(ask: Callable[[str], Awaitable[str]]) -> Voice:
    """The sentence that most unknown names are answered with; the plain default when there is no such one.

    Args:
        ask: a question in, the engine's greedy answer out, with no gateway between.
    """
    heard: Counter[str] = Counter()
    first: dict[str, str] = {}
    for name, question in _PROBES:
        said = (await ask(question)).strip()
        if said.count(name) == 1 and len(said) <= _LONGEST_VOICE:
            template = said.replace(name, "{subject}")
            heard[template] += 1
            first.setdefault(template, question)
    if not heard:
        return Voice()
    template, votes = heard.most_common(1)[0]
    return Voice(template, Conversation.of(first[template])) if votes > 1 else Voice()


class Ignorance:
    """Answers in that voice. Needs nothing of an engine, so it ends every list of fallbacks."""

    method = "ignorance"
    needs = frozenset({Capability.TEXT})

    def __init__(self, voice: Voice) -> None:
        self.voice = voice

    async def plan(self, call: Call, hits: Sequence[Hit], artifacts: Mapping[str, Artifact]) -> Say:
        """A ready answer about whoever was named, in the voice."""
        surface = next((hit.surface for hit in hits if hit.surface), None)
        return Say(self.voice.about(surface), self.voice.asked)
