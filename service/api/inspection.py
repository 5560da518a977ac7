"""`POST /inspect`: the gates and states of the LSTM along a text, for people who want to see how it works."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Field, create_model
from pydantic_core import to_json

from service.api import answer, schemas
from service.engine.encoding import BadText
from service.engine.inspector import COST, MAX_TOKENS, Direction, Inspector
from service.http.body import JsonRoute
from service.http.problems import Problem
from service.model.offsets import Unit, table
from service.telemetry.request_log import RequestRecord

_DIGITS = 4  # after the decimal point: the picture shows fewer, and all would take twice the bytes
_ROWS: Any = Field(description=f"[token][unit], rounded to {_DIGITS} digits after the decimal point")


class Token(schemas.Wire):
    """Where a token stands."""

    start: int = Field(description="offset of its first character in the text as sent, in the unit of `offsets`")
    end: int = Field(description="offset after its last character")


class Inspected(schemas.Wire):
    """The answer to `POST /inspect`; names as in `service/model/cell.py`."""

    model: str
    direction: Direction
    read: int = Field(description=f"tokens that the network reads of the text; the first {MAX_TOKENS} are told")
    tokens: list[Token]
    input_gate: list[list[float]] = _ROWS
    forget_gate: list[list[float]] = _ROWS
    output_gate: list[list[float]] = _ROWS
    candidate: list[list[float]] = _ROWS
    cell: list[list[float]] = _ROWS
    hidden: list[list[float]] = _ROWS


class One(schemas.Wire):
    """The body."""

    text: str
    direction: Direction = Field("forward", description="`backward`: the LSTM that reads from the last token")
    offsets: Unit = Field("code_points", description="what `start` and `end` count")


def router(inspector: Inspector, route: type[JsonRoute], limits: schemas.Limits) -> APIRouter:
    """The route; `route` reads and bounds its body."""
    routes = APIRouter(tags=["inspect"], route_class=route)
    text = Annotated[
        str,
        Field(min_length=1, max_length=limits.max_characters, json_schema_extra={"pattern": schemas.NOT_BLANK}),
    ]
    config = ConfigDict(extra="forbid", json_schema_extra={"example": {"text": schemas.TEXT_EXAMPLE}})
    body_model = create_model("InspectRequest", __config__=config, __base__=One, text=(text, ...))
    good: dict[int | str, dict[str, Any]] = {200: {"headers": schemas.REQUEST_ID_HEADER}}

    @routes.post(
        "/inspect",
        response_model=Inspected,
        responses=good | schemas.problem_responses(*answer.PROBLEMS, "no_inspection"),
        openapi_extra={"parameters": answer.HEADERS},
    )
    async def inspect(request: Request, body: body_model) -> Response:  # type: ignore[valid-type]
        """Computes the gates and states of the LSTM along a text, in NumPy."""
        asked: One = body
        record = RequestRecord.of(request.scope)
        try:
            found = await inspector.inspect(asked.text, asked.direction, record.deadline)
        except BadText as error:
            raise Problem("invalid", f"text: {error}") from None
        record.tokens = COST * found.read  # which a key pays for, as in the queue
        spans = table(asked.text, asked.offsets)[found.spans].tolist()
        arrays = {name: np.round(array.astype(float), _DIGITS).tolist() for name, array in vars(found.trace).items()}
        content = {
            "model": found.model,
            "direction": asked.direction,
            "read": found.read,
            "tokens": [{"start": start, "end": end} for start, end in spans],
        }
        return Response(to_json(content | arrays), media_type="application/json")

    return routes
