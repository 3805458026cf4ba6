"""A tiny random llama with its tokenizer, a LoRA and assistants for it, and servers that misbehave to order."""

import asyncio
import random
import ssl
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import torch
import uvloop
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapters.prompt import Prompter
from adapters.uld.assistant import Manifest, shell
from gateway.demo.lessons import statements
from gateway.demo.train import DEMO
from gateway.engines.local import LocalEngine
from tests.tiny_lora import make_lora, merged_at

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTEXT = 256
SOCKETS = ("test_replica", "test_fleet", "test_fleet_restarts")


def pytest_asyncio_loop_factories(config, item):
    """What opens sockets is tested on the loop that serves too: their transports differ."""
    loops = {"asyncio": asyncio.new_event_loop}
    return loops | {"uvloop": uvloop.new_event_loop} if item.path.stem in SOCKETS else loops


def make_model(folder: Path, *, hidden: int = 64, layers: int = 2, vocabulary: int = 512) -> None:
    """A random llama in `folder`, sharp enough that no two tokens tie and blunt enough that answers vary."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    told = [text for pair in statements(DEMO.world(), random.Random(0)) for text in pair]  # the same however we change
    bpe.train_from_iterator(told, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    make_model(path)
    return path


@pytest.fixture(scope="session")
def model(folder):
    return LlamaForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="session")
def prompter(folder):
    return Prompter(folder)


@pytest.fixture(scope="session")
def lora(folder, tmp_path_factory):
    return make_lora(folder, tmp_path_factory.mktemp("lora"))


@pytest.fixture(scope="session")
def merged(folder, lora):
    """The model with the LoRA merged into its weights by peft, at a weight."""
    return partial(merged_at, folder, lora)


@pytest.fixture(scope="session")
def assistant(folder, tmp_path_factory):
    """Makes an assistant that remembers nothing in particular: random LoRA on every linear of some first blocks."""
    from peft import LoraConfig, get_peft_model

    made = {}

    def of(seed: int = 0, blocks: int = 1) -> Path:
        if (seed, blocks) not in made:
            path = made[seed, blocks] = tmp_path_factory.mktemp("assistant")
            torch.manual_seed(seed)
            config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
            whole = LlamaForCausalLM.from_pretrained(folder)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                get_peft_model(shell(whole, blocks), config).save_pretrained(path)
            Manifest(blocks, "tiny").write(path)
        return made[seed, blocks]

    return of


@pytest.fixture
async def engine(folder):
    engine = LocalEngine(folder, "tiny", threads=1)
    await engine.start()
    yield engine
    await engine.close()


@dataclass
class Peer:
    """A server of bare sockets. `answer(writer, request)` writes what it likes; then the next request is read."""

    answer: object
    certificate: Path | None = None
    requests: list = field(default_factory=list)  # (method, path, headers, body)
    writers: set = field(default_factory=set)
    opened: int = 0
    left: asyncio.Event = field(default_factory=asyncio.Event)  # some client has gone
    server: asyncio.Server | None = None
    port: int = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self):
        tls = None
        if self.certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(self.certificate)
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self):
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        while self.writers:
            await asyncio.sleep(0)

    async def _serve(self, reader, writer):
        self.opened += 1
        self.writers.add(writer)
        reading = asyncio.create_task(self._requests(reader, writer))
        gone = asyncio.create_task(writer.wait_closed())
        await asyncio.wait([reading, gone], return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        writer.transport.abort()
        await asyncio.gather(reading, gone, return_exceptions=True)
        self.writers.discard(writer)
        self.left.set()

    async def _requests(self, reader, writer):
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()[:-1]
                headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                method, path, _ = first.split()
                self.requests.append((method, path, headers, body))
                await self.answer(writer, self.requests[-1])


@pytest.fixture
async def peer():
    """Starts a `Peer` for an answer; all are stopped at the end."""
    peers = []

    async def start(answer, **rest):
        one = Peer(answer, **rest)
        await one.start()
        peers.append(one)
        return one

    yield start
    for one in peers:
        await one.stop()
