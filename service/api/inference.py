"""A request and an answer of the Open Inference Protocol: the texts and predictions in JSON and binary tensors."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema, create_model
from pydantic_core import to_json

from service.api import answer, binary_tensors, schemas
from service.engine.engine import Answers
from service.http.problems import Problem
from service.model.classifier import Prediction

OutputName = Literal["label", "score", "probabilities"]
OUTPUTS: tuple[OutputName, ...] = ("label", "score", "probabilities")

# The limit is one that OpenAPI, whose numbers are floats, can tell exactly.
_Count = Annotated[int, Field(strict=True, ge=0, le=10**15), schemas.WHOLE]
_Flag = Annotated[bool, Field(strict=True)]
_EXAMPLE: dict[str, Any] = {
    "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [schemas.TEXT_EXAMPLE]}]
}


class InputParameters(BaseModel):
    """Those of the input that count; others are ignored."""

    binary_data_size: _Count | None = Field(
        default=None, description="bytes of the tensor behind the JSON, in place of `data`"
    )


class OutputParameters(BaseModel):
    """Those of an output that count; others are ignored."""

    binary_data: _Flag | None = Field(default=None, description="put the tensor behind the JSON")
    classification: _Count = Field(
        default=0, description="of `probabilities`: this many labels as BYTES `value:index:label`, best first"
    )


class RequestParameters(BaseModel):
    """Those of the request that count; others are ignored."""

    binary_data_output: _Flag = Field(default=False, description="`binary_data` of the outputs that do not say")
    timeout: _Count = Field(
        default=0,
        description="microseconds that the caller waits; the service's own limit where that is less, or for 0",
    )


class InferInput(BaseModel):
    """The texts."""

    name: Literal["text"]
    datatype: Literal["BYTES"]
    shape: Annotated[list[_Count], Field(min_length=1, max_length=2)] = Field(description="[N] or [N, 1]")
    parameters: InputParameters | None = None
    data: Any = None  # checked by hand, since pydantic's message would tell of each alternative


class RequestedOutput(BaseModel):
    """An output that is asked for."""

    name: OutputName
    parameters: OutputParameters | None = None


class InferRequest(BaseModel):
    """The JSON of a request; unknown fields are ignored."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=len(OUTPUTS))] | None = Field(
        default=None, description="all of them if absent"
    )


