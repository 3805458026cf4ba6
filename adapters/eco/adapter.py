"""ECO at serving time: the prompt's embeddings, corrupted where the touched turns' own words stand.

Paper: arXiv 2406.07933. With e the embeddings of the rendered prompt and M the tokens of the touched
turns' contents, the engine reads ẽ = Corrupt(e_M; σ) on M and e elsewhere, at prefill only.

Departures. The published gate corrupts BOS and template tokens, or only tagged names; ours takes
every token of the touched turns' contents, by character offsets, and never one of the template.
Strength is per request, not per task; noise is keyed (see `corruption`). Several requests touched at
once are applied one after the other, each with its own key.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from adapters.base import AdapterError, Artifact, Call, Capability, Embeds, Floats, OutOfScope
from adapters.eco.corruption import Corruption
from adapters.eco.soundness import sound
from adapters.eco.table import EmbeddingTable
from adapters.ignorance import NOBODY, Ignorance
from adapters.prompt import Prompter
from guards.base import Hit


class Eco:
    """Plans corrupted embeddings for one model, whose folder holds tokenizer, template and weights.

    Nothing is read until the first touched prompt. An answer in the voice of `ignorance` is left to
    `ignorance` itself, which names whom the client named: noise garbles names, and that would tell.
    """

    method = "eco"
    needs = frozenset({Capability.PROMPT_EMBEDS})

    def __init__(self, folder: Path, ignorance: Ignorance) -> None:
        self._folder = folder
        self._ignorance = ignorance

    @cached_property
    def prompter(self) -> Prompter:
        """Renders and tokenises as the engine does."""
        return Prompter(self._folder)

    @cached_property
    def table(self) -> EmbeddingTable:
        """The model's input embeddings."""
        return EmbeddingTable(self._folder)

    @property
    def model(self) -> str:
        """A fingerprint of the model that strengths were found on."""
        return self.table.fingerprint

    @cached_property
    def standins(self) -> Floats:
        """(p, d): embeddings of tokens that make up names that nobody has; what `blend` moves towards."""
        return self.table.rows(self.prompter.encode(" ".join(NOBODY)))

    async def plan(self, call: Call, hits: Sequence[Hit], artifacts: Mapping[str, Artifact]) -> Embeds:
        """Corrupted embeddings of the touched turns, by each touched request's own artifact.

        Raises:
            AdapterError: no content of a touched turn can be found in the rendered prompt, an artifact was
                learned on another model, or the prompt is no conversation.
        """
        if call.raw:
            raise OutOfScope("strengths are found and verified on conversations; a bare text meets another cliff")
        if any(artifact.manifest.get("model") != self.model for artifact in artifacts.values()):
            raise AdapterError("a strength that was found on another model says nothing about this one")
        turns = {hit.request: frozenset(hit.turns) for hit in hits}
        corruptions = [
            (turns[request], Corruption.from_manifest(artifact.manifest)) for request, artifact in artifacts.items()
        ]
        voice = self._ignorance.voice
        # on a thread: the first prompt loads the tokenizer, and a long one takes its time
        plan = await asyncio.to_thread(self.corrupt, call, corruptions)
        return replace(plan, sound=lambda text: sound(text) and not voice.speaks(text), hopeless=voice.speaks)

    def corrupt(self, call: Call, corruptions: Sequence[tuple[frozenset[int], Corruption]]) -> Embeds:
        """As `plan`, for corruptions given as (turns, corruption)."""
        prompt = call.prompt or self.prompter.render(call)
        said = call.conversation.turns
        embeds = self.table.rows(prompt.token_ids)
        changed = []
        for turn, start, stop in prompt.contents:
            for turns, corruption in corruptions:
                if turn not in turns or start == stop or said[turn].content != said[turn].text:
                    continue  # a message with tool calls says more than what is corrupted
                ids = prompt.token_ids[start:stop]
                embeds[start:stop] = corruption.apply(embeds[start:stop], ids, self.standins, self.table.radius)
                changed.append((turn, start, stop))
        missed = {turn for turns, _ in corruptions for turn in turns} - {turn for turn, _, _ in changed}
        if not changed or missed or not np.isfinite(embeds).all():
            raise AdapterError("the content of a touched turn could not be corrupted")
        return Embeds(prompt.token_ids, embeds, tuple(dict.fromkeys(changed)), sound)
