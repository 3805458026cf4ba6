"""The assistants of steered calls, beside the served model: each follows its choice token by token.

One companion for each number of blocks, on the model's own tensors; its cache has a row for each assistant
of each choice. Any thread may load them; only the worker's runs them.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from transformers import PreTrainedModel

from adapters.base import Steered, Strength
from adapters.decoder import Decoder, Reading
from adapters.uld.assistant import Manifest, shell
from adapters.uld.companion import Companion, Follower
from adapters.uld.logits import combined
from gateway.engines.job import Assistant, Choice, Job


@dataclass(frozen=True, slots=True, eq=False)
class _Guide:
    """Assistant `which` of a choice, and the row of the logits on which it acts; -1 where it only follows."""

    row: int
    choice: Choice
    which: int

    @property
    def assistant(self) -> Assistant:
        return self.choice.job.assistants[self.which]

    @property
    def strength(self) -> Strength:
        return self.assistant.strength.at(len(self.choice.tokens))

    @property
    def follower(self) -> Follower:
        read = self.choice.tokens if self.row >= 0 else self.choice.tokens[:-1]  # the last is for the next step
        tokens = (*self.choice.job.reading.token_ids, *read)
        return Follower((self.choice, self.which), tokens, self.assistant.lora)


class Assistants:
    """Runs the assistants of `model`."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._decoders: dict[int, Decoder] = {}
        self._companions: dict[int, Companion] = {}

    def load(self, plan: Steered) -> tuple[Assistant, ...]:
        """The assistants of a plan, from memory where they were read before. Safe to call from any thread.

        Raises:
            OSError, ValueError, EngineRejected: a folder holds no assistant, or none that fits this model.
        """
        found = []
        for assisted in plan.assistants:
            blocks = Manifest.read(assisted.folder).blocks
            with self._lock:
                decoder = self._decoders.get(blocks) or Decoder(shell(self._model, blocks))
                self._decoders[blocks] = decoder
            found.append(Assistant(blocks, decoder.loras.load(assisted.folder), assisted.strength))
        return tuple(found)

    def lower(self, logits: Tensor, choices: Sequence[Choice], beside: Sequence[Choice] = ()) -> None:
        """Takes what their assistants remember from the logits (B, V) of these choices, in place.

        A row becomes NaN where an assistant gave no logits. `beside` are choices that are not at their next
        token yet: their assistants stay where they are. All others are let go.
        """
        guides = [
            _Guide(row, choice, which)
            for row, choice in [*enumerate(choices), *((-1, choice) for choice in beside)]
            for which in range(len(choice.job.assistants))
        ]
        guides.sort(key=lambda guide: guide.assistant.blocks)
        kept, self._companions = self._companions, {}
        found = []
        for blocks, group in groupby(guides, key=lambda guide: guide.assistant.blocks):
            companion = kept.get(blocks) or Companion(self._decoders[blocks])
            found.append(companion.follow([guide.follower for guide in group]))
            self._companions[blocks] = companion
        if not guides:
            return
        acting = [i for i, guide in enumerate(guides) if guide.row >= 0]
        remembered = torch.cat(found)[acting] if len(acting) < len(guides) else torch.cat(found)
        rows, strengths = [guides[i].row for i in acting], [guides[i].strength for i in acting]
        logits.copy_(combined(logits, remembered, rows, strengths))

    def release(self) -> None:
        """Lets go of all that was followed."""
        self._companions = {}

    def lowered(self, logits: Tensor, job: Job) -> Tensor:
        """The logits (T, V) at the last T tokens that a job reads, without what its assistants remember."""
        if not job.assistants:
            return logits
        count = len(logits)
        remembered = [
            self._decoders[one.blocks].read([Reading(job.reading.token_ids, lora=(one.lora, 1.0))], keep=count)[1][0]
            for one in job.assistants
        ]
        rows = [*range(count)] * len(job.assistants)
        strengths = [one.strength.at(place) for one in job.assistants for place in range(count)]
        return combined(logits, torch.cat(remembered), rows, strengths)
