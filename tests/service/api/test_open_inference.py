"""`/v2`, as clients of the Open Inference Protocol send to it, and as nobody should."""

import asyncio
import gzip
import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.classifier import Classifier
from tests.service.api.conftest import MAX_BODY_BYTES, MAX_CHARACTERS, MAX_TEXTS, TEXTS, check_refused, native
from tests.support.server import client_of, make_app

pytestmark = pytest.mark.anyio

JSON_BYTES = "Inference-Header-Content-Length"
BINARY: dict[str, Any] = {"parameters": {"binary_data_output": True}}


@pytest.fixture
def path(tiny_classifier: Classifier) -> str:
    """Where texts are inferred."""
    return f"/v2/models/{tiny_classifier.manifest.name}/infer"


def elements(*texts: str | bytes) -> bytes:
    """A binary tensor of BYTES."""
    parts = [text.encode() if isinstance(text, str) else text for text in texts]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def in_json(texts: Sequence[Any], shape: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    """A request with its texts in JSON."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": list(shape) or [len(texts)], "data": texts}
    return {"inputs": [tensor], **more}


def in_binary(tensor: bytes, shape: Sequence[int], **more: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the header of a request with its texts behind the JSON."""
    parameters = {"binary_data_size": len(tensor)}
    described = {"name": "text", "datatype": "BYTES", "shape": list(shape), "parameters": parameters, **more}
    head = json.dumps({"inputs": [described]}).encode()
    return head + tensor, {JSON_BYTES: str(len(head)), "Content-Type": "application/octet-stream"}


def outputs(answer: httpx.Response) -> dict[str, Any]:
    """The outputs of a 200 by name: arrays, of FP32 as float32, of BYTES as str."""
    assert answer.status_code == 200, answer.text
    json_bytes = int(answer.headers.get(JSON_BYTES, len(answer.content)))
    assert answer.headers["content-type"] == f"application/{'octet-stream' if JSON_BYTES in answer.headers else 'json'}"
    rest, found = answer.content[json_bytes:], dict[str, Any]()
    for output in json.loads(answer.content[:json_bytes])["outputs"]:
        data: Any = output.get("data")
        if data is None:
            size = output["parameters"]["binary_data_size"]
            tensor, rest = rest[:size], rest[size:]
            data = np.frombuffer(tensor, "<f4") if output["datatype"] == "FP32" else strings(tensor)
        dtype = np.float32 if output["datatype"] == "FP32" else object
        found[output["name"]] = np.array(data, dtype).reshape(output["shape"])
    assert rest == b""
    return found


def strings(tensor: bytes) -> list[str]:
    """The elements of a binary tensor of BYTES."""
    found = list[str]()
    while tensor:
        end = 4 + struct.unpack_from("<I", tensor)[0]
        found.append(tensor[4:end].decode())
        tensor = tensor[end:]
    return found


async def check_answers(client: httpx.AsyncClient, answer: httpx.Response, texts: Sequence[str]) -> None:
    """Bit for bit what `/predict` answers, as FP32."""
    found = outputs(answer)
    expected = [await native(client, text) for text in texts]
    assert list(found) == ["label", "score", "probabilities"]
    assert found["label"].tolist() == [max(each, key=lambda label: each[label]) for each in expected]
    assert np.array_equal(found["score"], np.array([max(each.values()) for each in expected], np.float32))
    assert np.array_equal(found["probabilities"], np.array([list(each.values()) for each in expected], np.float32))


@pytest.mark.parametrize("asked", [{}, BINARY], ids=["JSON answer", "binary answer"])
async def test_the_answers_are_those_of_predict(client: httpx.AsyncClient, path: str, asked: dict[str, Any]) -> None:
    count = len(TEXTS)
    for body in (
        in_json(TEXTS, **asked),
        in_json(TEXTS, [count, 1], **asked),
        in_json([[text] for text in TEXTS], [count, 1], **asked),
        in_json(TEXTS, id="x", model_name="other", priority=1, **asked),
    ):
        await check_answers(client, await client.post(path, json=body), TEXTS)
    for shape in ([count], [count, 1]):
        content, headers = in_binary(elements(*TEXTS), shape)
        await check_answers(client, await client.post(path, content=content, headers=headers), TEXTS)


async def test_json_tells_the_probabilities_to_the_last_digit(client: httpx.AsyncClient, path: str) -> None:
    expected = await native(client, TEXTS[0])
    answer = (await client.post(path, json=in_json(TEXTS[:1]))).json()
    data = {output["name"]: output["data"] for output in answer["outputs"]}
    assert data == {"label": [data["label"][0]], "score": [max(expected.values())],
                    "probabilities": list(expected.values())}  # fmt: skip


async def test_a_raw_body_is_one_text(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=TEXTS[1].encode(), headers={JSON_BYTES: "0"})
    await check_answers(client, answer, TEXTS[1:2])


@pytest.mark.parametrize("media_type", [None, "application/octet-stream", "text/plain", "application/json"])
async def test_any_media_type_is_taken(client: httpx.AsyncClient, path: str, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    answer = await client.post(path, content=json.dumps(in_json(TEXTS)).encode(), headers=headers)
    await check_answers(client, answer, TEXTS)


async def test_only_the_outputs_that_are_asked_for(client: httpx.AsyncClient, path: str) -> None:
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "label"}]
    answer = await client.post(path, json=in_json(TEXTS, outputs=wanted))
    assert list(outputs(answer)) == ["probabilities", "label"]
    assert b'"data":["' in answer.content
    wanted = [{"name": "label", "parameters": {"binary_data": False}}, {"name": "score"}]
    answer = await client.post(path, json=in_json(TEXTS, outputs=wanted, **BINARY))
    assert list(outputs(answer)) == ["label", "score"]
    assert int(answer.headers[JSON_BYTES]) == len(answer.content) - 4 * len(TEXTS)
    assert len(outputs(await client.post(path, json=in_json(TEXTS, outputs=[])))) == 3


