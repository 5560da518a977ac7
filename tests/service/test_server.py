"""A real server, real sockets: concurrency, clients that leave, shutdown, and the command line."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import uvicorn
import uvloop

from service.model.classifier import Classifier
from service.server import open_listeners
from tests.support.server import Held, make_app, serving
from tests.support.slow_start import REACHED

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("threads", [1, 3])
def test_load_and_slots_change_no_bit(tiny_classifier: Classifier, threads: int) -> None:
    texts = [f"The film was {'wonderful ' * (index % 7)}and dull {index}." for index in range(60)]

    async def ask(url: str) -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=60)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            return await asyncio.gather(
                *(client.post("/predict", json={"text": text, "evidence": True}) for text in texts)
            )

    with serving(make_app(tiny_classifier, threads=threads)) as url:
        answers = [answer.json() for answer in asyncio.run(ask(url))]
        rows = re.search(r"^ovation_batch_rows_count (\d+)", httpx.get(f"{url}/metrics").text, re.MULTILINE)
    assert rows
    assert int(rows[1]) < len(texts)  # some ran together
    for text, answer in zip(texts, answers, strict=True):
        [expected] = tiny_classifier([text], evidence=True)
        assert answer["probabilities"] == expected.probabilities
        assert expected.evidence
        assert [token["weight"] for token in answer["evidence"]["tokens"]] == [
            w for _, _, w in expected.evidence.tokens
        ]


def test_a_client_that_leaves_hurts_nobody(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    with serving(make_app(held)) as url:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/predict", json={"text": "leaves"}, timeout=0.2)
        held.gate.set()
        answer = httpx.post(f"{url}/predict", json={"text": "stays here"}, timeout=30)
        assert answer.status_code == 200
        assert httpx.get(f"{url}/health", timeout=30).status_code == 200


@pytest.mark.parametrize("path", ["/health/ready", "/model", "/openapi.json", "/nowhere", "/predict"])
def test_head_is_get_without_content(tiny_classifier: Classifier, path: str) -> None:
    with serving(make_app(tiny_classifier)) as url, httpx.Client(base_url=url, timeout=30) as client:
        asked, got = client.head(path), client.get(path)
        assert (asked.status_code, asked.content) == (got.status_code, b"")
        own = ("date", "x-request-id")
        assert [item for item in asked.headers.items() if item[0] not in own] == [
            item for item in got.headers.items() if item[0] not in own
        ]
        assert client.get(path).status_code == got.status_code  # the connection goes on


def test_shutdown_answers_what_was_accepted(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    answers: list[int] = []

    def ask(url: str) -> None:
        answers.append(httpx.post(f"{url}/predict", json={"text": "good"}, timeout=60).status_code)

    with serving(make_app(held)) as url:
        clients = [threading.Thread(target=ask, args=(url,)) for _ in range(3)]
        clients[0].start()
        assert held.entered.acquire(timeout=30)  # alone: who comes together can run together
        for client in clients[1:]:
            client.start()
        end = time.monotonic() + 8  # before the first batch counts as hung
        try:
            while "ovation_waiting_texts 2.0" not in httpx.get(f"{url}/metrics").text:
                assert time.monotonic() < end, "expected two texts to wait behind the first"
        finally:
            threading.Timer(0.5, held.gate.set).start()  # when it has begun to stop
    for client in clients:
        client.join(30)
    assert answers == [200, 200, 200]


def run_service(*arguments: str | Path, module: str = "service", **environment: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OVATION_LOG_FORMAT": "json", **environment},
    )


def on_path() -> dict[str, str]:
    """An environment in which this checkout is found from any folder, and no variable of ours is set."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OVATION_")}
    return {**ours, "PYTHONPATH": str(ROOT)}


def test_serve_starts_answers_and_stops_on_sigterm(tiny_bundle_path: Path) -> None:
    # Many hosts set WEB_CONCURRENCY, and uvicorn would follow it.
    process = run_service("serve", OVATION_MODEL=str(tiny_bundle_path), OVATION_PORT="0", WEB_CONCURRENCY="2")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if match := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            break
    assert match
    text = "Sekret words that no log may hold."
    answer = httpx.post(f"http://127.0.0.1:{match[1]}/predict", json={"text": text}, timeout=30)
    assert answer.status_code == 200
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    lines += [json.loads(line) for line in out.splitlines()]
    assert all({"event", "level", "timestamp"} <= set(line) for line in lines)  # uvicorn's in the same shape
    [request] = [line for line in lines if line["event"] == "request"]
    assert (request["status"], request["route"], request["tokens"]) == (200, "/predict", 8)
    assert request["request_id"] == answer.headers["x-request-id"]
    parts = [request[f"{part}_seconds"] for part in ("tokenize", "queue", "compute")]
    assert min(parts) >= 0
    assert sum(parts) < request["seconds"]
    assert "trace_id" not in request
    assert "sekret" not in (out + errors).lower()
    assert process.returncode in (0, -signal.SIGTERM)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_while_it_starts_ends_it(tmp_path: Path, workers: str) -> None:
    reached = tmp_path / "reached"
    environment = {REACHED: str(reached), "OVATION_MODEL": str(tmp_path), "OVATION_PORT": "0"}
    process = run_service("serve", module="tests.support.slow_start", OVATION_WORKERS=workers, **environment)
    while not reached.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "", "")


