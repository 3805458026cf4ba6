"""A tiny random llama with a tokenizer trained here, and a LoRA for it."""

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from adapters.base import Call, Delta, Pass, Sampling, Usage
from adapters.prompt import Prompter
from gateway.engines.local import LocalEngine
from guards.base import Conversation

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTEXT = 256


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
    bpe.train_from_iterator([path.read_text() for path in Path(__file__).parent.glob("*.py")], trainer)
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
    """A random LoRA of peft's own making."""
    from peft import LoraConfig, get_peft_model

    path = tmp_path_factory.mktemp("lora")
    config = LoraConfig(
        r=4,
        lora_alpha=16,
        target_modules=["q_proj", "v_proj", "down_proj"],
        alpha_pattern={"v_proj": 4},
        rank_pattern={"down_proj": 2},
        init_lora_weights=False,
    )
    torch.manual_seed(1)
    get_peft_model(LlamaForCausalLM.from_pretrained(folder), config).save_pretrained(path)
    return path


@pytest.fixture
async def engine(folder):
    engine = LocalEngine(folder, "tiny", threads=1)
    await engine.start()
    yield engine
    await engine.close()


def ask(text: str = "who is the user", **sampling) -> Call:
    """A call for one user turn, greedy and short unless said otherwise."""
    return Call(Conversation.of(text), Sampling(**{"temperature": 0.0, "max_tokens": 24, **sampling}))


async def answer(engine, call: Call, plan=None) -> tuple[list[str], list[Delta], Usage]:
    """The text of every choice, all deltas, and the usage."""
    texts, deltas, usage = [""] * call.sampling.n, [], None
    async with asyncio.timeout(60), aclosing(engine.generate(call, plan or Pass())) as stream:
        async for item in stream:
            assert usage is None, "something came after the usage"
            if isinstance(item, Usage):
                usage = item
            else:
                texts[item.index] += item.text
                deltas.append(item)
    assert usage is not None
    return texts, deltas, usage
