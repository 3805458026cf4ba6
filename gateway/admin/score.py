"""How likely the gateway makes an answer: log-probabilities on the gated path, for benchmarks.

Which method they are of is a decision, and decisions are for the admin scope, as at `/admin/v1/check`: a key that may
only evaluate is given the numbers and not told.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from adapters.base import Call, TokenLogprob
from gateway.admin.access import Evaluator, TheCore, admin_router
from gateway.auth import Scope
from gateway.errors import NotFound
from gateway.params import Message, conversation_of

router = admin_router("scores")


class ScoreBody(BaseModel):
    """A conversation, and the answer whose tokens are to be scored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[Message], Field(min_length=1)]
    answer: str


class TokenView(BaseModel):
    """One token and its natural-log probability."""

    token: str
    logprob: float
    first: bool = Field(description="whether no other token is likelier there")
    mean: float | None = Field(description="of the log-probability there, over the vocabulary; null where unknown")
    variance: float | None = Field(description="likewise")

    @classmethod
    def of(cls, token: TokenLogprob) -> Self:
        """As the engine tells it."""
        mean, variance = token.moments or (None, None)
        first = all(token.logprob >= likeliest for _, likeliest in token.top)
        return cls(token=token.text, logprob=token.logprob, first=first, mean=mean, variance=variance)


class Score(BaseModel):
    """The answer's tokens in order, the end of sequence last."""

    object: Literal["score"] = "score"
    model: str
    tokens: list[TokenView]
    logprob: float = Field(description="sum over the tokens")
    method: str | None = Field(description="of the plan that was scored; null to a key that may only evaluate")


@router.post("/score")
async def score(body: ScoreBody, evaluator: Evaluator, core: TheCore) -> Score:
    """Score an answer, teacher-forced, under whatever plan its conversation gets."""
    if body.model != core.engine.name:
        raise NotFound("The model does not exist.", param="model", code="model_not_found")
    method, tokens = await core.score(Call(conversation_of(body.messages)), body.answer)
    return Score(
        model=core.engine.name,
        tokens=[TokenView.of(token) for token in tokens],
        logprob=sum(token.logprob for token in tokens),
        method=method if Scope.ADMIN in evaluator.scopes else None,
    )