def test_many_connections_are_accepted_in_a_turn_of_the_event_loop() -> None:
    config, turns, seen = uvicorn.Config("", port=0, log_config=None), 0, list[int]()

    class Seen(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            seen.append(turns)
            self.transport.close()

    async def run(stack: contextlib.ExitStack) -> None:
        nonlocal turns
        loop = asyncio.get_running_loop()
        listeners = open_listeners(config)
        servers = [await loop.create_server(Seen, sock=listener, backlog=config.backlog) for listener in listeners]
        for _ in range(64):
            connection = stack.enter_context(socket.create_connection(listeners[0].getsockname()))
            connection.sendall(b"here")
        while len(seen) < 64:
            turns += 1
            await asyncio.sleep(0)
        for server in servers:
            server.close()
            await server.wait_closed()

    with contextlib.ExitStack() as stack:
        uvloop.run(run(stack))
    assert seen[-1] < 32


def test_several_workers_accept_one_connection_at_a_time() -> None:
    listeners = open_listeners(uvicorn.Config("", port=0, workers=2, log_config=None))
    with contextlib.closing(listeners[0]):
        assert len(listeners) == 1  # with more the first to wake keeps all connections, and the other idles


def test_a_damaged_bundle_ends_the_process_with_code_3(tiny_bundle_path: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(tiny_bundle_path, tmp_path / "damaged"))
    (damaged / "model.onnx").write_bytes(b"short")
    process = run_service("serve", OVATION_MODEL=str(damaged), OVATION_PORT="0")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert re.fullmatch(r"error: .*damaged/model\.onnx: expected \d+ bytes, sha256 .*, found 5 bytes, .*\n", errors)


def test_cuda_where_there_is_none_ends_the_process_with_code_3(tiny_bundle_path: Path) -> None:
    process = run_service("serve", OVATION_MODEL=str(tiny_bundle_path), OVATION_PORT="0", OVATION_PROVIDER="cuda")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert re.fullmatch(r"error: expected the provider cuda, found only the CPU: .*(install|check).*\n", errors)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken_ends_the_process_with_code_3(workers: str, tiny_bundle_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        settings = {"OVATION_MODEL": str(tiny_bundle_path), "OVATION_PORT": port, "OVATION_WORKERS": workers}
        process = run_service("serve", **settings)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert re.fullmatch(
        rf"error: 127\.0\.0\.1:{port}: expected .* found it taken,.* OVATION_PORT name another\n", errors
    )


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [("PORT", "many", "OVATION_PORT: "), ("MAX_TEXTS", "9999", "OVATION_MAX_TEXTS <= OVATION_MAX_WAITING_TEXTS")],
)
def test_wrong_settings_are_told(variable: str, value: str, message: str) -> None:
    process = run_service("serve", **{f"OVATION_{variable}": value})
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message in errors
    assert "Traceback" not in errors


def test_predict_and_verify_from_the_shell(tiny_bundle_path: Path, tiny_classifier: Classifier) -> None:
    process = run_service("predict", "The film was awful.", "Superb!", "--evidence", "--model", tiny_bundle_path)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    first, second = map(json.loads, out.splitlines())
    [expected] = tiny_classifier(["The film was awful."])
    assert (first["label"], first["score"], first["model"]) == (expected.label, expected.score, tiny_classifier.name)
    assert [(t["start"], t["end"]) for t in second["evidence"]["tokens"]] == [(0, 6), (6, 7)]

    process = run_service("verify", tiny_bundle_path)
    assert "good" in process.communicate(timeout=60)[0]
    process = run_service("verify", tiny_bundle_path / "nowhere")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "manifest.json: expected a readable file, found No such file" in errors

    process = run_service("predict", " ", "--model", tiny_bundle_path)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, "at least one visible character" in errors) == (1, True)


# What pip writes for an entry point, but for its first line.
SCRIPT = "import sys\nfrom service.__main__ import run\nif __name__ == '__main__':\n    sys.exit(run())\n"


@pytest.fixture(params=["ovation", "python -m service"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The command line by one of its two names."""
    if request.param != "ovation":
        return [sys.executable, "-m", "service"]
    script = tmp_path / "ovation"
    script.write_text(SCRIPT)
    return [sys.executable, str(script)]


def test_the_usage_names_the_program(command: list[str]) -> None:
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True, env=on_path())
    assert done.stdout.startswith(f"Usage: {'python -m service' if '-m' in command else 'ovation'} [OPTIONS] COMMAND")


@pytest.mark.parametrize(
    ("arguments", "option"), [(["serve"], "OVATION_MODEL"), (["predict", "Fine."], "--model or OVATION_MODEL")]
)
def test_without_a_bundle_the_option_is_named(
    command: list[str], arguments: list[str], option: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, check=False, env=on_path(), cwd=tmp_path
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr == (
        "error: models/reviews-bilstm: expected a bundle, which is a folder with manifest.json, model.onnx and "
        f"vocabulary.json, found no such folder; set {option} to the path of a bundle\n"
    )


def test_help_loads_little() -> None:
    script = (
        "import sys\n"
        "from service.__main__ import main\n"
        "for arguments in (['--help'], ['predict', '--help']):\n"
        "    main(arguments, standalone_mode=False)\n"
        "print({'onnxruntime', 'numpy', 'pydantic', 'fastapi', 'uvicorn'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=on_path())
    assert done.stderr == "set()\n"