@pytest.mark.parametrize("binary", [True, False])
async def test_classification(client: httpx.AsyncClient, path: str, binary: bool) -> None:
    expected = await native(client, TEXTS[0])
    ordered = sorted(enumerate(expected.items()), key=lambda item: item[1][1], reverse=True)
    classes = [f"{score:f}:{index}:{label}" for index, (label, score) in ordered]
    for most in (1, 2, 3):
        parameters = {"classification": most, "binary_data": binary}
        wanted = [{"name": "probabilities", "parameters": parameters}]
        found = outputs(await client.post(path, json=in_json(TEXTS[:1], outputs=wanted)))
        assert found["probabilities"].tolist() == [classes[:most]]
    wanted = [{"name": "score", "parameters": {"classification": 1}}]
    refused = await client.post(path, json=in_json(TEXTS[:1], outputs=wanted))
    assert "probabilities alone" in check_refused(refused, 422, "invalid", "application/json")


async def test_id_model_and_version(client: httpx.AsyncClient, path: str, tiny_classifier: Classifier) -> None:
    name, version = tiny_classifier.name.split("@")
    answer = await client.post(path, json=in_json(TEXTS[:1], id="прим-😍", **BINARY))
    head = json.loads(answer.content[: int(answer.headers[JSON_BYTES])])
    assert (head["id"], head["model_name"], head["model_version"]) == ("прим-😍", name, version)
    assert "id" not in (await client.post(path, json=in_json(TEXTS[:1]))).json()
    of_version = f"/v2/models/{name}/versions/{version}/infer"
    await check_answers(client, await client.post(of_version, json=in_json(TEXTS)), TEXTS)
    for other in ("/v2/models/sekret/infer", f"/v2/models/{name}/versions/1/infer"):
        refused = await client.post(other, json=in_json(TEXTS[:1]))
        check_refused(refused, 404, "not_found", "application/json")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_compression_both_ways(client: httpx.AsyncClient, path: str, coding: str) -> None:
    compress = gzip.compress if coding == "gzip" else zlib.compress
    content, headers = in_binary(elements(*TEXTS), [len(TEXTS)])
    headers |= {"Content-Encoding": coding, "Accept-Encoding": f"br, {coding}"}
    answer = await client.post(path, content=compress(content), headers=headers)
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == (coding, "Accept-Encoding")
    await check_answers(client, answer, TEXTS)

    async def parts(step: int) -> Any:
        compressed = compress(content)
        for start in range(0, len(compressed), step):
            yield compressed[start : start + step]

    for step in (1, 7):
        await check_answers(client, await client.post(path, content=parts(step), headers=headers), TEXTS)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("identity", None),
        ("", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip; q=0.000, deflate;q=0.5", "deflate"),
        ("deflate, gzip;q=0.1", "gzip"),
        ("GZIP", "gzip"),
        ("gzip;q=sekret, *", "gzip"),
    ],
)
async def test_accept_encoding(client: httpx.AsyncClient, path: str, accepted: str, coding: str | None) -> None:
    answer = await client.post(path, json=in_json(TEXTS), headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    await check_answers(client, answer, TEXTS)


async def test_nothing_but_inference_is_compressed(client: httpx.AsyncClient, path: str) -> None:
    for answer in (await client.get("/v2"), await client.post(path, json={}), await client.get(path[: -len("/infer")])):
        assert "content-encoding" not in answer.headers


def bomb(coding: str) -> bytes:
    """Few bytes that stand for 50 MB."""
    stream = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    return b"".join([stream.compress(bytes(10**6)) for _ in range(50)]) + stream.flush()


@pytest.mark.parametrize(
    ("coding", "body", "status", "kind"),
    [
        ("gzip", bomb("gzip"), 413, "body_too_large"),
        ("deflate", bomb("deflate"), 413, "body_too_large"),
        ("gzip", gzip.compress(b'{"x": "' + b"s" * MAX_BODY_BYTES + b'"}'), 413, "body_too_large"),
        ("deflate", zlib.compress(b"[" * 20_000), 422, "invalid"),
        ("gzip", gzip.compress(b'{"sekret": 1}')[:-3], 400, "malformed"),
        ("gzip", gzip.compress(b'{"sekret": 1}') + b"sekret", 400, "malformed"),
        ("gzip", gzip.compress(b"{}") + gzip.compress(b"{}"), 400, "malformed"),
        ("gzip", b"sekret", 400, "malformed"),
        ("gzip", b"", 400, "malformed"),
        ("gzip", zlib.compress(b"{}"), 400, "malformed"),
        ("deflate", b"\x00" * 30_000, 400, "malformed"),
        ("br", b"sekret", 415, "unsupported_media_type"),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415, "unsupported_media_type"),
    ],
    ids=[  # gzip writes the time into its bytes, and every process that runs tests must find the same names
        "gzip bomb", "deflate bomb", "gzip of too long a body", "deflate of deep JSON", "gzip cut short",
        "gzip and more", "two gzip members", "no gzip", "no bytes", "deflate told as gzip", "no deflate", "brotli",
        "gzip twice",
    ],
)  # fmt: skip
async def test_bad_compression(
    client: httpx.AsyncClient, path: str, coding: str, body: bytes, status: int, kind: str
) -> None:
    refused = await client.post(path, content=body, headers={"Content-Encoding": coding})
    check_refused(refused, status, kind, "application/json")
    assert refused.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)


