"""Whatever becomes of stdout, every request is answered, SIGTERM ends the service, and lost lines are counted."""

import contextlib
import fcntl
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.faulty_service import HANGS, text

SERVE = [sys.executable, "-m", "service", "serve"]
WITHOUT_STDOUT = ["sh", "-c", 'exec "$@" >&-', "sh", *SERVE]
ID = "x" * 128  # the longest request id there is
MORE_THAN_THE_BUFFER = 5_000  # requests, whose lines take more than its 1 MiB


@dataclass
class Service:
    """A running service, and how many requests it got from here."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    asked: int = 0

    def get(self, path: str) -> httpx.Response:
        self.asked += 1
        return self.client.get(path)

    def predict(self, words: str) -> int:
        self.asked += 1
        return self.client.post("/predict", json={"text": words}).status_code

    def lost(self) -> float:
        """The lines lost so far, by the service's own count."""
        [family] = [
            family
            for family in text_string_to_metric_families(self.get("/metrics").text)
            if family.name == "ovation_log_lines_lost"
        ]
        [value] = [sample.value for sample in family.samples if sample.name.endswith("_total")]
        return value

    def ask_many(self, count: int) -> None:
        """Requests that follow each other on one connection without a pause."""
        self.asked += count
        host, port = self.client.base_url.host, self.client.base_url.port or 0
        request = f"GET /health HTTP/1.1\r\nHost: {host}\r\nX-Request-ID: {ID}\r\n\r\n".encode()
        with socket.create_connection((host, port), 60) as connection, connection.makefile("rb") as answers:
            for _ in range(count // 50):
                connection.sendall(request * 50)
                assert [_status(answers) for _ in range(50)] == [200] * 50

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def _status(answers: IO[bytes]) -> int:
    status, length = int(answers.readline().split()[1]), 0
    while (header := answers.readline()) != b"\r\n":
        name, _, value = header.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    answers.read(length)
    return status


@contextlib.contextmanager
def serving(
    bundle: Path, stdout: int | IO[bytes], command: Iterable[str] = SERVE, **settings: object
) -> Iterator[Service]:
    """A service with this stdout, which answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {f"OVATION_{name.upper()}": str(value) for name, value in settings.items()}
    defaults = {"OVATION_MODEL": str(bundle), "OVATION_THREADS": "1", "OVATION_LOG_FORMAT": "json"}
    environment = {**os.environ, **defaults, "OVATION_PORT": str(port), **variables}
    process = subprocess.Popen([*command], stdout=stdout, env=environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            found = Service(process, client)
            while True:
                assert process.poll() is None
                with contextlib.suppress(httpx.ConnectError):
                    client.get("/health")
                    found.asked += 1
                    break
                time.sleep(0.02)
            yield found
    finally:
        process.kill()
        process.wait()


def pipe(size: int = 4096) -> tuple[int, int]:
    """A pipe that holds little."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, size)
    return reading, writing


@pytest.mark.parametrize(
    ("stdout", "workers"), [("full", 1), ("full", 2), ("no reader", 1), ("closed", 1)], ids=lambda value: str(value)
)
def test_a_stdout_that_takes_nothing(stdout: str, workers: int, tiny_bundle_path: Path) -> None:
    if stdout == "no reader":
        reading, output = pipe()
        os.close(reading)
    else:
        output = os.open("/dev/full" if stdout == "full" else os.devnull, os.O_WRONLY)
    command = WITHOUT_STDOUT if stdout == "closed" else SERVE
    with serving(tiny_bundle_path, output, command, workers=workers) as found:
        os.close(output)
        while not found.lost():
            time.sleep(0.01)
        for path in ("/health", "/health/ready", "/metrics"):
            assert found.get(path).status_code == 200
        assert found.predict("good") == 200
        assert found.end() == 0


def test_a_pipe_that_nobody_reads(tiny_bundle_path: Path) -> None:
    reading, writing = pipe()
    with open(reading, "rb") as unread, serving(tiny_bundle_path, writing) as found:
        os.close(writing)
        found.ask_many(MORE_THAN_THE_BUFFER)
        assert found.predict("good") == 200
        assert found.lost() > 0
        assert found.end() == 0
        assert [json.loads(line) for line in unread]  # whole lines only


def test_a_pipe_that_is_read_again_tells_how_many_lines_were_lost(tiny_bundle_path: Path) -> None:
    reading, writing = pipe()
    with open(reading, "rb") as read_again, serving(tiny_bundle_path, writing) as found:
        os.close(writing)
        found.ask_many(MORE_THAN_THE_BUFFER)
        written = lost = 0
        while written + lost < found.asked:
            line = json.loads(read_again.readline())
            written += line["event"] == "request"
            if line["event"] == "log lines lost":
                assert (line["level"], line["reason"]) == ("warning", "the buffer is full")
                lost += line["count"]
        assert written + lost == found.asked
        assert lost == found.lost() > 0
        assert found.end() == 0
        assert [json.loads(line)["event"] for line in read_again][-1].startswith("Finished")


def test_a_disk_that_was_full_for_a_while(tiny_bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as log, serving(tiny_bundle_path, log) as found:
        while b'"route":"/health"' not in path.read_bytes():
            time.sleep(0.01)
        room = path.stat().st_size + 20  # the next line is torn
        _, hard = resource.prlimit(found.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(found.process.pid, resource.RLIMIT_FSIZE, (room, hard))
        while not found.lost():
            time.sleep(0.01)
        assert path.stat().st_size == room
        resource.prlimit(found.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        while b"log lines lost" not in path.read_bytes():
            assert found.predict("good") == 200
        assert found.end() == 0
    lines, torn = [], 0
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            torn += 1
    assert torn == 1
    notices = [line for line in lines if line["event"] == "log lines lost"]
    assert {line["reason"] for line in notices} == {"File too large"}
    assert sum(line["event"] == "request" for line in lines) + sum(line["count"] for line in notices) == found.asked


def test_a_hung_session_ends_the_process_though_nobody_reads(tiny_bundle_path: Path) -> None:
    reading, writing = pipe()
    command = [sys.executable, "-m", "tests.support.faulty_service", "serve"]
    with open(reading, "rb"), serving(tiny_bundle_path, writing, command, hang_seconds=0.5) as found:
        os.close(writing)
        found.ask_many(100)
        assert found.predict(text(HANGS)) == 500
        assert found.process.wait(60) == 70


@pytest.mark.parametrize("blocking", [True, False])
def test_workers_that_share_a_pipe_tear_no_line(blocking: bool) -> None:
    script = """
import sys
from service.telemetry import logs
logs.configure("json", "info")
line = {"request_id": "x" * 128, "route": "/predict/batch", "model": "m" * 73, "trace_id": "a" * 32, "rest": "r" * 160}
for _ in range(30):
    logs.info_all("request", [line] * 40)
sys.stdin.read()
"""
    reading, writing = pipe()  # whoever writes waits
    os.set_blocking(writing, blocking)
    workers = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=writing) for _ in range(3)
    ]
    os.close(writing)
    with open(reading, encoding="utf-8") as lines:
        assert {json.loads(lines.readline())["event"] for _ in range(3 * 30 * 40)} == {"request"}
        for worker in workers:
            worker.communicate(timeout=60)
        assert [worker.returncode for worker in workers] == [0, 0, 0]
        assert lines.read() == ""
