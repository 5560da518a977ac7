"""Other people's clients with their own defaults: each asks twice, on one connection; and cuts a text at offsets."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.http.connection import Connection
from service.model.classifier import Classifier
from tests.support.connection import BODY
from tests.support.server import make_app, serving

JAVA = Path(__file__).parents[2] / "support" / "TwoRequests.java"
JAVA_SLICES = JAVA.with_name("Slices.java")
FETCH = """
(async () => {
  for (let count = 0; count < 2; count++) {
    const [url, body] = process.argv.slice(1);
    const headers = {"Content-Type": "application/json"};
    const answer = await fetch(url, {method: "POST", headers, body});
    console.log(answer.status, await answer.text());
    await new Promise(setImmediate);  // until fetch knows that its connection is free
  }
})();
"""

# The same as Slices.java.
NODE_SLICES = """
(async () => {
  const [url, ...encoded] = process.argv.slice(1);
  const [text, ...asked] = encoded.map((part) => Buffer.from(part, "base64").toString());
  const headers = {"Content-Type": "application/json"};
  const slice = {
    code_points: (start, end) => Array.from(text).slice(start, end).join(""),
    utf16: (start, end) => text.slice(start, end),
    utf8: (start, end) => Buffer.from(text).subarray(start, end).toString(),
  };
  for (let index = 0; index < asked.length; index += 2) {
    const [unit, body] = asked.slice(index);
    const answer = await (await fetch(url, {method: "POST", headers, body})).json();
    for (const {start, end} of [...answer.evidence.tokens, ...answer.sentences])
      console.log(Buffer.from(slice[unit](start, end)).toString("base64"));
  }
})();
"""
# Emoji, a skin tone, a ZWJ family, a flag, combining marks, letters beyond the first 65,536 characters, a byte order
# mark inside, and a letter that lower-casing makes two.
TEXT = "I 😍 this film 👍🏽 so much! 👩‍👩‍👧‍👦 🇩🇪. Cafe\u0301 𝒜𝓃𝒹 \ufeffक्षि, İt wasn’t dull.<br />好。坏。"

# What runs a client, from the URL and the body.
COMMANDS: dict[str, Callable[[str, str], list[str]]] = {
    # Offers to upgrade to HTTP/2 with each request, as every program does that does not say otherwise.
    "java HTTP_2": lambda url, body: ["java", str(JAVA), url, "HTTP_2", body],
    "java HTTP_1_1": lambda url, body: ["java", str(JAVA), url, "HTTP_1_1", body],
    "curl --http2": lambda url, body: _curl("--http2", url, body),
    "curl --http1.1": lambda url, body: _curl("--http1.1", url, body),
    "curl Expect": lambda url, body: _curl("--header=Expect: 100-continue", url, body),
    "node fetch": lambda url, body: ["node", "--eval", FETCH, "--", url, body],
}


def _curl(option: str, url: str, body: str) -> list[str]:
    headers = ["--header", "Content-Type: application/json"]
    name, _, value = option.partition("=")
    options = [name, *([value] if value else [])]
    return ["curl", "--silent", "--show-error", *options, *headers, "--write-out", "\n", "--data", body, url, url]


def needs(program: str) -> None:
    """Skips where `program` is missing; CI has it."""
    if shutil.which(program) is None:
        reason = f"expected {program}, whose client is tried against the service, found none: see .ci/run"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.parametrize("name", COMMANDS)
def test_two_requests_on_one_connection(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    needs(name.split()[0])
    if name.startswith("java"):
        needs("javac")
    connections = 0
    connection_made = Connection.connection_made

    def count(self: Connection, transport: object) -> None:
        nonlocal connections
        connections += 1
        connection_made(self, transport)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "connection_made", count)
    with serving(make_app(tiny_classifier)) as url:
        command = COMMANDS[name](f"{url}/predict", BODY.decode())
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if name.startswith("curl"):
        answers = [json.loads(line) for line in lines if line]
    else:
        assert [line.split(" ")[0] for line in lines] == ["200", "200"]
        answers = [json.loads(line.partition(" ")[2]) for line in lines]
    [expected] = tiny_classifier([json.loads(BODY)["text"]])
    assert [answer["label"] for answer in answers] == 2 * [expected.label]
    assert connections == 1


@pytest.mark.parametrize("program", ["node", "java"])
def test_offsets_cut_a_text_in_other_languages(tiny_classifier: Classifier, program: str) -> None:
    needs(program)
    if program == "java":
        needs("javac")
    command = ["java", str(JAVA_SLICES)] if program == "java" else ["node", "--eval", NODE_SLICES, "--"]
    asked: dict[str, object] = {"text": TEXT, "evidence": True, "sentences": True}
    units = ("code_points", "utf16", "utf8")
    told = [TEXT, *(part for unit in units for part in (unit, json.dumps({**asked, "offsets": unit})))]
    encoded = [base64.b64encode(part.encode()).decode() for part in told]
    with serving(make_app(tiny_classifier)) as url:
        found = httpx.post(f"{url}/predict", json=asked).json()
        command += [f"{url}/predict", *encoded]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    expected = [TEXT[span["start"] : span["end"]] for span in [*found["evidence"]["tokens"], *found["sentences"]]]
    assert {"😍", "👍🏽", "İt", "wasn’t", "好。", "坏。"} <= set(expected)
    assert [base64.b64decode(line).decode() for line in done.stdout.splitlines()] == len(units) * expected
