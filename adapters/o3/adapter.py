"""O3 at serving time: the LoRAs of all touched requests, each at the weight that its detector gives the prompt.

Paper: arXiv 2407.10223. For request t with score s_t and w its monotone map (`guards.ood`), the engine computes

    h' = W h + Σ_t w_t (α / r) B_t A_t h,   w_t constant for one generation.

Departures. The published code keeps one adapter for all requests and asks every detector of every prompt; here
the guards have found who is touched, and only their detectors are asked: no other request, come or gone,
changes an answer, and the hundredth costs what the first did. Weights are rounded up to a few levels, each of
which a server can hold under a name of its own. Where a detector sees nothing of what the guards saw, the next
method answers: a bare model never does.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

from adapters.base import Adapted, AdapterError, Artifact, Call, Capability, OutOfScope, Scaled
from adapters.eco.soundness import sound
from adapters.eco.table import EmbeddingTable
from adapters.ignorance import Ignorance
from guards.base import Hit
from guards.conversation import windows
from guards.encoder import Encoder, Floats
from guards.ood import Detector

LEVELS = (0.5, 1.0)  # weights that are served, in order: from a quarter on, whoever is named is not known
MOST = 4  # LoRAs on one prompt: their ranks add up
READ = 8  # windows of a question that are scored
DETECTOR = "detector.npz"

_KEPT = 256  # detectors in memory, a third of a megabyte each


class O3:
    """Plans LoRAs for one model, whose folder holds its weights.

    Nothing is read until the first touched prompt, and never a weight but the embeddings. An answer in the voice
    of `ignorance` is left to `ignorance` itself, which names whom the client named.

    Args:
        encoder: that of the guards; without one there are no plans.
    """

    method = "o3"
    needs = frozenset({Capability.LORA})

    def __init__(self, folder: Path, ignorance: Ignorance, encoder: Encoder | None) -> None:
        self.folder = folder
        self._ignorance = ignorance
        self._encoder = encoder
        self._detector = lru_cache(_KEPT)(_read)  # artifacts are immutable, and so are their folders

    @cached_property
    def model(self) -> str:
        """A fingerprint of the model that LoRAs are trained on."""
        return EmbeddingTable(self.folder).fingerprint

    async def plan(self, call: Call, hits: Sequence[Hit], artifacts: Mapping[str, Artifact]) -> Adapted:
        """The LoRA of each touched request, once where several have the same.

        Raises:
            AdapterError: a detector sees nothing, there are too many, one was trained on another model, or the
                prompt is more than a question.
            GuardError: the prompt cannot be encoded, or a detector cannot be read.
        """
        if call.raw or [turn.role for turn in call.conversation.turns] != ["user"] or call.options:
            raise OutOfScope("LoRAs learn, and are verified on, single questions: elsewhere they may do nothing")
        if self._encoder is None:
            raise AdapterError("no encoder for the detectors")
        texts = [window.text for window in await asyncio.to_thread(windows, call.conversation, READ)]
        texts += [hit.window for hit in hits if hit.window is not None]
        features = (await self._encoder.encode(list(dict.fromkeys(texts))))[:, None]  # (m, 1, d)
        loras = await asyncio.to_thread(self._loras, artifacts, features, self._encoder.identity)
        voice = self._ignorance.voice
        return Adapted(loras, lambda text: sound(text) and not voice.speaks(text), voice.speaks)

    def _loras(self, artifacts: Mapping[str, Artifact], features: Floats, encoder: str) -> tuple[Scaled, ...]:
        """In the order of their digests, whatever the order of the hits."""
        found: dict[str, Scaled] = {}
        for artifact in artifacts.values():
            if artifact.manifest.get("model") != self.model:
                raise AdapterError("a LoRA that was trained on another model knows nothing of this one")
            if artifact.folder is None:
                raise AdapterError("a LoRA without files")
            weights = self._detector(artifact.folder, encoder).weight(features, len(artifacts))
            one = Scaled(artifact.folder, level(float(weights.max(initial=0.0))))
            lora = artifact.manifest["lora"]
            found[lora] = max(found.get(lora, one), one, key=lambda scaled: (scaled.weight, scaled.folder))
        if len(found) > MOST:
            raise AdapterError(f"more than {MOST} LoRAs at once are of too high a rank")
        return tuple(found[lora] for lora in sorted(found))


def served(artifact: Artifact) -> tuple[Adapted, ...]:
    """All that an engine may be asked for with this artifact alone, so that it can be made ready."""
    assert artifact.folder
    return tuple(Adapted((Scaled(artifact.folder, weight),)) for weight in LEVELS)


def level(weight: float) -> float:
    """The least served level that is no less than a weight in (0, 1].

    Raises:
        AdapterError: the weight is 0: what a guard found touched is not answered by the bare model.
    """
    if not weight > 0:
        raise AdapterError("the detector of a touched request sees nothing in this prompt")
    return next(level for level in LEVELS if level >= weight)


def _read(folder: Path, encoder: str) -> Detector:
    return Detector.from_bytes((folder / DETECTOR).read_bytes(), encoder)
