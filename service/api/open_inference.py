"""`/v2`: the Open Inference Protocol, version 2, as Triton's and KServe's clients speak it.

One model, by the name in `GET /model`; its version is the digest that stands behind the name there. Bodies of `infer`
may hold binary tensors and be compressed, and need no Content-Type: tritonclient sends none.
"""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

import service
from service.api import answer, inference, schemas
from service.api.binary_tensors import LENGTH_HEADER
from service.api.inference import InferResponse, Tensor
from service.engine.engine import Engine
from service.engine.readiness import NotReady, Readiness
from service.http import codings
from service.http.body import JsonRoute, Reading
from service.http.problems import Problem
from service.telemetry.request_log import RequestRecord

_BINARY: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_JSON_BYTES = "bytes of JSON before binary tensors, counted without compression"
_LENGTH: dict[str, Any] = {
    "name": LENGTH_HEADER,
    "in": "header",
    "description": f"{_JSON_BYTES}; 0: the body is one text",
    "schema": {"type": "integer", "minimum": 0},
}
_GOOD_INFER: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": answer.GOOD_HEADERS | {LENGTH_HEADER: {"description": _JSON_BYTES, "schema": {"type": "integer"}}},
        "content": _BINARY,
    }
}
_GOOD: dict[int | str, dict[str, Any]] = {200: {"headers": schemas.REQUEST_ID_HEADER}}


class Server(BaseModel):
    """What serves."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(BaseModel):
    """What is served."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Live(BaseModel):
    """The body of a good answer of `/v2/health/live`; KServe's client reads the field."""

    live: bool


class Ready(BaseModel):
    """The body of a good answer of `/v2/health/ready`; KServe's client reads the field."""

    ready: bool


class ModelReady(Ready):
    """The body of a good answer of `ready` of a model."""

    name: str


class IndexEntry(BaseModel):
    """A model in the answer of `/v2/repository/index`."""

    name: str
    version: str
    state: str
    reason: str


def router(engine: Engine, route: type[JsonRoute], limits: schemas.Limits, readiness: Readiness) -> APIRouter:
    """All under `/v2`."""
    routes = APIRouter(tags=["Open Inference Protocol"])
    _add_infer(routes, engine, route, limits)
    _add_server(routes, engine, readiness)
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        _add_model(routes, path, engine, readiness)
    return routes


def _add_infer(routes: APIRouter, engine: Engine, route: type[JsonRoute], limits: schemas.Limits) -> None:
    model = inference.request_model(limits)

    async def infer(request: Request, body: model) -> Response:  # type: ignore[valid-type]
        """Predicts the labels of some texts, all or none."""
        _check_model(engine, request)
        texts, outputs = inference.texts(body, limits), inference.outputs(body)
        timeout_us = 0 if body.parameters is None else body.parameters.timeout  # type: ignore[attr-defined]
        if timeout_us:
            record = RequestRecord.of(request.scope)
            record.deadline = min(record.deadline, record.began + timeout_us / 1e6)
        answers = await answer.predict(engine, request, texts, "inputs.0.data.{}")
        content, json_bytes = inference.content(body, outputs, answers)
        coding = codings.accepted(dict(request.scope["headers"]).get(b"accept-encoding", b""))
        more = [(b"vary", b"Accept-Encoding")]
        if coding is not None:
            content = codings.compress(content, coding)
            more.append((b"content-encoding", coding))
        if json_bytes:
            more.append((LENGTH_HEADER.lower().encode(), b"%d" % json_bytes))
        response = answer.Answer(content, answers, b"application/octet-stream" if json_bytes else b"application/json")
        response.raw_headers += more
        return response

    reading = Reading(partial(inference.read, limits=limits), any_media_type=True, compressed=True)
    infer_route = route.reading_by(reading)
    problems = schemas.v2_problem_responses("not_found", *answer.PROBLEMS)
    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        parameters = [*answer.HEADERS, _LENGTH, *_path_parameters(path)]
        routes.add_api_route(
            path,
            infer,
            methods=["POST"],
            response_model=InferResponse,
            responses=_GOOD_INFER | problems,
            openapi_extra={"parameters": parameters, "requestBody": {"content": _BINARY}},
            route_class_override=infer_route,
        )


def _add_server(routes: APIRouter, engine: Engine, readiness: Readiness) -> None:
    always = _GOOD | schemas.v2_problem_responses("forbidden_origin", "internal")
    probe = _GOOD | schemas.v2_problem_responses("internal", "not_ready")

    @routes.get("/v2", responses=always)
    @routes.get("/v2/", responses=always)
    async def server() -> Server:
        """The server, and which extensions of the protocol it has."""
        return Server(name="ovation", version=service.__version__, extensions=["binary_tensor_data", "classification"])

    @routes.get("/v2/health/live", responses=probe)
    async def live() -> Live:
        """As `/health/live`."""
        if readiness.lost:
            raise NotReady("an inference thread was lost; the process is about to end")
        return Live(live=True)

    @routes.get("/v2/health/ready", responses=probe)
    async def ready() -> Ready:
        """As `/health/ready`."""
        await readiness.check()
        return Ready(ready=True)

    @routes.post("/v2/repository/index", responses=always)
    async def index() -> list[IndexEntry]:
        """The one model that there is, whatever the body says."""
        name, _, version = engine.classifier.name.partition("@")
        return [IndexEntry(name=name, version=version, state="READY", reason="")]


def _add_model(routes: APIRouter, path: str, engine: Engine, readiness: Readiness) -> None:
    told = _GOOD | schemas.v2_problem_responses("forbidden_origin", "internal", "not_found")
    probe = told | schemas.v2_problem_responses("not_ready")
    parameters = {"parameters": _path_parameters(path)}

    @routes.get(path, responses=told, openapi_extra=parameters)
    async def model(request: Request) -> ModelMetadata:
        """The model's inputs and outputs."""
        name, version = _check_model(engine, request)
        labels = len(engine.classifier.manifest.labels)
        return ModelMetadata(
            name=name,
            versions=[version],
            platform="onnx_onnxv1",
            inputs=[Tensor(name="text", datatype="BYTES", shape=[-1])],
            outputs=[
                Tensor(name="label", datatype="BYTES", shape=[-1]),
                Tensor(name="score", datatype="FP32", shape=[-1]),
                Tensor(name="probabilities", datatype="FP32", shape=[-1, labels]),
            ],
        )

    @routes.get(f"{path}/ready", responses=probe, openapi_extra=parameters)
    async def model_ready(request: Request) -> ModelReady:
        """Whether the model answers texts, as `/health/ready`."""
        name, _ = _check_model(engine, request)
        await readiness.check()
        return ModelReady(name=name, ready=True)


def _check_model(engine: Engine, request: Request) -> tuple[str, str]:
    """Name and version of the model that is served. Raises Problem where the path names another."""
    name, _, version = engine.classifier.name.partition("@")
    named = request.path_params
    if named["model"] != name or named.get("version", version) != version:
        raise Problem("not_found", f"expected the model {name} and no version but {version}, found another")
    return name, version


def _path_parameters(path: str) -> list[dict[str, Any]]:
    """OpenAPI's entries for `{model}` and `{version}`, as far as they are in `path`."""
    examples = {"model": "reviews-bilstm", "version": "1a2b3c4d"}
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in examples.items()
        if f"{{{name}}}" in path
    ]
