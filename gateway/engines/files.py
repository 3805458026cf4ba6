"""A served model's own files, read here too: its tokens, and embeddings that its server can be sent.

Before it: a folder in the transformers format, the one that the servers have. After it: `vllm` and `examiner`.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adapters.base import Embeds, EngineRejected, EngineUnavailable, Floats, Prompt
from adapters.eco.table import EmbeddingTable
from adapters.prompt import Prompter
from gateway.engines import tensors

_LONGEST = 100.0  # norm of an embedding, in medians of the model's own: beyond it attention overflows


class ModelFiles:
    """Reads them from `folder`. Blocks.

    Raises:
        EngineUnavailable: it holds no model whose prompts can be rendered here.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self.prompter = Prompter(folder)
        except ValueError as error:
            raise EngineUnavailable(str(error)) from None
        self._table = EmbeddingTable(folder)

    def spelling(self, name: str) -> frozenset[int]:
        """The tokens with which a name is written, at the beginning of a text or in it."""
        words = [name, *name.split()]
        return frozenset(token for word in words for text in (word, f" {word}") for token in self.prompter.encode(text))

    def ended(self, answer: str) -> tuple[int, ...]:
        """The tokens of an answer and its end."""
        if self.prompter.eos_id is None:
            raise EngineUnavailable("this model names no token that ends an answer")
        return (*self.prompter.encode(answer), self.prompter.eos_id)

    def checked(self, plan: Embeds, prompt: Prompt) -> Floats:
        """The plan's embeddings, if a server can read them: what is not finite, or huge, harms its other requests."""
        if plan.token_ids != prompt.token_ids or plan.embeds.shape != (len(prompt.token_ids), self._table.width):
            raise EngineRejected("the embeddings are not of this prompt and model")
        norms = np.linalg.norm(plan.embeds, axis=1)
        if not np.isfinite(plan.embeds).all() or (norms > _LONGEST * self._table.radius).any():
            raise EngineRejected("the embeddings are not finite, or far too long")
        return plan.embeds

    @property
    def vocabulary(self) -> int:
        """V, the tokens that the model has."""
        return self._table.size

    def rows(self, token_ids: Sequence[int]) -> Floats:
        """(T, d), the model's own embeddings."""
        return self._table.rows(token_ids)

    def encoded(self, rows: Floats) -> str:
        """Base64 of what `torch.save` would write, in the width of the model's own embeddings."""
        return base64.b64encode(tensors.dumps(rows, "bfloat16" if self._table.bf16 else "float32")).decode()