async def test_compressed_bytes_that_stand_for_nothing_are_counted(client: httpx.AsyncClient, path: str) -> None:
    async def endless() -> Any:
        yield b"\x78\x9c"  # zlib's header
        while True:
            yield b"\x00\x00\x00\xff\xff" * 1000  # blocks of no bytes

    refused = await client.post(path, content=endless(), headers={"Content-Encoding": "deflate"})
    check_refused(refused, 413, "body_too_large", "application/json")


async def test_inflated_bytes_count_as_held(tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier, max_held_bytes=10_000)) as client:
        path = f"/v2/models/{tiny_classifier.manifest.name}/infer"
        body = gzip.compress(json.dumps(in_json(["a" * 20_000])).encode())
        assert len(body) < 1_000
        refused = await client.post(path, content=body, headers={"Content-Encoding": "gzip"})
        check_refused(refused, 429, "overloaded", "application/json")
        assert (await client.post(path, json=in_json(["a"]))).status_code == 200


async def test_timeout_lowers_the_deadline(client: httpx.AsyncClient, path: str) -> None:
    for timeout in (0, 10**7, 10**15):
        assert (await client.post(path, json=in_json(TEXTS, parameters={"timeout": timeout}))).status_code == 200
    late = await client.post(path, json=in_json(TEXTS, parameters={"timeout": 1}))
    check_refused(late, 504, "timeout", "application/json")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (in_json([]), "inputs.0.shape: expected 1 to 8 texts, found none"),
        (in_json(None, [0]), "inputs.0.shape: expected 1 to 8 texts, found none"),  # type: ignore[arg-type]
        (in_json(["a"] * (MAX_TEXTS + 1)), "inputs.0.shape: expected 1 to 8 texts, found more"),
        (in_json(["a"], [10**9]), "inputs.0.shape: expected 1 to 8 texts, found more"),
        (in_json(["a"], [10**30]), "inputs.0.shape.0"),
        (in_json(["a"], [-1]), "inputs.0.shape.0"),
        (in_json(["a"], [True]), "inputs.0.shape.0"),
        (in_json(["a"], [1.5]), "inputs.0.shape.0"),
        (in_json(["a"], [1, 2]), "inputs.0.shape: expected [N] or [N, 1], found another"),
        (in_json(["a"], [1, 1, 1]), "inputs.0.shape"),
        (in_json(["a", "b"], [1]), "inputs.0.data: expected 1 texts, as the shape says, found another number"),
        (in_json({"sekret": 1}, [1]), "inputs.0.data: expected 1 texts"),  # type: ignore[arg-type]
        (in_json([["a", "b"]], [1]), "inputs.0.data.0: expected a text, found another type"),
        (in_json([["a"], [[["a"]]]]), "inputs.0.data.1: expected a text, found another type"),
        (in_json([5]), "inputs.0.data.0: expected a text, found another type"),
        (in_json(["fine", "\t"]), "inputs.0.data.1: expected a text with at least one visible character"),
        (in_json(["s" * (MAX_CHARACTERS + 1)]), "inputs.0.data.0: expected at most 5000 characters, found 5001"),
        (in_json(["a"], parameters={"timeout": -1}), "parameters.timeout"),
        (in_json(["a"], parameters={"timeout": 10**400}), "parameters.timeout"),
        (in_json(["a"], parameters={"timeout": "sekret"}), "parameters.timeout"),
        (in_json(["a"], id=5), "id"),
        (in_json(["a"], outputs=[{"name": "sekret"}]), "outputs.0.name"),
        (in_json(["a"], outputs=[{"name": "label"}] * 4), "outputs"),
        ({"inputs": [{"name": "sekret", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}, "inputs.0.name"),
        ({"inputs": [{"name": "text", "datatype": "FP32", "shape": [1], "data": [1]}]}, "inputs.0.datatype"),
        ({"inputs": in_json(["a"])["inputs"] * 2}, "inputs"),
        ({"inputs": []}, "inputs"),
        ([], ""),
    ],
)  # fmt: skip
async def test_refusals(client: httpx.AsyncClient, path: str, body: Any, reason: str) -> None:
    refused = await client.post(path, json=body)
    assert check_refused(refused, 422, "invalid", "application/json").startswith(reason)


