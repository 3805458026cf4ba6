"""A server of a few lines that speaks as vLLM 0.32 does: its routes, its events field by field, its errors.

What it says is a function of the prompt that it read, and of the options; so two requests get one answer only if
they were read alike.
"""

import base64
import io
import json
import math
from pathlib import Path

import torch

from adapters.base import Call
from adapters.eco.table import EmbeddingTable
from adapters.prompt import Prompter
from gateway.engines.text import pieces
from guards.base import Conversation, Turn

PRINT = "vllm-0.32.0-fake"


class FakeVllm:
    """Answers `says(prompt text)` token by token. Wrong in the ways that `faults` names.

    Args:
        faults: of "tokens" (another tokenizer), "ids" (those of a chat are ignored), "embeds" (refused), "noise"
            (embeddings are read as something else), "parts" (embeddings in messages are), "score" (refused),
            "unscored" (scores are left out), "whole" (of a prompt they are refused), "tools" (refused: no parser),
            "model" (another is served).
        parser: tokens without text have no event, and an answer ends in an empty delta.
        joined: tokens in one event.
        before, after: events, by the number of those that have left, that are written raw before it or at the end.
    """

    def __init__(self, folder, says=lambda prompt: "An answer.", *, faults=(), parser=True, joined=1, raw=None):
        self.prompter, self.table = Prompter(folder), EmbeddingTable(folder)
        self.says, self.faults, self.parser, self.joined = says, set(faults), parser, joined
        self.raw = raw or {}
        self.bodies = []
        self.context = 256
        self.alternatives = 28
        self.drawn = False  # whether it tells processed log-probabilities
        self.tells = worth
        self.own = -0.5  # what it tells of a token that is forced, where that is raw
        self.started = 1.7e9
        self.cut_at = None  # events after which the connection breaks
        self.made = 0

    async def __call__(self, writer, request):
        method, path, _, body = request
        if path == "/health":
            self._json(writer, {})
        elif path == "/metrics":
            self._text(writer, self.metrics())
        elif path == "/v1/models":
            name = "other" if "model" in self.faults else "tiny"
            self._json(writer, {"object": "list", "data": [{"id": name, "max_model_len": self.context}]})
        elif method == "GET":
            self._json(writer, {"detail": "Not Found"}, 404)
        elif path == "/tokenize":
            self._json(writer, {"tokens": self._tokenized(json.loads(body))})
        else:
            asked = json.loads(body)
            self.bodies.append((path.removeprefix("/v1/"), asked))
            refusal = self._refusal(asked)
            if refusal == "late":
                self._late(writer)
            elif refusal:
                error = {"message": "no", "type": "BadRequestError", "param": refusal, "code": 400}
                self._json(writer, {"error": error}, status=400)
            elif asked.get("stream"):
                self._stream(writer, path.endswith("chat/completions"), asked)
            else:
                self._json(writer, self._whole(path.endswith("chat/completions"), asked))
        await writer.drain()

    def metrics(self):
        cache = 'vllm:cache_config_info{block_size="16",user_specified_block_size="False"} 1.0'
        return f"# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {self.started}\n{cache}\n"

    def _refusal(self, asked):
        for scored, kinds in (("prompt_logprobs", {"score", "whole"}), ("return_tokens_as_token_ids", {"score"})):
            if scored in asked and not kinds.isdisjoint(self.faults):
                return scored
        if asked.get("tools") and "tools" in self.faults and asked.get("tool_choice", "auto") != "none":
            return "tools"
        if max(asked.get("top_logprobs", 0), int(asked.get("logprobs") or 0)) > self.alternatives:
            return "logprobs"
        form = asked.get("structured_outputs") or {}
        if form.get("regex", "").count("(") != form.get("regex", "").count(")"):
            return "structured_outputs"
        if form.get("grammar") == "bad":
            return "late"
        if "embeds" in self.faults and ("prompt_embeds" in asked or "prompt_embeds" in json.dumps(asked)):
            return "prompt_embeds"
        return None

    def _tokenized(self, asked):
        ids = self._rendered(asked["messages"], asked.get("tools")).token_ids
        return [*ids, 0] if "tokens" in self.faults else list(ids)

    def _rendered(self, messages, tools=None):
        turns = tuple(Turn(one["role"], one["content"] or "") for one in messages)
        return self.prompter.render(Call(Conversation(turns), options={"tools": tools} if tools else {}))

    def _read(self, asked):
        """The ids of what is read; embeddings that are nobody's are the id 7."""
        if "prompt_embeds" in asked:
            ids = self._nearest(asked["prompt_embeds"])
            return [7] * len(ids) if "noise" in self.faults else ids
        if "prompt" in asked:
            return asked["prompt"]
        handed = (asked.get("kv_transfer_params") or {}).get("prompt_token_ids")
        parts = {
            i: self._nearest(one["content"][0]["data"])
            for i, one in enumerate(asked["messages"])
            if isinstance(one["content"], list)
        }
        if handed and "ids" not in self.faults and not parts:
            return handed
        texts = [
            {"role": one["role"], "content": self.prompter.decode(parts[i]) if i in parts else one["content"] or ""}
            for i, one in enumerate(asked["messages"])
        ]
        prompt = self._rendered(texts)
        ids = list(prompt.token_ids)
        for turn, start, stop in prompt.contents:
            if turn in parts:
                ids[start:stop] = [7] * (stop - start) if "parts" in self.faults else parts[turn]
        return ids

    def _nearest(self, data):
        rows = torch.load(io.BytesIO(base64.b64decode(data)), weights_only=True).float().numpy()
        table = self.table.rows(range(self.table.size))
        same = (rows[:, None, :] == table[None, :, :]).all(axis=2)
        return [int(found.argmax()) if found.any() else 7 for found in same]

    def answer(self, asked):
        """Tokens of the answer as (id, text), and how it ends."""
        ids = self._read(asked)
        said = self.says(self.prompter.decode(ids))
        limit = min(asked.get("max_tokens", self.context), self.context - len(ids))
        if asked.get("allowed_token_ids") == [self.prompter.eos_id]:
            said = ""
        said_ids = self.prompter.encode(said)
        tokens = list(zip(said_ids, pieces(said_ids, self.prompter.decode), strict=False))
        least = limit if asked.get("ignore_eos") else asked.get("min_tokens", 0)
        while len(tokens) < least:
            tokens.append((9, " more"))
        return tokens[:limit], "stop" if len(tokens) < limit else "length", len(ids)

    def _stream(self, writer, chat, asked):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        self.made += 1
        written = 0
        for i, event in enumerate(self._events(chat, asked)):
            for raw in self.raw.get(i, ()):
                self._chunk(writer, raw)
            if i == self.cut_at:
                writer.transport.abort()
                return
            self._chunk(writer, event)
            written = i + 1
        for raw in self.raw.get("end", ()) or self.raw.get(written, ()):
            self._chunk(writer, raw)
        writer.write(b"0\r\n\r\n")

    def _events(self, chat, asked):
        n, ids = asked.get("n", 1), asked.get("return_token_ids")
        tokens, reason, read = self.answer(asked)
        head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{self.made:016x}",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": 1795220224 + self.made,
            "model": asked["model"],
        }
        logprobs = bool(asked.get("logprobs")) if chat else asked.get("logprobs") is not None
        if chat:
            for index in range(n):
                choice = {
                    "index": index,
                    "delta": {"role": "assistant", "content": ""},
                    "logprobs": None,
                    "finish_reason": None,
                }
                prompt_ids = self._read(asked) if ids else None
                yield sse({**head, "choices": [choice], "prompt_token_ids": prompt_ids, "prompt_text": None})
        if reason == "stop":
            tokens = [*tokens, (self.prompter.eos_id, "")]
        for start in range(0, len(tokens), self.joined):
            some = tokens[start : start + self.joined]
            text, last = "".join(text for _, text in some), start + self.joined >= len(tokens)
            if self.parser and not text and not last and not ids:
                continue
            for index in range(n):
                finish = {"finish_reason": reason if last else None}
                stop = {"stop_reason": None} if last or not chat else {}
                token_ids = {"token_ids": [one for one, _ in some] if ids else None}
                scored = self._logprobs(chat, some, asked) if logprobs else None
                if chat:
                    delta = {} if not text and self.parser else {"content": text}
                    choice = {"index": index, "delta": delta, "logprobs": scored, **finish, **stop, **token_ids}
                else:
                    prompt = {"prompt_token_ids": self._read(asked) if ids and not start else None}
                    choice = {"index": index, "text": text, "logprobs": scored, **finish, **stop, **prompt, **token_ids}
                yield sse({**head, "choices": [choice]})
        usage = {"prompt_tokens": read, "total_tokens": read + n * len(tokens), "completion_tokens": n * len(tokens)}
        yield sse({**head, "choices": [], "usage": usage, "system_fingerprint": PRINT})
        yield b"data: [DONE]\n\n"

    def _logprobs(self, chat, tokens, asked):
        named = [(text or "<|im_end|>", -0.25) for _, text in tokens]
        if not chat:
            return {
                "text_offset": [0] * len(named),
                "token_logprobs": [logprob for _, logprob in named],
                "tokens": [text for text, _ in named],
                "top_logprobs": [{text: logprob, " other": -2.0} for text, logprob in named],
            }
        best = [[shaped(text, logprob), shaped(" other", -2.0)] for text, logprob in named]
        return {
            "content": [
                {**shaped(*one), "top_logprobs": top[: asked.get("top_logprobs", 0)]}
                for one, top in zip(named, best, strict=True)
            ]
        }

    def _whole(self, chat, asked):
        self.made += 1
        tokens, reason, read = self.answer(asked)
        text = "".join(text for _, text in tokens)
        written = len(tokens) + (reason == "stop")
        choice = {"index": 0, "logprobs": None, "finish_reason": reason, "stop_reason": None}
        if chat:
            choice["message"] = {"role": "assistant", "content": text, "reasoning": None, "tool_calls": []}
        else:
            choice["text"] = text
        if "prompt_logprobs" in asked and "unscored" not in self.faults:
            choice["prompt_logprobs"] = [None, *map(self._row, asked["prompt"][1:])]
        if asked.get("return_tokens_as_token_ids") and "unscored" not in self.faults:
            choice["logprobs"] = {"top_logprobs": [self._likeliest(asked)]}
        choices = [{**choice, "index": index} for index in range(asked.get("n", 1))]
        usage = {"prompt_tokens": read, "completion_tokens": written * len(choices)}
        return {"id": "x", "created": 1, "model": asked["model"], "choices": choices, "usage": usage}

    def _likeliest(self, asked):
        """Of the next token, whatever was read: 8 to 35 are the likeliest. The token that is said is told besides."""
        best = {token: self.tells(token) for token in range(8, 36)}
        only = asked.get("allowed_token_ids")
        if self.drawn and only:
            values = {token: self.tells(token) for token in only}
            mass = math.log(sum(map(math.exp, values.values())))
            best = {token: value - mass for token, value in values.items()}
        known = dict(sorted(best.items(), key=lambda one: -one[1])[: asked["logprobs"]])
        if only and not self.drawn:
            known = {only[0]: self.own} | known  # a raw server says what it was worth before that
        return {f"token_id:{token}": value for token, value in known.items()}

    def _row(self, token):
        own = {"logprob": -0.5, "rank": 1, "decoded_token": self.prompter.piece(token)}
        return {str(token): own, "8": {"logprob": -1.5, "rank": 2, "decoded_token": " b"}}

    def _json(self, writer, value, status=200):
        body = json.dumps(value).encode()
        writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n" % status)
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)

    def _text(self, writer, text):
        body = text.encode()
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    def _late(self, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        self._chunk(writer, sse({"error": {"message": "no", "type": "BadRequestError", "code": 400}}))
        writer.write(b"0\r\n\r\n")

    def _chunk(self, writer, data):
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def sse(value):
    """One event, spaced as pydantic writes JSON."""
    return b"data: " + json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def worth(token):
    """Of a token as the next one, where what is told is what it is drawn from."""
    return -1.5 - (token - 8) if 8 <= token < 36 else -40.5


def shaped(text, logprob):
    """A token of a chat's log-probabilities."""
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


class FakeWardrobe(FakeVllm):
    """With `--enable-lora`, and what a LoRA adds is the name under which it is worn.

    Args:
        slots, apart: of `--max-loras`; and whether it tells that it runs on a GPU.
        faults: also of "routes" (none to load by), "folder" (it sees another), "mixes" (rows without a LoRA are
            answered as if they wore the last), "deaf" (LoRAs are loaded and not worn), "stays" (a name that was
            unloaded is still known), "rank" (each is of too high a rank), "slots" (it does not say how many), "metrics"
            (it tells none).
    """

    def __init__(self, folder, *, slots=8, apart=True, **how):
        super().__init__(folder, **how)
        self.slots, self.apart = slots, apart
        self.loaded = {}  # name → path
        self.asked = []  # loads and unloads, by name

    async def __call__(self, writer, request):
        method, path, _, body = request
        if path == "/metrics":
            self._text(writer, self.metrics())
        elif method == "GET" and path == "/v1/load_lora_adapter" and "routes" not in self.faults:
            self._json(writer, {"detail": "Method Not Allowed"}, 405)
        elif path == "/v1/models":
            worn = [{"id": name, "parent": "tiny"} for name in self.loaded]
            base = {"id": "tiny", "parent": None, "max_model_len": self.context}
            self._json(writer, {"object": "list", "data": [base, *worn]})
        elif path.endswith("load_lora_adapter") and "routes" not in self.faults:
            self._json(writer, {}, self._moved(path, json.loads(body)))
        elif path.startswith("/v1/") and body and json.loads(body).get("model") not in ("tiny", *self.loaded):
            self._json(writer, {"error": {"message": "no", "param": "model", "code": 404}}, 404)
        else:
            return await super().__call__(writer, request)
        await writer.drain()
        return None

    def metrics(self):
        slots = f'vllm:lora_requests_info{{max_lora="{self.slots}",running_lora_adapters=""}} 1.7\n'
        if "metrics" in self.faults:
            return ""
        block = 16 if self.apart else 128
        return (
            f"process_start_time_seconds {self.started}\n{'' if 'slots' in self.faults else slots}"
            f'vllm:cache_config_info{{block_size="{block}",user_specified_block_size="False"}} 1.0\n'
        )

    def _moved(self, path, asked):
        name, loads = asked["lora_name"], path.endswith("/load_lora_adapter")
        self.asked.append(("load" if loads else "unload", name))
        if not loads:
            known = name in self.loaded
            if "stays" not in self.faults:
                self.loaded.pop(name, None)
            return 200 if known else 404
        if name in self.loaded:
            return 400
        if "folder" in self.faults or not Path(asked["lora_path"], "adapter_config.json").exists():
            return 404
        if "rank" in self.faults:
            return 500
        self.loaded[name] = asked["lora_path"]
        return 200

    def _whole(self, chat, asked):
        told = super()._whole(chat, asked)
        if asked.get("logprobs") is not None and not chat and told["choices"][0]["logprobs"] is None:
            told["choices"][0]["logprobs"] = self._logprobs(chat, self.answer(asked)[0], asked)
        return told

    def answer(self, asked):
        own, name = self.says, asked["model"]
        if "mixes" in self.faults and self.loaded:
            name = [*self.loaded][-1]
        if name in self.loaded and "deaf" not in self.faults:
            self.says = lambda prompt: f"Wearing {name[-6:]}."
        try:
            return super().answer(asked)
        finally:
            self.says = own
