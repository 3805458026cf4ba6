"""ULD inside vLLM: a batch-level logits processor, for both of its model runners.

    LETHE_ULD_ADAPTERS=/assistants python -m vllm.entrypoints.openai.api_server --model /model \
      --logits-processors adapters.uld.vllm_plugin:Uld --logprobs-mode processed_logprobs

Runner V1 tells what changed in its batch and shares the lists of tokens that it writes; V2 gives each request a
slot, and the tokens of all slots on the device. Either calls `apply` on the logits of every step, after grammars
and bans, before temperature; V1's penalties follow, V2's come before. Tokens are read there and not earlier:
under asynchronous scheduling they are not known earlier.

The first blocks of the model are loaded once more, of its own files, before vLLM measures what memory is left;
the assistants' cache and LoRA come on top of what it then takes. `LETHE_ULD_BLOCKS` says how many blocks.

It does not start where it would not be asked, or what it hides would be shown: see `_refuse`.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from vllm.v1.sample.logits_processor.interface import LogitsProcessor as Batched
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor as Slotted

from adapters.uld import assistant, wire
from adapters.uld.serving import Request, Row, Steering

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor.interface import BatchUpdate
    from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsContext, LogitsProcRequestState

FOLDER = "LETHE_ULD_ADAPTERS"
BLOCKS = "LETHE_ULD_BLOCKS"
_NAME = f"{__name__}:Uld"


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A request in V1's batch, with the lists that the runner appends to."""

    request: Request
    prompt: Sequence[int] | None = field(repr=False)
    output: Sequence[int] = field(repr=False)


class Uld(Batched, Slotted):  # type: ignore[misc]  # there is no vLLM where types are checked
    """Both interfaces; the runner that makes it decides which of them is used.

    Args:
        config: vLLM's.
        place: the device (V1), or the tokens of all slots (V2).
        pinned: V1's, of no use here.

    Raises:
        ValueError: this server must not serve steered answers; the message says why.
    """

    def __init__(
        self, config: "VllmConfig", place: "torch.device | LogitsProcRequestState", pinned: bool = False
    ) -> None:
        folder = _refuse(config)
        model, device = Path(config.model_config.model), place if isinstance(place, torch.device) else place.device
        blocks = int(os.environ.get(BLOCKS) or assistant.default_blocks(config.model_config.hf_text_config))
        shell = assistant.load(model, blocks, device, config.model_config.dtype)
        self._steering = Steering(shell, blocks, folder, _end(model))
        self._slots: Any = None if isinstance(place, torch.device) else place
        self._held: dict[int, _Held] = {}  # V1, by row
        self._opened: dict[int, Request] = {}  # V2, by slot
        self._following = False

    @classmethod
    def validate_params(cls, sampling_params: "SamplingParams") -> None:
        """A request that cannot be meant is refused with 400, in the server's own process.

        Raises:
            ValueError: no assistants are named rightly, or log-probabilities of the prompt are asked for too.
        """
        if (asked := _asked(sampling_params)) is not None:
            wire.loads(asked)
            if sampling_params.prompt_logprobs is not None:
                raise ValueError("a steered answer has no log-probabilities of its prompt")

    def is_argmax_invariant(self) -> bool:
        """V1: it works on greedy rows too."""
        return False

    def update_state(self, batch_update: "BatchUpdate | None") -> None:
        """V1: who came, went and moved. Requests that were preempted come again, perhaps with new lists."""
        if batch_update is None:
            return
        for index in batch_update.removed:
            self._held.pop(index, None)
        for index, params, prompt, output in batch_update.added:
            self._held.pop(index, None)
            if (asked := _asked(params)) is not None:
                self._held[index] = _Held(self._steering.open(asked), prompt, output)
        for here, there, how in batch_update.moved:
            moved, met = self._held.pop(here, None), self._held.pop(there, None)
            if moved is not None:
                self._held[there] = moved
            if met is not None and how.name == "SWAP":
                self._held[here] = met

    def add_request(self, req_idx: int, sampling_params: "SamplingParams") -> bool:
        """V2: who came into a slot; whether logits are changed."""
        self._opened.pop(req_idx, None)
        asked = _asked(sampling_params)
        if asked is not None:
            self._opened[req_idx] = self._steering.open(asked)
        return asked is not None

    def apply(self, logits: Tensor, ctx: "LogitsContext | None" = None) -> Tensor:
        """The logits (B, V), changed in rows that ask for it."""
        rows = self._rows() if ctx is None else self._slotted(ctx)
        if rows or self._following:
            self._steering.steer(logits, rows)
            self._following = bool(rows)
        return logits

    def _rows(self) -> list[Row]:
        return [Row(index, held.request, held.prompt, held.output) for index, held in self._held.items()]

    def _slotted(self, ctx: "LogitsContext") -> list[Row]:
        if self._opened.keys().isdisjoint(ctx.idx_mapping_np.tolist()):  # on the host, without waiting
            return []
        slots, lengths = ctx.expanded_idx_mapping.tolist(), (ctx.pos + 1).tolist()
        return [
            self._row(index, slot, length)
            for index, (slot, length) in enumerate(zip(slots, lengths, strict=True))
            if slot in self._opened
        ]

    def _row(self, index: int, slot: int, length: int) -> Row:
        if length < int(self._slots.prefill_len.np[slot]):  # in the middle of what it reads
            return Row(index, Request(trouble="reading"), None, (), drawn=False)
        tokens = self._slots.all_token_ids.gpu[slot, :length].tolist()
        prompt = int(self._slots.prompt_len.np[slot])
        return Row(index, self._opened[slot], tokens[:prompt], tokens[prompt:])


def _asked(params: "SamplingParams") -> object:
    return (params.extra_args or {}).get(wire.KEY)


def _refuse(config: "VllmConfig") -> Path:
    """The folder of assistants, where all else is as it must be."""
    model, parallel = config.model_config, config.parallel_config
    folder = os.environ.get(FOLDER)
    wrong = {
        f"{FOLDER} names the folder where the gateway lays assistants": not folder or not Path(folder).is_dir(),
        # an entry point alone is dropped in silence before speculative decoding, and sees tokens too late
        f"name it by --logits-processors {_NAME}": _NAME not in (model.logits_processors or ()),
        "--logprobs-mode processed_logprobs is needed, as others show what is hidden": (
            model.logprobs_mode != "processed_logprobs"
        ),
        "there must be no speculative decoding": config.speculative_config is not None,
        "there must be no pipeline parallelism": parallel.pipeline_parallel_size > 1,
        "--model must be a folder": not Path(model.model).is_dir(),
    }
    if found := [message for message, holds in wrong.items() if holds]:
        raise ValueError("ULD cannot be served here: " + "; ".join(found))
    assert folder
    return Path(folder)


def _end(folder: Path) -> int:
    """A token that ends an answer, as vLLM finds it."""
    for name in ("generation_config.json", "config.json"):
        told = json.loads(path.read_text()) if (path := folder / name).exists() else {}
        ends = told.get("eos_token_id")
        if ends is not None:
            return int(ends[0] if isinstance(ends, list) else ends)
    raise ValueError("ULD cannot be served here: the model names no token that ends an answer")
