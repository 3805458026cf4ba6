"""What a person may ask to be forgotten: the body of a forget request, checked field by field.

An error names the field, a limit is stated where it is passed, and neither repeats what was sent.
"""

import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from guards.aliases import alias_warnings

DOCUMENT_BYTES = 1_000_000  # all documents of one request, in UTF-8
TOPIC_EXAMPLES = 3  # fewer say too little about a domain

Scope = Literal["entity", "facts", "documents", "topic"]
Method = Literal["auto", "eco", "uld", "o3", "ignorance"]

T = TypeVar("T")


def _unique(items: tuple[T, ...]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(items))


def _future(at: datetime) -> datetime:
    if at <= datetime.now(UTC):
        raise PydanticCustomError("past", "must be in the future")
    try:
        return at.astimezone(UTC)
    except OverflowError:  # the last hours of 9999, west of Greenwich
        raise PydanticCustomError("range", "must have a date in UTC") from None


def _fits(documents: tuple[str, ...]) -> tuple[str, ...]:
    size = sum(len(document.encode()) for document in documents)
    if size > DOCUMENT_BYTES:
        message = "documents may have {limit} bytes in all, these have {size}: file them as several requests"
        raise PydanticCustomError("too_large", message, {"limit": DOCUMENT_BYTES, "size": size})
    return documents


def _text(limit: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=limit)


def _refused(alias: str) -> str | None:
    """Why a name names nothing; None when it may."""
    return next((notice.message for notice in alias_warnings(alias) if notice.severity == "refuse"), None)


def _names_something(alias: str) -> str:
    if refused := _refused(alias):
        raise PydanticCustomError("alias", refused)
    return alias


Name = Annotated[str, _text(200)]
Alias = Annotated[Name, AfterValidator(_names_something)]
Line = Annotated[str, _text(2_000)]
Document = Annotated[str, _text(DOCUMENT_BYTES)]


class _Part(BaseModel):
    # hidden: an error's text may be logged
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Fact(_Part):
    """One question and the answer to forget."""

    question: Line = Field(repr=False)
    answer: Line = Field(repr=False)


class ForgetSpec(_Part):
    """The body of a forget request. Lists keep their order and lose their duplicates."""

    scope: Scope = Field(description="what kind of thing is to be forgotten")
    subject: Name | None = Field(None, repr=False, description="its name; an entity needs one")
    aliases: Annotated[tuple[Alias, ...], Field(max_length=64), AfterValidator(_unique)] = Field(
        (), repr=False, description="other names under which an entity is asked about"
    )
    facts: Annotated[tuple[Fact, ...], Field(max_length=1_000), AfterValidator(_unique)] = Field(
        (), repr=False, description="question and answer pairs; scope `facts` forgets these and nothing else"
    )
    documents: Annotated[
        tuple[Document, ...], Field(max_length=1_000), AfterValidator(_unique), AfterValidator(_fits)
    ] = Field((), repr=False, description="text that must not be reproduced, verbatim or nearly so")
    examples: Annotated[tuple[Line, ...], Field(max_length=1_000), AfterValidator(_unique)] = Field(
        (), repr=False, description=f"questions that touch the subject; a topic needs {TOPIC_EXAMPLES}"
    )
    retain: Annotated[tuple[Line, ...], Field(max_length=1_000), AfterValidator(_unique)] = Field(
        (), repr=False, description="questions nearby that must still be answered"
    )
    method: Method = Field("auto", description="how to enforce; `auto` takes the best that the engine can honour")
    reference: Name | None = Field(None, repr=False, description="the caller's own reference, such as a ticket")
    expires_at: Annotated[AwareDatetime, AfterValidator(_future)] | None = Field(
        None, description="retire the request at this time"
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        match self.scope:
            case "entity" if self.subject is None:
                raise _lacks("subject", "an entity needs a subject")
            case "entity" if refused := _refused(self.subject or ""):
                raise _lacks("subject", refused.replace("alias", "subject"))
            case "entity" if not (self.aliases or self.examples):
                raise _lacks("aliases", "an entity needs at least one alias or one example")
            case "facts" if not self.facts:
                raise _lacks("facts", "scope facts needs at least one fact")
            case "documents" if not self.documents:
                raise _lacks("documents", "scope documents needs at least one document")
            case "topic" if len(self.examples) < TOPIC_EXAMPLES:
                raise _lacks("examples", f"a topic needs at least {TOPIC_EXAMPLES} different examples")
        return self

    def identity(self) -> bytes:
        """Equal for requests to forget the same thing: an entity by its name, all else by what is listed too."""
        listed = [*(f"{fact.question}\0{fact.answer}" for fact in self.facts), *self.documents, *self.examples]
        known_by = [] if self.scope == "entity" else sorted(_folded(text) for text in listed)
        return orjson.dumps([self.scope, _folded(self.subject or ""), known_by])

    def stored(self) -> bytes:
        """As JSON, for the vault."""
        return self.model_dump_json().encode()

    @classmethod
    def restored(cls, stored: bytes) -> "ForgetSpec":
        """What `stored` gave. Not checked again: limits may have changed since, and times have passed."""
        fields: dict[str, Any] = orjson.loads(stored)
        for name in ("aliases", "documents", "examples", "retain"):
            fields[name] = tuple(fields[name])
        fields["facts"] = tuple(Fact.model_construct(**fact) for fact in fields["facts"])
        if fields["expires_at"]:
            fields["expires_at"] = datetime.fromisoformat(fields["expires_at"])
        return cls.model_construct(**fields)


def _lacks(field: str, message: str) -> ValidationError:
    """An error of the whole body that names one field."""
    error = PydanticCustomError("lacking", message)
    return ValidationError.from_exception_data("ForgetSpec", [{"type": error, "loc": (field,), "input": None}])


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
