"""Other people's clients with their own defaults: each asks twice, on one connection."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from service.http.connection import Connection
from service.model.classifier import Classifier
from tests.support.connection import BODY
from tests.support.server import make_app, serving

JAVA = Path(__file__).parents[2] / "support" / "TwoRequests.java"
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
