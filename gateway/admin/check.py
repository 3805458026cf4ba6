"""What the gateway would do with a text: the verdict and the plan, without inference."""

import asyncio
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from gateway.admin.access import Admin, TheCore, admin_router
from gateway.core import Core
from gateway.params import Message, conversation_of
from guards.base import Conversation

router = admin_router("checks")

_CHECKS = 1_000
_AT_ONCE = 8  # more would wait for each other past the guards' deadline

Messages = Annotated[list[Message], Field(min_length=1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Check(_Body):
    """A conversation, or one text taken as a user's message; with an answer, what would leave of that too."""

    messages: Messages | None = None
    text: str | None = None
    answer: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.messages is None) == (self.text is None):
            raise _at("messages", "give either messages or text")
        return self

    def conversation(self) -> Conversation:
        """What the model would read."""
        return Conversation.of(self.text) if self.text is not None else conversation_of(self.messages or [])


class Checks(_Body):
    """One check, or many under `checks`."""

    messages: Messages | None = None
    text: str | None = None
    answer: str | None = None
    checks: Annotated[list[Check], Field(min_length=1, max_length=_CHECKS)] | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        alone = (self.messages, self.text, self.answer)
        if self.checks is not None and any(part is not None for part in alone):
            raise _at("checks", "give either checks or a single one, not both")
        if self.checks is None and (self.messages is None) == (self.text is None):
            raise _at("messages", "give either messages, text or checks")
        return self


class Touched(BaseModel):
    """A forget request that the conversation touches, and which guard said so."""

    id: str
    score: float
    threshold: float
    guard: str


class CheckedAnswer(BaseModel):
    """What the output guard would let out of an answer."""

    stopped: bool
    released: str


class Checked(BaseModel):
    """Verdict and plan."""

    touched: bool
    requests: list[Touched]
    plan: str
    answer: CheckedAnswer | None = None


class CheckedAll(BaseModel):
    """One verdict for each check, in order."""

    checks: list[Checked]


@router.post("/check", response_model_exclude_unset=True)
async def check(body: Checks, admin: Admin, core: TheCore) -> Checked | CheckedAll:
    """Which forget requests a conversation touches, and what would be done about it."""
    if body.checks is None:
        return await _checked(core, Check(messages=body.messages, text=body.text, answer=body.answer))
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Check) -> Checked:
        async with turn:
            return await _checked(core, item)

    return CheckedAll(checks=list(await asyncio.gather(*map(one, body.checks))))


async def _checked(core: Core, item: Check) -> Checked:
    return Checked.model_validate(await core.check(item.conversation(), item.answer))


def _at(field: str, message: str) -> ValidationError:
    """An error of the whole body that names one field."""
    error = PydanticCustomError("lacking", message)
    return ValidationError.from_exception_data("check", [{"type": error, "loc": (field,), "input": None}])
