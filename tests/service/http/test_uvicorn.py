"""What `service.http.connection` relies on of uvicorn 0.54; each of these fails where a new uvicorn differs."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, cast

import httptools
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tests.support.connection import BODY, get, head


class Transport:
    """An asyncio.Transport that keeps what was done to it."""

    def __init__(self) -> None:
        self.written, self.calls, self.closing = b"", list[str](), False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closing = True
        self.calls.append("close")

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.1", 50_000)}.get(name, default)


class Served:
    """A protocol with a transport, around an app that keeps its calls and answers when it is told to."""

    def __init__(self, protocol: type[HttpToolsProtocol] = HttpToolsProtocol) -> None:
        self.calls: list[tuple[Scope, Receive, Send]] = []
        self.answer = asyncio.Event()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        config = uvicorn.Config(self.app, interface="asgi3", proxy_headers=False, log_config=None, timeout_keep_alive=7)
        self.transport = Transport()
        self.protocol = protocol(config, self.state, {"mine": 1})
        self.protocol.connection_made(cast(asyncio.Transport, self.transport))

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls.append((scope, receive, send))
        await self.answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    @property
    def cycle(self) -> RequestResponseCycle:
        """The cycle of the last request."""
        return self.protocol.cycle


async def turn(times: int = 5) -> None:
    """Lets tasks run."""
    for _ in range(times):
        await asyncio.sleep(0)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def test_the_version() -> None:
    assert uvicorn.__version__.startswith("0.54."), "read service/http/connection.py beside the new uvicorn"


def test_the_methods_that_are_called_or_replaced() -> None:
    parameters = {
        "__init__": ["self", "config", "server_state", "app_state", "_loop"],
        "connection_made": ["self", "transport"],
        "connection_lost": ["self", "exc"],
        "data_received": ["self", "data"],
        "eof_received": ["self"],
        "pause_writing": ["self"],
        "resume_writing": ["self"],
        "on_message_begin": ["self"],
        "on_url": ["self", "url"],
        "on_header": ["self", "name", "value"],
        "on_headers_complete": ["self"],
        "on_body": ["self", "body"],
        "on_message_complete": ["self"],
        "on_response_complete": ["self"],
        "timeout_keep_alive_handler": ["self"],
        "shutdown": ["self"],
        "_start_asgi_task": ["self", "cycle", "app"],
        "_unset_keepalive_if_required": ["self"],
    }
    for name, expected in parameters.items():
        assert list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters) == expected, name


def test_only_these_attributes_are_there_before_a_request() -> None:
    async def scenario() -> None:
        served = Served()
        protocol = served.protocol
        assert isinstance(protocol.parser, httptools.HttpRequestParser)
        assert isinstance(protocol.flow, FlowControl)
        assert protocol.app is protocol.config.loaded_app
        assert protocol.app_state == {"mine": 1}
        assert protocol.tasks is served.state.tasks
        assert protocol.connections is served.state.connections
        assert protocol in served.state.connections
        assert (protocol.timeout_keep_alive, protocol.timeout_keep_alive_task) == (7, None)
        assert cast(object, protocol.cycle) is None
        assert hasattr(protocol, "ws_protocol_class")
        assert not protocol.pipeline

    run(scenario)


def test_the_parser_hands_a_head_to_the_protocol_and_the_app_is_called_with_its_scope() -> None:
    async def scenario() -> None:
        served = Served()
        parser = httptools.HttpRequestParser(served.protocol)
        served.protocol.parser = parser  # one for each head
        parser.feed_data(head("X-Name: Value"))
        assert served.protocol.url == b"/predict"
        assert (b"x-name", b"Value") in served.protocol.headers
        assert served.protocol.scope is served.cycle.scope
        await turn()
        [(scope, _, _)] = served.calls
        assert scope is served.protocol.scope
        assert (scope["type"], scope["method"], scope["path"]) == ("http", "POST", "/predict")
        assert scope["headers"] is served.protocol.headers
        assert scope["state"] == {"mine": 1}
        assert scope["state"] is not served.protocol.app_state
        assert len(served.state.tasks) == 1

    run(scenario)


def test_each_request_is_a_cycle_that_is_started_once_with_the_protocols_app() -> None:
    async def scenario() -> None:
        started: list[tuple[RequestResponseCycle, object]] = []

        class Protocol(HttpToolsProtocol):
            def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
                started.append((cycle, app))
                super()._start_asgi_task(cycle, app)

        served = Served(Protocol)
        served.answer.set()
        for _ in range(2):
            served.protocol.data_received(get("/"))
            assert started[-1] == (served.cycle, served.protocol.app)
            await turn()
        assert len(started) == len(served.calls) == 2

    run(scenario)


def test_a_body_is_handed_on_by_on_body_and_ended_by_on_message_complete() -> None:
    async def scenario() -> None:
        served = Served()
        served.protocol.parser.feed_data(head())
        await turn()
        cycle, (_, receive, _) = served.cycle, served.calls[0]
        assert (cycle.more_body, cycle.response_started, cycle.response_complete) == (True, False, False)
        served.protocol.on_body(BODY[:10])
        assert await receive() == {"type": "http.request", "body": BODY[:10], "more_body": True}
        served.protocol.on_body(BODY[10:])
        served.protocol.on_message_complete()
        assert not cycle.more_body
        assert await receive() == {"type": "http.request", "body": BODY[10:], "more_body": False}

    run(scenario)


def test_a_long_body_pauses_reading_until_it_is_received() -> None:
    async def scenario() -> None:
        served = Served()
        served.protocol.parser.feed_data(head(length=10 * HIGH_WATER_LIMIT))
        await turn()
        served.protocol.on_body((HIGH_WATER_LIMIT + 1) * b"a")
        assert served.transport.calls == ["pause_reading"]
        assert served.protocol.flow.read_paused
        await served.calls[0][1]()
        assert served.transport.calls == ["pause_reading", "resume_reading"]
        served.protocol.flow.resume_reading()  # nothing is paused
        assert served.transport.calls == ["pause_reading", "resume_reading"]

    run(scenario)


@pytest.mark.parametrize("keeps", [True, False])
def test_an_answer_ends_with_on_response_complete(keeps: bool) -> None:
    async def scenario() -> None:
        ends: list[tuple[bool, bool]] = []

        class Protocol(HttpToolsProtocol):
            def on_response_complete(self) -> None:
                ends.append((self.cycle.response_complete, self.transport.is_closing()))
                super().on_response_complete()

        served = Served(Protocol)
        served.protocol.data_received(get("/"))
        cycle = served.cycle
        assert cycle.keep_alive
        cycle.keep_alive = keeps
        await turn()
        served.answer.set()
        await turn()
        assert (cycle.response_started, cycle.response_complete) == (True, True)
        assert ends == [(True, not keeps)]  # once, inside the send of the last of the body
        lines = b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\n"
        assert served.transport.written == lines + (b"" if keeps else b"connection: close\r\n") + b"\r\nok"
        assert (served.protocol.timeout_keep_alive_task is not None) == keeps
        assert served.state.total_requests == 1
        if keeps:
            served.protocol._unset_keepalive_if_required()
            assert served.protocol.timeout_keep_alive_task is None
            served.protocol.timeout_keep_alive_handler()
            assert served.transport.closing

    run(scenario)


def test_nothing_of_the_cycle_is_needed_after_its_answer() -> None:
    async def scenario() -> None:
        class Protocol(HttpToolsProtocol):
            def on_response_complete(self) -> None:
                super().on_response_complete()
                self.url, self.headers, self.scope, self.cycle.scope = b"", [], {}, {}  # type: ignore[typeddict-item]

        served = Served(Protocol)
        served.answer.set()
        for _ in range(2):
            served.protocol.data_received(get("/"))
            await turn()
        assert served.transport.written.count(b"200 OK") == 2
        assert not served.transport.closing
        assert not served.state.tasks

    run(scenario)


def test_send_waits_while_writing_is_paused_and_writes_nothing_once_disconnected() -> None:
    async def scenario() -> None:
        served = Served()
        served.protocol.data_received(get("/"))
        served.protocol.pause_writing()
        served.answer.set()
        await turn()
        assert served.transport.written == b""
        served.cycle.disconnected = True
        served.protocol.resume_writing()
        await turn()
        assert served.transport.written == b""
        assert not served.state.tasks

    run(scenario)


def test_a_lost_connection_disconnects_its_cycle_and_does_not_cancel_its_task() -> None:
    async def scenario() -> None:
        served = Served()
        served.protocol.data_received(get("/"))
        await turn()
        served.protocol.connection_lost(ConnectionResetError())
        assert served.cycle.disconnected
        assert served.protocol not in served.state.connections
        assert (await served.calls[0][1]())["type"] == "http.disconnect"
        assert len(served.state.tasks) == 1
        served.answer.set()
        await turn()
        assert served.transport.written == b""

    run(scenario)


def test_an_app_that_returns_for_a_disconnected_caller_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        served = Served()

        async def leaves(scope: Scope, receive: Receive, send: Send) -> None:
            await served.answer.wait()

        served.protocol.app = cast(Any, leaves)
        served.protocol.data_received(get("/"))
        await turn()
        served.protocol.connection_lost(None)
        served.answer.set()
        await turn()
        assert not served.state.tasks

    run(scenario)
    assert caplog.records == []


def test_the_interim_answer_is_given_when_the_body_is_received() -> None:
    async def scenario() -> None:
        served = Served()
        served.protocol.parser.feed_data(head("Expect: 100-continue"))
        await turn()
        assert served.transport.written == b""
        task = asyncio.create_task(cast(Any, served.calls[0][1])())
        await turn()
        assert served.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
        task.cancel()

    run(scenario)


def test_a_server_that_stops_calls_shutdown_of_each_connection() -> None:
    async def scenario() -> None:
        served = Served()
        served.protocol.data_received(get("/"))
        await turn()
        served.protocol.shutdown()
        assert not served.cycle.keep_alive
        assert not served.transport.closing
        served.answer.set()
        await turn()
        assert b"connection: close" in served.transport.written
        idle = Served()
        idle.protocol.shutdown()
        assert idle.transport.closing

    run(scenario)


def test_status_lines_and_default_headers() -> None:
    assert STATUS_LINE[431] == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    assert {400, 408, 429, 431, 501, 505} <= set(STATUS_LINE)
    assert ServerState().default_headers == []
    assert httptools_impl.STATUS_LINE is STATUS_LINE


def test_httptools_ends_a_message_at_an_offer_to_upgrade_and_else_not() -> None:
    class Heads:
        def __init__(self) -> None:
            self.complete = 0

        def on_headers_complete(self) -> None:
            self.complete += 1

    for lines, offers in (("X: a",), False), (("Connection: Upgrade", "Upgrade: h2c"), True):
        heads = Heads()
        parser = httptools.HttpRequestParser(heads)
        if offers:
            with pytest.raises(httptools.HttpParserUpgrade):
                parser.feed_data(head(*lines))
        else:
            parser.feed_data(head(*lines))
        assert heads.complete == 1
        assert parser.get_http_version() == "1.1"
        assert parser.should_keep_alive()
    assert issubclass(httptools.HttpParserError, Exception)
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)
