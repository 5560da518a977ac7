"""Bodies of the largest size and the worst shapes, sent to a real server: its answers, and its peak of memory."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.process import Service, service

BYTES = 4 * 2**20  # OVATION_MAX_BODY_BYTES


def repeated(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """`start`, as often `unit` as fits into BYTES, `end`."""
    return start + unit * ((BYTES - len(start) - len(end)) // len(unit)) + end


UNKNOWN_FIELDS = b"{" + b",".join(b'"%d":0' % number for number in range(390_000)) + b"}"

# Name: path, body, status.
SHAPES: dict[str, tuple[str, bytes, int]] = {
    "unknown fields": ("/predict", UNKNOWN_FIELDS, 422),
    "unknown fields of a batch": ("/predict/batch", UNKNOWN_FIELDS, 422),
    "one field again and again": ("/predict", repeated(b"{", b'"text":"a",', b'"text":"a"}'), 422),
    "empty arrays": ("/predict", repeated(b"[", b"[],", b"[]]"), 422),
    "empty objects": ("/predict/batch", repeated(b'{"texts":[', b"{},", b"{}]}"), 422),
    "numbers for texts": ("/predict/batch", repeated(b'{"texts":[', b"0,", b"0]}"), 422),
    "infinite numbers": ("/predict/batch", repeated(b'{"texts":[', b"1e999,", b"0]}"), 422),
    "empty texts": ("/predict/batch", repeated(b'{"texts":[', b'"",', b'""]}'), 422),
    "short texts": ("/predict/batch", repeated(b'{"texts":[', b'"a",', b'"a"]}'), 422),
    "texts of quotes and commas": ("/predict/batch", repeated(b'{"texts":[', rb'"\\","\",\"",', b'""]}'), 422),
    "ever deeper arrays": ("/predict", repeated(b'{"text":', b"["), 422),
    "ever deeper objects": ("/predict", repeated(b"", b'{"a":'), 422),
    "many deep arrays": ("/predict", repeated(b"[", b"[" * 190 + b"]" * 190 + b",", b"0]"), 422),
    "a whole number": ("/predict", repeated(b'{"text":', b"1", b"}"), 400),
    "a fraction": ("/predict", repeated(b'{"text":0.', b"1", b"}"), 422),
    "an exponent": ("/predict", repeated(b'{"text":1e', b"9", b"}"), 422),
    "white space": ("/predict", repeated(b'{"text":"good"', b" ", b"}"), 200),
    "nothing but white space": ("/predict", repeated(b"", b" "), 400),
    "a long text": ("/predict", repeated(b'{"text":"', b"a", b'"}'), 422),
    # One such character, and each takes four bytes.
    "a long text with an emoji": ("/predict", repeated(b'{"text":"', b"a", '🙂"}'.encode()), 422),
    "a long text in a malformed body": ("/predict", repeated(b'{"text":"', b"a", '🙂","evidence":NaN}'.encode()), 400),
    "brackets in a text": ("/predict", repeated(b'{"text":"', b"[,{", b'"}'), 422),
    "escaped letters": ("/predict", repeated(b'{"text":"', rb"\u0041", b'"}'), 422),
    "escaped quotes": ("/predict", repeated(b'{"text":"', rb"\"", b'"}'), 422),
    "escaped backslashes": ("/predict", repeated(b'{"text":"', rb"\\", b'"}'), 422),
    "escaped emojis": ("/predict", repeated(b'{"text":"', rb"\ud83d\ude00", b'"}'), 422),
    "lone surrogates": ("/predict", repeated(b'{"text":"', rb"\ud800", b'"}'), 400),
    "bytes that are not UTF-8": ("/predict", repeated(b'{"text":"', b"\xff", b'"}'), 400),
    "a string without an end": ("/predict", repeated(b'{"text":"', b"a,"), 400),
    "backslashes without an end": ("/predict", repeated(b'{"text":"', b"\\"), 400),
    "quotes": ("/predict", repeated(b"", b'"'), 422),
    "a long field": ("/predict", repeated(b'{"', b"a", b'":0}'), 422),
}


def resident(service: Service, name: str) -> int:
    """VmRSS, or VmHWM, its peak, of the server, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{service.process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def at_rest(tiny_bundle_path: Path) -> Iterator[tuple[Service, int]]:
    """A server that has answered and refused once, and its resident memory in bytes."""
    with service(tiny_bundle_path, timeout_seconds=60) as running:
        assert httpx.post(f"{running.url}/predict", json={"text": "good"}).status_code == 200
        assert httpx.post(f"{running.url}/predict", json={}).status_code == 422
        yield running, resident(running, "VmRSS")


@pytest.mark.parametrize("shape", SHAPES)
def test_memory_is_bounded_by_the_bytes_of_a_body(at_rest: tuple[Service, int], shape: str) -> None:
    running, rest = at_rest
    path, body, status = SHAPES[shape]
    assert BYTES * 0.9 < len(body) <= BYTES
    Path(f"/proc/{running.process.pid}/clear_refs").write_text("5")  # sets the peak back to what is resident now
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{running.url}{path}", content=body, headers=headers, timeout=60)
    assert response.status_code == status, response.text
    assert len(response.content) < 1_000
    # Over rest, so that what earlier bodies left behind counts as well.
    assert resident(running, "VmHWM") - rest < 10 * BYTES + 16e6
