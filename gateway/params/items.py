"""The body of `/v1/responses`: its items as messages, its words as chat's, so that one path answers both."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from adapters.base import Call
from gateway.errors import BadRequest
from gateway.params.bodies import Generation
from gateway.params.messages import (
    NAME,
    Arguments,
    CalledFunction,
    Message,
    MessageToolCall,
    Schema,
    Strict,
    conversation_of,
)
from gateway.params.options import (
    TOOLS,
    Effort,
    Function,
    FunctionName,
    JsonSchema,
    NamedTool,
    Options,
    ResponseFormat,
    TemplateSwitches,
    Tool,
    chosen,
    defined,
    formed,
    reasoned,
)
from gateway.params.table import RESPONSES
from gateway.settings import LimitSettings

Status = Literal["in_progress", "completed", "incomplete"]
Nothing = Annotated[list[Any], Field(max_length=0)]


class Said(Strict):
    """A part of text: what was put in or, in an answer sent back, what came out."""

    type: Literal["input_text", "output_text"]
    text: str
    annotations: Nothing | None = None
    logprobs: Nothing | None = None


class Spoken(Strict):
    """A message."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Said]
    id: str | None = None
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class Called(Strict):
    """A function call of an earlier answer."""

    type: Literal["function_call"]
    call_id: str
    name: str = Field(pattern=NAME)
    arguments: Arguments
    id: str | None = None
    status: Status | None = None


class Output(Strict):
    """What a function gave."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Said]
    id: str | None = None
    status: Status | None = None


class Thought(Strict):
    """A text of reasoning."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


class Reasoned(Strict):
    """The reasoning of an earlier answer, in the open."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Thought] | None = None
    content: list[Thought] | None = None
    encrypted_content: None = None
    status: Status | None = None

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(thought.text for thought in (self.content or self.summary or ()))


def _kind(item: Any) -> str | None:
    """The tag of an item; never an identifier, so that no error shows it as a field."""
    kind = item.get("type", "message") if isinstance(item, dict) else getattr(item, "type", None)
    return f"an item: {kind}"


Item = Annotated[
    Annotated[Spoken, Tag("an item: message")]
    | Annotated[Called, Tag("an item: function_call")]
    | Annotated[Output, Tag("an item: function_call_output")]
    | Annotated[Reasoned, Tag("an item: reasoning")],
    Discriminator(
        _kind,
        custom_error_type="item",
        custom_error_message="must be a message, a function_call, a function_call_output or reasoning",
    ),
]


class FlatTool(Function):
    """One tool, as this endpoint writes it."""

    type: Literal["function"]

    @property
    def tool(self) -> Tool:
        """The same, as chat writes it."""
        function = self.model_dump(exclude_unset=True, exclude={"type"})
        return Tool(type="function", function=Function(**function))


class NamedFunction(Strict):
    """The one function that must be called."""

    type: Literal["function"]
    name: str


class Format(Strict):
    """What an answer must look like, as this endpoint writes it."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(default=None, pattern=NAME)
    description: str | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @property
    def response_format(self) -> ResponseFormat:
        """The same, as chat writes it."""
        given = self.model_dump(exclude_unset=True, exclude={"type"})
        if self.type != "json_schema":
            return ResponseFormat(type=self.type)
        if self.name is None:
            raise BadRequest("text.format.name: required.", param="text.format.name")
        return ResponseFormat(type=self.type, json_schema=JsonSchema(**given))


class TextSettings(Strict):
    """How the text of an answer is written."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Strict):
    """How much to reason."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class StreamSettings(Strict):
    """Nothing of them changes anything here."""

    include_obfuscation: bool | None = None


class ResponsesBody(Generation):
    """`POST /v1/responses`. Everything that is to be read comes with the request: no history is kept here."""

    endpoint: ClassVar[str] = RESPONSES
    spelled: ClassVar[Mapping[str, str]] = {"response_format": "text", "reasoning_effort": "reasoning"}

    input: str | Annotated[list[Item], Field(min_length=1)]
    chat_template_kwargs: TemplateSwitches | None = None
    include_reasoning: bool | None = None
    instructions: str | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    parallel_tool_calls: bool | None = None
    prompt_cache_retention: str | None = None
    reasoning: Reasoning | None = None
    stream_options: StreamSettings | None = None
    text: TextSettings | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = None
    tools: list[FlatTool] | None = Field(default=None, max_length=TOOLS)

    def call(self, limits: LimitSettings) -> Call:
        sampling = self._sampling(self.max_output_tokens, None, limits)
        options = self._options()
        return Call(conversation_of(self._messages(), defined(options)), sampling, options=options)

    def _options(self) -> Options:
        choice: Any = self.tool_choice
        if isinstance(choice, NamedFunction):
            choice = NamedTool(type="function", function=FunctionName(name=choice.name))
        found = chosen([one.tool for one in self.tools or ()], choice, self.parallel_tool_calls)
        if self.text and self.text.format:
            found |= formed(self.text.format.response_format)
        effort = self.reasoning.effort if self.reasoning else None
        return super()._options() | found | reasoned(effort, self.include_reasoning, self.chat_template_kwargs)

    def _messages(self) -> list[Message]:
        if isinstance(self.input, str):
            said = [Message(role="user", content=self.input)]
        else:
            said = list(_messages(self.input))
        return [Message(role="system", content=self.instructions), *said] if self.instructions else said


def _messages(items: Sequence[Item]) -> Iterator[Message]:
    """Items as messages. Reasoning and calls that follow each other are one message of the assistant's."""
    thought: str | None = None
    calls: list[MessageToolCall] = []
    for item in items:
        if isinstance(item, Called):
            function = CalledFunction(name=item.name, arguments=item.arguments)
            calls.append(MessageToolCall(id=item.call_id, function=function))
            continue
        if calls:
            yield Message(role="assistant", reasoning=thought, tool_calls=calls)
            thought, calls = None, []
        if isinstance(item, Reasoned):
            thought = item.text
        elif isinstance(item, Output):
            yield Message(role="tool", tool_call_id=item.call_id, content=_text(item.output))
        else:
            own = thought if item.role == "assistant" else None
            yield Message(role=item.role, content=_text(item.content), reasoning=own)
            thought = None
    if calls:
        yield Message(role="assistant", reasoning=thought, tool_calls=calls)


def _text(content: str | list[Said]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)
