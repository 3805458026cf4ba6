"""Options as clients write them: tools, formats of an answer, ways to force or to reason. Checked, never rewritten."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import BadRequest
from gateway.params.messages import NAME, Schema, Strict

TOOLS = 128  # definitions in one request, as OpenAI limits them

Options = dict[str, Any]  # in OpenAI's and vLLM's own words
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
TokenId = Annotated[int, Field(ge=0)]
Bias = Annotated[
    dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], Annotated[float, Field(ge=-100, le=100)]], Field(max_length=300)
]


class Function(Strict):
    """A function that the model may call."""

    name: str = Field(pattern=NAME)
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Strict):
    """One tool of a chat."""

    type: Literal["function"]
    function: Function


class FunctionName(Strict):
    """A function, named."""

    name: str


class NamedTool(Strict):
    """The one tool that must be called."""

    type: Literal["function"]
    function: FunctionName


ToolChoice = Literal["none", "auto", "required"] | NamedTool


class JsonSchema(Strict):
    """The schema of an answer."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str = Field(pattern=NAME)
    description: str | None = None
    schema_: Schema | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_it_belongs(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise PydanticCustomError("lacking", "json_schema stands with the type json_schema, and only there")
        return self


class StructuredOutputs(Strict):
    """vLLM's own words for the same, and for more."""

    model_config = ConfigDict(serialize_by_alias=True)

    json_: str | Schema | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: Literal[True] | None = None
    disable_any_whitespace: bool | None = None
    disable_additional_properties: bool | None = None
    whitespace_pattern: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = (self.json_, self.regex, self.choice, self.grammar, self.json_object)
        if sum(kind is not None for kind in kinds) != 1:
            raise PydanticCustomError("lacking", "give exactly one of json, regex, choice, grammar and json_object")
        return self


class TemplateSwitches(Strict):
    """What may be told to the chat template."""

    enable_thinking: bool | None = None


class StreamOptions(Strict):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


def chosen(tools: Sequence[Tool] | None, choice: ToolChoice | None, parallel: bool | None) -> Options:
    """The options of tools and of their choice; none where there are no tools.

    Raises:
        BadRequest: a choice of what is not there.
    """
    named = {tool.function.name for tool in tools or ()}
    if isinstance(choice, NamedTool) and choice.function.name not in named:
        raise BadRequest("tool_choice names a function that is not in tools.", param="tool_choice")
    if not tools:
        if choice == "required":
            raise BadRequest("tool_choice is required, and there are no tools.", param="tool_choice")
        return {}
    found: Options = {"tools": [tool.model_dump(exclude_unset=True) for tool in tools]}
    if choice is not None:
        found["tool_choice"] = choice if isinstance(choice, str) else choice.model_dump()
    return found if parallel in (None, True) else {**found, "parallel_tool_calls": False}


def formed(response_format: ResponseFormat | None, structured: StructuredOutputs | None = None) -> Options:
    """The options of an answer's form."""
    found: Options = {}
    if response_format and response_format.type != "text":
        found["response_format"] = response_format.model_dump(exclude_unset=True)
    if structured:
        found["structured_outputs"] = structured.model_dump(exclude_unset=True)
    return found


def reasoned(effort: Effort | None, include: bool | None, switches: TemplateSwitches | None) -> Options:
    """The options of reasoning."""
    found: Options = {}
    if effort is not None:
        found["reasoning_effort"] = effort
    if include is False:
        found["include_reasoning"] = False
    if switches is not None and switches.enable_thinking is not None:
        found["chat_template_kwargs"] = {"enable_thinking": switches.enable_thinking}
    return found


def defined(options: Options) -> list[Any]:
    """What the model, or the grammar of its answer, reads beside the messages."""
    read = [options[name] for name in ("tools", "response_format", "structured_outputs") if name in options]
    return [*read, *options.get("documents", ())]
