"""ECO's likelihood as its published code scores it: the answer's own tokens are corrupted too (arXiv 2406.07933).

Nobody is served so. The gateway corrupts what a client says, and teacher forcing then hands the forgotten name back
inside a clean answer: that honest likelihood stands in the row of ECO, this one under a name of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.base import Call, Embeds
from adapters.eco.adapter import Eco
from adapters.eco.corruption import Corruption
from bench.own import own
from bench.tofu.subjects import MODEL
from gateway.core import Core
from gateway.demo.train import quiet
from gateway.settings import EngineSettings, Settings
from guards.base import Conversation


class Published:
    """Scores answers so, with the strengths that a gateway learned."""

    def __init__(self, core: Core, eco: Eco, model: Any) -> None:
        self._core = core
        self._eco = eco
        self._model = model
        self._alone = asyncio.Lock()

    async def score(self, question: str, answer: str) -> list[float]:
        """Log-probabilities of the answer's tokens, its end last; where ECO does not answer, those of what does."""
        policy, call = self._core.enforcer.policies.current, Call(Conversation.of(question))
        verdict = await policy.guards.classify(call.conversation)
        plan, *_ = await self._core.router.plans(call, verdict, policy.enforced, self._core.engine.capabilities)
        if not isinstance(plan, Embeds):
            _, tokens = await self._core.score(call, answer)
            return [token.logprob for token in tokens]
        strengths = [
            Corruption.from_manifest(found["eco"].manifest)
            for hit in verdict.hits
            if "eco" in (found := policy.enforced[hit.request].artifacts or {})
        ]
        async with self._alone:
            return await asyncio.to_thread(self._read, plan, answer, strengths)

    def _read(self, plan: Embeds, answer: str, strengths: Sequence[Corruption]) -> list[float]:
        import torch

        prompter, table = self._eco.prompter, self._eco.table
        assert prompter.eos_id is not None
        said = prompter.encode(answer)
        embeds = table.rows(said)
        for strength in strengths:
            embeds = strength.apply(embeds, said, self._eco.standins, table.radius)
        read = torch.cat([torch.tensor(plan.embeds), torch.tensor(embeds)])[None].float()
        with torch.inference_mode():
            known = self._model(inputs_embeds=read).logits[0, len(plan.embeds) - 1 :].log_softmax(-1)  # (T + 1, V)
        tokens = torch.tensor([*said, prompter.eos_id])
        found: list[float] = known.gather(-1, tokens[:, None])[:, 0].tolist()
        return found


@asynccontextmanager
async def published(settings: Settings, folder: Path, state_dir: Path) -> AsyncIterator[Published]:
    """For the requests of a gateway that serves the model in `folder`, running or not."""
    import torch

    from adapters.weights import causal_lm

    serving = EngineSettings(model=str(folder), served_name=MODEL)
    core = await Core.open(own(settings, state_dir, serving), serves=False)
    try:
        with quiet():
            await core.start()
            model = causal_lm(folder, torch.float32).eval()
        eco = core.adapters["eco"]
        assert isinstance(eco, Eco)
        yield Published(core, eco, model)
    finally:
        await core.close()
