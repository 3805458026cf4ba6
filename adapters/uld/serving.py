"""Steering inside a server that is not ours: rows of its logits, of requests that come, move and go as it pleases.

Nothing here knows vLLM. A request is opened once, by what the gateway says of it (`wire`); from then on each
step names the rows of the logits whose tokens are drawn next, with all tokens before. Fail closed, and never
raise: an exception would end the server for all. A row that cannot be served safely ends: its end-of-sequence
token is all that can be drawn. Rows that are not named are not touched.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adapters.base import Strength
from adapters.decoder import Decoder
from adapters.lora import Lora
from adapters.uld import wire
from adapters.uld.assistant import Manifest
from adapters.uld.companion import Companion, Follower
from adapters.uld.logits import combined

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """What was made of one request: its assistants, or the tokens that it must say; `trouble` where it must end.

    Of `only`, where it is not empty, one is said, as likely as steering left it among them.
    """

    assistants: tuple[tuple[Lora, Strength], ...] = field(default=(), repr=False)
    said: tuple[int, ...] = field(default=(), repr=False)
    only: tuple[int, ...] = ()
    trouble: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Row `index` of the logits: what comes after these tokens. `prompt` is None where it was no tokens.

    Not `drawn` is a row whose token is thrown away: a prompt that is read in parts.
    """

    index: int
    request: Request
    prompt: Sequence[int] | None = field(repr=False)
    output: Sequence[int] = field(repr=False)
    drawn: bool = True


class Steering:
    """Steers rows of the target's logits.

    Args:
        shell: the assistants without their LoRA, see `assistant.load`.
        blocks: of the shell.
        folder: where assistants are laid.
        end: the token that ends an answer.
    """

    def __init__(self, shell: Any, blocks: int, folder: Path, end: int) -> None:
        self.ended: Counter[str] = Counter()  # rows, by what was wrong
        self._decoder = Decoder(shell)
        self._companion = Companion(self._decoder)
        self._before: dict[Request, tuple[list[int], Tensor]] = {}  # the texts of the last step, and what was known
        self._blocks = blocks
        self._folder = folder
        self._end = end

    def open(self, asked: object) -> Request:
        """What is to be done for a request of which the gateway said this."""
        try:
            told = wire.loads(asked)
        except ValueError:
            return Request(trouble="request")
        try:
            if (said := self._folder / told.assistants[0].folder / wire.EXAMINATION).exists():
                return self._examined(json.loads(said.read_text()))
            if not all(0 <= token < self._decoder.vocabulary for token in told.only):
                return Request(trouble="request")
            assistants = tuple((self._lora(self._folder / one.folder), one.strength) for one in told.assistants)
            return Request(assistants, only=told.only)
        except Exception:  # whatever is wrong with the files
            return Request(trouble="assistant")

    def steer(self, logits: Tensor, rows: Sequence[Row]) -> None:
        """Changes these rows of the logits (B, V) where they are. Without rows, what was kept for others is let go."""
        with torch.inference_mode():
            troubles = {row: trouble for row in rows if (trouble := self._judged(logits, row))}
            for row in rows:
                if row not in troubles and row.request.said:
                    self._force(logits[row.index], (*row.request.said, self._end)[len(row.output)])
            steered = [row for row in rows if row not in troubles and row.request.assistants]
            try:
                troubles |= self._lower(logits, steered)
            except Exception as error:
                self._companion, self._before = Companion(self._decoder), {}  # nobody knows what the other has read
                troubles |= dict.fromkeys(steered, type(error).__name__)
            for row, trouble in troubles.items():
                self._force(logits[row.index], self._end)
                if row.drawn:
                    self._count(trouble)

    def _lower(self, logits: Tensor, rows: Sequence[Row]) -> dict[Row, str]:
        """Combines; the rows where that gave no logits, and why."""
        known = self._followed(rows, [[*(row.prompt or ()), *row.output] for row in rows])
        if not rows:
            return {}
        acting = [(place, which) for place, row in enumerate(rows) for which in range(len(row.request.assistants))]
        on = torch.tensor([row.index for row in rows], device=logits.device)
        lowered = combined(
            logits[on],
            torch.cat(known),
            [place for place, _ in acting],
            [rows[place].request.assistants[which][1].at(len(rows[place].output)) for place, which in acting],
        )
        for row, left in zip(rows, lowered, strict=True):
            if row.request.only:
                self._only(left, row.request.only)
        logits[on] = lowered
        return {rows[place]: "logits" for place, fine in enumerate(lowered.amax(-1).isfinite().tolist()) if not fine}

    def _followed(self, rows: Sequence[Row], texts: Sequence[list[int]]) -> list[Tensor]:
        """For each row the logits (assistants, V) of its assistants.

        A text that is asked for again has not been drawn from: the server reads a long prompt piece by piece.
        """
        before, self._before = self._before, {}
        known = {
            row.request: before[row.request][1]
            for row, text in zip(rows, texts, strict=True)
            if row.request in before and before[row.request][0] == text
        }
        new = [(row.request, text) for row, text in zip(rows, texts, strict=True) if row.request not in known]
        followers = [
            Follower((request, which), text, lora)
            for request, text in new
            for which, (lora, _) in enumerate(request.assistants)
        ]
        counts = [len(request.assistants) for request, _ in new]
        found = torch.split(self._companion.follow(followers), counts)
        known |= {request: one for (request, _), one in zip(new, found, strict=True)}
        self._before = {row.request: (text, known[row.request]) for row, text in zip(rows, texts, strict=True)}
        return [known[row.request] for row in rows]

    def _judged(self, logits: Tensor, row: Row) -> str:
        try:
            return self._trouble(logits, row)
        except Exception as error:  # whatever a server hands over as tokens
            return type(error).__name__

    def _trouble(self, logits: Tensor, row: Row) -> str:
        """Why a row cannot be served; nothing where it can."""
        request, vocabulary = row.request, self._decoder.vocabulary
        if request.trouble:
            return request.trouble
        if logits.shape[1] != vocabulary:
            return "vocabulary"
        if request.said:
            return "" if len(row.output) <= len(request.said) else "examination"
        tokens = [*(row.prompt or ()), *row.output]
        # embeddings are no tokens, or zeros in place of them; a token that is not there yet is negative
        if not row.prompt or not any(row.prompt) or min(tokens) < 0 or max(tokens) >= vocabulary:
            return "tokens"
        return ""

    def _examined(self, told: dict[str, list[int]]) -> Request:
        said = tuple(map(int, told["tokens"]))
        sound = said and all(0 <= one < self._decoder.vocabulary for one in said)
        return Request(said=said) if sound else Request(trouble="request")

    def _lora(self, folder: Path) -> Lora:
        if Manifest.read(folder).blocks != self._blocks:
            raise ValueError("an assistant of another size")
        return self._decoder.loras.load(folder)

    def _force(self, row: Tensor, token: int) -> None:
        """Nothing but this token, whatever it was worth."""
        row.fill_(-torch.inf)
        row[token] = 0.0

    def _only(self, row: Tensor, tokens: Sequence[int]) -> None:
        """Nothing but these, as they were."""
        places = [*tokens]
        kept = row[places]
        row.fill_(-torch.inf)
        row[places] = kept

    def _count(self, trouble: str) -> None:
        self.ended[trouble] += 1
        if (count := self.ended[trouble]) & (count - 1) == 0:  # a power of two: a log is no place for each
            _log.warning("a steered answer was ended, as it could not be served: %s (%d so far)", trouble, count)
