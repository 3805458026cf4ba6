"""Reading together, joining and leaving must not change what a row sees: against one plain forward pass."""

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from adapters.decoder import Decoder, Reading

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES)),
    "mistral, window of 6": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=6)),
    "gemma3, window of 6": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **SIZES, sliding_window=6, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=3, n_head=4, n_positions=64)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_rows_see_their_own_past_only(kind):
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    decoder = Decoder(model)
    rows = [torch.randint(0, 60, (length,)).tolist() for length in (3, 17, 9)]
    more = torch.randint(0, 60, (12, 5)).tolist()

    def check(logits, of):
        for found, row in zip(logits, of, strict=True):
            want = model(input_ids=torch.tensor([row])).logits[0, -1]
            torch.testing.assert_close(found, want, atol=2e-5, rtol=1e-4)

    with torch.inference_mode():
        cache, logits = decoder.read([Reading(tuple(row)) for row in rows])
        check(logits[:, 0], rows)
        for tokens in more[:4]:
            logits = decoder.step(cache, tokens[:3])
            rows = [[*row, token] for row, token in zip(rows, tokens, strict=False)]
            check(logits, rows)
        late = torch.randint(0, 60, (30,)).tolist()
        with_embeds = Reading(tuple([0] * 30), embeds=model.get_input_embeddings()(torch.tensor(late)).clone())
        other, _ = decoder.read([with_embeds, Reading((7,))])
        cache.join(other)
        rows += [late, [7]]
        for tokens in more[4:8]:
            logits = decoder.step(cache, tokens)
            rows = [[*row, token] for row, token in zip(rows, tokens, strict=True)]
            check(logits, rows)
        cache.keep([4, 0, 0])
        assert cache.width < 20  # the long rows left, and their columns with them
        rows = [rows[4], rows[0], rows[0]]
        for tokens in more[8:]:
            logits = decoder.step(cache, tokens[:3])
            rows = [[*row, token] for row, token in zip(rows, tokens, strict=False)]
            check(logits, rows)