@pytest.mark.parametrize(
    ("tensor", "shape", "more", "status", "reason"),
    [
        (struct.pack("<I", 2**32 - 1) + b"sekret", [1], {}, 400, "a length beyond its end"),
        (struct.pack("<i", -1) + b"sekret", [1], {}, 400, "a length beyond its end"),
        (elements("sekret") + b"x", [1], {}, 400, "found more bytes"),
        (elements("sekret"), [2], {}, 400, "found fewer"),
        (b"abc", [1], {}, 400, "found fewer"),
        (b"", [1], {}, 422, "inputs.0.data: expected 1 texts"),
        (b"", [0], {"data": None}, 422, "found none"),
        (elements("a"), [10**9], {}, 422, "found more"),
        (elements(b"\xff sekret"), [1], {}, 400, "inputs.0.data.0: expected UTF-8"),
        (elements("a", b"\xed\xa0\x80"), [2], {}, 400, "inputs.0.data.1: expected UTF-8"),
        (elements("a", ""), [2], {}, 422, "inputs.0.data.1: expected a text with at least one visible"),
        (elements("a"), [1], {"data": ["a"]}, 422, "expected data or binary_data_size, found both"),
        (elements("a"), [1], {"parameters": {"binary_data_size": 10**12}}, 400, "another binary_data_size"),
        (elements("a"), [1], {"parameters": {"binary_data_size": 4}}, 400, "another binary_data_size"),
        (elements("a"), [1], {"parameters": {"binary_data_size": -5}}, 422, "binary_data_size"),
        (elements("a"), [1], {"parameters": {}}, 400, "another binary_data_size"),
    ],
)  # fmt: skip
async def test_bad_binary_tensors(
    client: httpx.AsyncClient, path: str, tensor: bytes, shape: list[int], more: Any, status: int, reason: str
) -> None:
    content, headers = in_binary(tensor, shape, **more)
    refused = await client.post(path, content=content, headers=headers)
    kind = "malformed" if status == 400 else "invalid"
    assert reason in check_refused(refused, status, kind, "application/json")


@pytest.mark.parametrize("json_bytes", ["1", "3", "-1", "sekret", "", "9" * 5000, "1e1", "0x1", "²"])
async def test_bad_lengths_of_the_json(client: httpx.AsyncClient, path: str, json_bytes: str) -> None:
    headers = [(JSON_BYTES.encode(), json_bytes.encode())]
    check_refused(await client.post(path, content=b"{}", headers=headers), 400, "malformed", "application/json")


