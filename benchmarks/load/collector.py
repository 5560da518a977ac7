"""`python -m benchmarks.load.collector PORT`: receives spans by OTLP over HTTP; GET answers with their number."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATH = "/v1/traces"


class Collector(ThreadingHTTPServer):
    """Listens on 127.0.0.1; port 0: any free port."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.received: list[bytes] = []

    @property
    def url(self) -> str:
        """The value for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def requests(self) -> list[ExportTraceServiceRequest]:
        """The export requests received, parsed."""
        return [ExportTraceServiceRequest.FromString(body) for body in self.received]

    def spans(self) -> list[Span]:
        """All spans received, in order of arrival."""
        resources = [resource for request in self.requests() for resource in request.resource_spans]
        return [span for resource in resources for scope in resource.scope_spans for span in scope.spans]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == PATH:
            self.server.received.append(body)
        self._answer(200 if self.path == PATH else 404, b"")

    def do_GET(self) -> None:
        self._answer(200, b"%d" % len(self.server.spans()))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    """Runs a collector in a thread until the block ends."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


if __name__ == "__main__":
    Collector(int(sys.argv[1])).serve_forever()
