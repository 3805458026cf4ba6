"""ULD at serving time: the assistants of all touched requests, each with its own strength.

Paper: arXiv 2406.08607. The engine runs the assistants beside the model and combines their logits (see
`logits`); here it is only decided which, and whether they may. Departure: several requests may be touched by
one prompt; their assistants stand side by side, and nobody trains one for all, since requests come and go.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from adapters.base import AdapterError, Artifact, Assisted, Call, Capability, OutOfScope, Steered, Strength
from adapters.eco.soundness import sound
from adapters.eco.table import EmbeddingTable
from adapters.ignorance import Ignorance
from adapters.prompt import Prompter
from guards.base import Hit

MOST = 4  # assistants on one prompt: each costs a share of the model's own time


class Uld:
    """Plans steered logits for one model, whose folder holds tokenizer, template and weights.

    Nothing is read until the first touched prompt, and never a weight but the embeddings. An answer in the voice
    of `ignorance` is left to `ignorance` itself, which names whom the client named.
    """

    method = "uld"
    needs = frozenset({Capability.LOGITS})

    def __init__(self, folder: Path, ignorance: Ignorance) -> None:
        self.folder = folder
        self._ignorance = ignorance

    @cached_property
    def prompter(self) -> Prompter:
        """Renders and tokenises as the engine does."""
        return Prompter(self.folder)

    @cached_property
    def model(self) -> str:
        """A fingerprint of the model that assistants are trained on."""
        return EmbeddingTable(self.folder).fingerprint

    async def plan(self, call: Call, hits: Sequence[Hit], artifacts: Mapping[str, Artifact]) -> Steered:
        """The assistant of each touched request, whichever turns touch it.

        Raises:
            AdapterError: there are too many, one was trained on another model, or the prompt is more than a question.
        """
        if call.raw or [turn.role for turn in call.conversation.turns] != ["user"] or call.options:
            raise OutOfScope("assistants learn, and are verified on, single questions: elsewhere they may be flat")
        if len(artifacts) > MOST:
            raise AdapterError(f"more than {MOST} assistants at once cost too much")
        assistants = tuple(self._assisted(call, artifact) for artifact in artifacts.values())
        voice = self._ignorance.voice
        return Steered(assistants, lambda text: sound(text) and not voice.speaks(text), voice.speaks)

    def _assisted(self, call: Call, artifact: Artifact) -> Assisted:
        manifest = artifact.manifest
        if manifest.get("model") != self.model:
            raise AdapterError("an assistant that was trained on another model knows nothing of this one")
        if artifact.folder is None:
            raise AdapterError("an assistant without files")
        return Assisted(artifact.folder, Strength(**manifest["strength"]))