def test_whatever_bytes_come_the_answer_is_no_fault(tiny_classifier: Classifier) -> None:
    path = f"/v2/models/{tiny_classifier.manifest.name}/infer"

    @settings(max_examples=150, deadline=None)
    @given(
        body=st.binary(max_size=200) | st.lists(st.binary(max_size=9), max_size=5).map(lambda each: elements(*each)),
        shape=st.lists(st.integers(-2, 6), max_size=3),
        json_bytes=st.none() | st.integers(-50, 400),
        coding=st.sampled_from([None, "gzip", "deflate"]),
        is_compressed=st.booleans(),
        flipped=st.none() | st.tuples(st.integers(0, 300), st.integers(1, 255)),
    )
    def check(
        body: bytes,
        shape: list[int],
        json_bytes: int | None,
        coding: str | None,
        is_compressed: bool,
        flipped: tuple[int, int] | None,
    ) -> None:
        content, headers = in_binary(body, shape)
        if flipped is not None:
            changed, (place, value) = bytearray(content), flipped
            changed[place % len(content)] ^= value
            content = bytes(changed)
        if json_bytes is not None:
            headers[JSON_BYTES] = str(json_bytes)
        if coding is not None:
            headers["Content-Encoding"] = coding
            if is_compressed:
                content = gzip.compress(content) if coding == "gzip" else zlib.compress(content)
        answer = runner.run(client.post(path, content=content, headers=headers))
        assert answer.status_code in (200, 400, 413, 422)

    with asyncio.Runner() as runner:
        context = client_of(make_app(tiny_classifier))
        client = runner.run(context.__aenter__())
        try:
            check()
        finally:
            runner.run(context.__aexit__(None, None, None))


async def test_server_model_and_index(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    name, version = tiny_classifier.name.split("@")
    stale = {JSON_BYTES: "999"}  # as clients leave it in header dictionaries that they share
    for path in ("/v2", "/v2/"):
        server = (await client.get(path, headers=stale)).json()
        assert server["extensions"] == ["binary_tensor_data", "classification"]
    assert (await client.get("/v2/health/live", headers=stale)).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{version}"):
        model = (await client.get(path, headers=stale)).json()
        assert (model["name"], model["versions"]) == (name, [version])
        assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        assert [output["name"] for output in model["outputs"]] == ["label", "score", "probabilities"]
        assert model["outputs"][2]["shape"] == [-1, len(tiny_classifier.manifest.labels)]
        assert (await client.get(f"{path}/ready")).json() == {"name": name, "ready": True}
    for body in (b"", b'{"ready": true}', b"sekret"):
        index = await client.post("/v2/repository/index", content=body)
        assert index.json() == [{"name": name, "version": version, "state": "READY", "reason": ""}]
    for path in ("/v2/models/sekret", f"/v2/models/{name}/versions/sekret", f"/v2/models/{name}/versions/1/ready"):
        check_refused(await client.get(path), 404, "not_found", "application/json")


async def test_every_error_under_v2_is_bare_json(client: httpx.AsyncClient, path: str) -> None:
    for answer, status in (
        (await client.get("/v2/sekret"), 404),
        (await client.get(path), 405),
        (await client.post("/v2"), 405),
        (await client.post(path, content=b"{"), 400),
        (await client.post(path, json=in_json(["a"]), headers={"X-Request-Timeout-Ms": "sekret"}), 400),
        (await client.post(f"{path}%0A", json=in_json(["a"])), 404),
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
        assert answer.json()["error"]
    assert (await client.get("/v2sekret")).headers["content-type"] == "application/problem+json"


async def test_openapi_tells_the_media_types_of_errors_under_v2(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path, [operation] in ((path, each.values()) for path, each in paths.items() if path.startswith("/v2")):
        for status, response in operation["responses"].items():
            refused_by_the_connection = status in ("400", "408", "429", "431", "501", "505")
            if status[0] in "45":
                assert ("application/problem+json" in response["content"]) == refused_by_the_connection
                assert "application/json" in response["content"]
        assert ("403" in operation["responses"]) == ("/health/" not in path)
    for path, expected in (("/tei/info", True), ("/tei/health", False), ("/health/ready", False)):
        assert ("403" in paths[path]["get"]["responses"]) == expected


async def test_each_wire_is_counted_under_its_protocol(tiny_classifier: Classifier, path: str) -> None:
    async with client_of(make_app(tiny_classifier)) as client:
        await client.post(path, json=in_json(["a"]))
        await client.post("/hf", json={"inputs": "a"})
        await client.post("/tei/predict", json={"inputs": "a"})
        await client.get(path[: -len("/infer")])
        metrics = (await client.get("/metrics")).text
    for protocol, route in (
        ("open_inference", "/v2/models/{model}/infer"),
        ("huggingface", "/hf"),
        ("tei", "/tei/predict"),
        ("none", "/v2/models/{model}"),
    ):
        assert f'ovation_requests_total{{protocol="{protocol}",route="{route}",status="200"}} 1.0' in metrics