class Tensor(BaseModel):
    """A tensor of the model; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class OutputTensor(Tensor):
    """A tensor of the answer."""

    data: list[str] | list[float] | None = Field(default=None, description="row by row; absent where it is binary")
    parameters: dict[str, Any] | None = None


class InferResponse(BaseModel):
    """The answer."""

    model_name: str
    model_version: str
    id: str | None = Field(default=None, description="the request's")
    outputs: list[OutputTensor]


def request_model(limits: schemas.Limits) -> type[InferRequest]:
    """InferRequest under these limits, so that OpenAPI tells what is checked."""
    text = schemas.text_schema(limits.max_characters)
    column = {"type": "array", "items": text, "minItems": 1, "maxItems": 1}
    data = {"anyOf": [{"type": "array", "items": item, "maxItems": limits.max_texts} for item in (text, column)]}
    tensor = create_model("InferTexts", __base__=InferInput, data=(Annotated[Any, WithJsonSchema(data)], None))
    inputs = Annotated[list[tensor], Field(min_length=1, max_length=1)]  # type: ignore[valid-type]
    model = create_model("InferTextsRequest", __base__=InferRequest, inputs=(inputs, ...))
    model.model_config["json_schema_extra"] = {"example": _EXAMPLE}
    return model


def read(
    body: bytes, headers: Mapping[bytes, bytes], parse_json: Callable[[bytes], InferRequest], limits: schemas.Limits
) -> InferRequest:
    """The request in a whole body: JSON, JSON and a binary tensor behind it, which becomes `data`, or a text.

    Raises Problem, and what `parse_json` raises.
    """
    json_bytes = binary_tensors.json_length(headers, len(body))
    if json_bytes == 0:  # a raw request: the body is the one text
        data = [_decode(body, 0)]
        return InferRequest(inputs=[InferInput(name="text", datatype="BYTES", shape=[1], data=data)])
    request = parse_json(body if json_bytes is None else body[:json_bytes])
    binary = b"" if json_bytes is None else body[json_bytes:]
    [tensor] = request.inputs
    size = 0 if tensor.parameters is None else tensor.parameters.binary_data_size or 0
    if size != len(binary):
        detail = f"inputs.0: expected {len(binary)} bytes, as stand behind the JSON, found another binary_data_size"
        raise Problem("malformed", detail)
    if binary:
        if tensor.data is not None:
            raise Problem("invalid", "inputs.0: expected data or binary_data_size, found both")
        elements = binary_tensors.read_bytes(binary, _rows(tensor, limits))
        tensor.data = [_decode(element, index) for index, element in enumerate(elements)]
    return request


def texts(request: InferRequest, limits: schemas.Limits) -> list[str]:
    """The texts of a request, of which there is at least one. Raises Problem."""
    [tensor] = request.inputs
    rows = _rows(tensor, limits)
    items = tensor.data if isinstance(tensor.data, list) else []
    if len(items) != rows:
        raise Problem("invalid", f"inputs.0.data: expected {rows} texts, as the shape says, found another number")
    flat = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in items]
    return [answer.text_at(f"inputs.0.data.{index}", text) for index, text in enumerate(flat)]


def _rows(tensor: InferInput, limits: schemas.Limits) -> int:
    """How many texts there are, by the shape. Raises Problem."""
    rows, *columns = tensor.shape
    if columns not in ([], [1]):
        raise Problem("invalid", "inputs.0.shape: expected [N] or [N, 1], found another")
    if not 1 <= rows <= limits.max_texts:
        found = "more" if rows else "none"
        raise Problem("invalid", f"inputs.0.shape: expected 1 to {limits.max_texts} texts, found {found}")
    return rows


def _decode(element: bytes, index: int) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise Problem("malformed", f"inputs.0.data.{index}: expected UTF-8, found other bytes") from None


_ALL_OUTPUTS: Mapping[OutputName, OutputParameters] = {name: OutputParameters() for name in OUTPUTS}


def outputs(request: InferRequest) -> Mapping[OutputName, OutputParameters]:
    """The outputs that are asked for. Raises Problem."""
    if not request.outputs:
        return _ALL_OUTPUTS
    wanted = {output.name: output.parameters or OutputParameters() for output in request.outputs}
    if any(name != "probabilities" and parameters.classification for name, parameters in wanted.items()):
        raise Problem("invalid", "outputs: expected classification of probabilities alone, found it of another output")
    return wanted


def content(
    request: InferRequest, wanted: Mapping[OutputName, OutputParameters], answers: Answers
) -> tuple[bytes, int]:
    """The answer's body, and its bytes of JSON where binary tensors stand behind that, else 0."""
    binary = request.parameters is not None and request.parameters.binary_data_output
    described, tensors = list[dict[str, Any]](), list[bytes]()
    for name, parameters in wanted.items():
        tensor = _output(name, parameters.classification, answers.predictions)
        if binary if parameters.binary_data is None else parameters.binary_data:
            data = tensor.pop("data")
            is_fp32 = tensor["datatype"] == "FP32"
            tensors.append(binary_tensors.write_fp32(data) if is_fp32 else binary_tensors.write_bytes(data))
            tensor["parameters"] = {"binary_data_size": len(tensors[-1])}
        described.append(tensor)
    model, _, version = answers.model.partition("@")
    head = {"model_name": model, "model_version": version}
    if request.id is not None:
        head["id"] = request.id
    json = to_json({**head, "outputs": described})
    return b"".join([json, *tensors]), len(json) if tensors else 0


def _output(name: OutputName, classification: int, predictions: list[Prediction]) -> dict[str, Any]:
    """An output with its values row by row; probabilities are [N, label], or [N, classification] as classes."""
    rows = len(predictions)
    if name == "label":
        return _tensor(name, "BYTES", [rows], [prediction.label for prediction in predictions])
    if name == "score":
        return _tensor(name, "FP32", [rows], [prediction.score for prediction in predictions])
    if classification:
        classes = [label for prediction in predictions for label in _classes(prediction, classification)]
        return _tensor(name, "BYTES", [rows, len(classes) // rows], classes)
    values = [value for prediction in predictions for value in prediction.probabilities.values()]
    return _tensor(name, "FP32", [rows, len(values) // rows], values)


def _tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def _classes(prediction: Prediction, most: int) -> list[str]:
    """`value:index:label` of the `most` probable labels, best first."""
    ordered = sorted(enumerate(prediction.probabilities.items()), key=lambda item: item[1][1], reverse=True)
    return [f"{value:f}:{index}:{label}" for index, (label, value) in ordered[:most]]
