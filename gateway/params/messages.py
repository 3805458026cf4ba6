"""Messages and definitions as turns: all that a template may render of them, for the guards to read."""

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from gateway.params.strings import GIVEN, TooDeep, readable
from guards.base import DEFINITION, Conversation, Turn

_UNREADABLE = frozenset(
    {"image_url", "input_image", "image_embeds", "audio_url", "input_audio", "audio_embeds", "video_url", "input_video"}
    | {"file", "input_file", "prompt_embeds", "refusal", "thinking", "tool_reference"}
)
NAME = r"^[a-zA-Z0-9_.-]{1,64}$"  # of a function


class Strict(BaseModel):
    """No field but these, no value but of its type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


def _shallow(value: Any) -> Any:
    try:
        readable(value, GIVEN)
    except TooDeep:
        raise PydanticCustomError("depth", "nested deeper than {depth}", {"depth": GIVEN}) from None
    return value


Schema = Annotated[dict[str, Any], AfterValidator(_shallow)]  # JSON of any shape that guards and templates can walk


class TextPart(Strict):
    """The one kind of content part that the guards can read."""

    type: Literal["text"]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        kind = value.get("type") if isinstance(value, dict) else None
        if isinstance(kind, str) and kind in _UNREADABLE:
            raise PydanticCustomError(
                "part", "parts of type {kind} are refused: only text can be read by the guards", {"kind": kind}
            )
        return value


def parsed(arguments: str) -> Any:
    """The value of a call's arguments; None for what is no JSON."""
    try:
        value = json.loads(arguments)
    except RecursionError:
        raise PydanticCustomError("depth", "nested deeper than {depth}", {"depth": GIVEN}) from None
    except ValueError:
        return None
    try:
        readable(_shallow(value)).encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("unicode", "not valid Unicode") from None
    return value


def _can_be_read(arguments: str) -> str:
    parsed(arguments)
    return arguments


Arguments = Annotated[str, AfterValidator(_can_be_read)]  # JSON, or what a model took for it


class CalledFunction(Strict):
    """What an earlier answer called."""

    name: str = Field(pattern=NAME)
    arguments: Arguments


class MessageToolCall(Strict):
    """One call of an earlier answer."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(Strict):
    """One message. `reasoning_content` is an older word for `reasoning`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    name: str | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    content: str | list[TextPart] | None = Field(default=None, validate_default=True)
    # what answers carry, and clients send back
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None
    audio: None = None
    function_call: None = None
    refusal: None = None

    @field_validator("tool_calls", "reasoning", "reasoning_content")
    @classmethod
    def _of_assistants(cls, value: Any, info: ValidationInfo) -> Any:
        return _only("assistant", value, info)

    @field_validator("tool_call_id")
    @classmethod
    def _of_tools(cls, value: Any, info: ValidationInfo) -> Any:
        return _only("tool", value, info)

    @field_validator("content")
    @classmethod
    def _says_something(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and not (info.data.get("tool_calls") or info.data.get("reasoning")):
            raise PydanticCustomError("missing", "required")
        return value

    @property
    def text(self) -> str:
        """The content."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""

    def turn(self) -> Turn:
        """The message as a turn. `developer` is OpenAI's newer word for `system`; templates know the old one."""
        role = "system" if self.role == "developer" else self.role
        more = dict(self._more())
        if not more:
            return Turn(role, self.text)
        message = {"role": role, "content": None if self.content is None else self.text, **more}
        return Turn(role, readable([self.text, *map(self._read, more, more.values())]), message)

    def _more(self) -> Iterator[tuple[str, Any]]:
        """What is neither role nor content, in OpenAI's words."""
        if (thought := self.reasoning or self.reasoning_content) is not None:
            yield "reasoning", thought
        if self.tool_calls:
            yield "tool_calls", [call.model_dump() for call in self.tool_calls]
        if self.tool_call_id is not None:
            yield "tool_call_id", self.tool_call_id
        if self.name is not None:
            yield "name", self.name

    def _read(self, name: str, value: Any) -> Any:
        """What the guards read of it: arguments as they came, and without their escapes where they have any."""
        if name != "tool_calls":
            return value
        called = [(call.id, call.function.name, call.function.arguments) for call in self.tool_calls or ()]
        return [[*texts, parsed(texts[-1]) if "\\" in texts[-1] else None] for texts in called]


def _only(role: str, value: Any, info: ValidationInfo) -> Any:
    if value and info.data.get("role") not in (role, None):
        raise PydanticCustomError("role", "stands in messages of the role {role} only", {"role": role})
    return value


def conversation_of(messages: Sequence[Message], definitions: Sequence[Any] = ()) -> Conversation:
    """The turns of OpenAI's messages, after what else the model reads: tools, schemas, documents."""
    defined = [Turn(DEFINITION, text) for one in definitions if (text := readable(one))]
    return Conversation((*defined, *(message.turn() for message in messages)))
