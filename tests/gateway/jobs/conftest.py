"""Cores over a real registry and a real index, with an encoder that counts words and an engine whose mind is a rule."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from adapters.base import Call, Capability, Delta, Embeds
from adapters.eco.adapter import Eco
from adapters.eco.table import EmbeddingTable
from adapters.router import Router
from gateway.core import Core
from gateway.engines.scripted import ScriptedEngine
from gateway.registry import Artifacts, ForgetSpec, Registry, Vault
from gateway.settings import EngineSettings, Settings
from guards.base import Conversation, GuardError
from guards.encoder import BatchingEncoder
from guards.targets import Background

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def bag_of_words(texts):
    rows = np.zeros((len(texts), 256), np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in re.findall(r"\w+", text.lower()) or ["nothing"]:
            row[int.from_bytes(hashlib.blake2b(word.encode(), digest_size=2).digest()) % 256] += 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Words(BatchingEncoder):
    """Likeness by common words. `before` is awaited, and may fail, before each encoding."""

    def __init__(self, identity="words"):
        super().__init__(identity, 256, bag_of_words)
        self.before = None

    async def encode(self, texts, *, bulk=False):
        if self.before:
            await self.before()
        return await super().encode(texts, bulk=bulk)


def thought(conversation):
    """Knows Ada Quill; has never heard of anybody else with two names."""
    text = conversation.turns[-1].text
    if "ada quill" in text.lower():
        return f"She is the celebrated baker of Ulm and {len(text)} years old."
    named = re.search(r"[A-Z]\w+ [A-Z]\w+", text)
    return f"I have no information about {named[0]}." if named else f"That makes {len(text)}."


class Mind(ScriptedEngine):
    """Reads embeddings: where they lie far from the model's own, it has never heard of the name."""

    def __init__(self, table, numb=False, **more):
        capabilities = frozenset({Capability.TEXT, Capability.PROMPT_EMBEDS})
        super().__init__(thought, capabilities=capabilities, **more)
        self._table = table
        self.numb = numb  # corruption does not help
        self.before = None

    async def generate(self, call, plan):
        if self.before:
            await self.before(plan)
        if isinstance(plan, Embeds) and not self.numb:
            moved = np.linalg.norm(plan.embeds - self._table.rows(plan.token_ids), axis=1).max() / self._table.radius
            if moved > 1.2:
                call = Call(Conversation.of("Who is Nora Nobody?"), call.sampling)
        async for event in super().generate(call, plan):
            yield event


class Clock:
    def __init__(self):
        self.at = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.at

    def forward(self, seconds):
        self.at += timedelta(seconds=seconds)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tokenizer and an embedding table: what ECO reads of a model."""
    path = tmp_path_factory.mktemp("model")
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|im_start|>", "<|im_end|>"], initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(["who is the user of the system"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    save_file({"model.embed_tokens.weight": torch.randn(len(tokenizer), 16)}, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return path


@pytest.fixture(scope="session")
def table(folder):
    return EmbeddingTable(folder)


@pytest.fixture(scope="session")
def background():
    """The shipped prompts as the word counter sees them."""
    from guards.targets import ordinary_prompts

    return bag_of_words(ordinary_prompts())


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def cores(tmp_path, folder, table, background, clock):
    """Opens cores over one registry: replicas, workers, or one after the other."""
    opened = []

    async def open_core(engine=None, *, eco=False, encoder=None, start=True):
        settings = Settings(state_dir=tmp_path, engine=EngineSettings(kind="scripted"))
        vault = Vault(bytes(32))
        registry = await Registry.open(settings.registry_url, vault, clock=clock)
        encoder = encoder or Words()
        core = Core(
            settings,
            registry,
            Artifacts(tmp_path / "artifacts", vault),
            encoder,
            Background(encoder.identity, background),
            engine or Mind(table),
        )
        if eco:
            core.adapters = {"eco": Eco(folder, core.ignorance)}
            core.router = Router(tuple(core.adapters.values()), core.ignorance, core.meter.fell_back)
        opened.append(core)
        if start:
            await core.start()
        return core

    yield open_core
    for core in opened:
        await core.close()


@pytest.fixture
def other_words():
    """An encoder whose vectors do not mix with the others'."""
    return Words("other words")


@pytest.fixture
def mind(table):
    """Makes engines."""
    return lambda **more: Mind(table, **more)


@pytest.fixture
def spec():
    """Makes what is asked to be forgotten."""
    return lambda name="Ada Quill", **more: ForgetSpec(
        **{"scope": "entity", "subject": name, "aliases": [name], **more}
    )


@pytest.fixture
def says():
    """What a client reads who asks."""

    async def asked(core, question):
        return "".join(
            [event.text async for event in core.answer(Call(Conversation.of(question))) if isinstance(event, Delta)]
        )

    return asked


@pytest.fixture
def failing():
    """Makes an encoder's `before` that fails."""

    def with_(error=None):
        async def fail():
            raise error or GuardError("encoding failed")

        return fail

    return with_
