"""uvicorn's protocol with limits: on heads, on time, on what is held for a caller; and a caller who leaves is noticed.

The parser (httptools) sees one head at a time, whole. Bodies are framed here, by Content-Length or in chunks: so an
offer to upgrade, at which the parser would end the message, changes nothing, trailers never become headers, and the
next request on a connection is looked at once the one before is answered.

Of HttpToolsProtocol in uvicorn 0.54 this relies on what tests/service/http/test_uvicorn.py states.
"""

import asyncio
import fcntl
import re
import sys
import termios
from collections.abc import Callable
from typing import Any

import httptools
from starlette.types import Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.engine.admission import Overloaded
from service.http.chunked import BadChunk, ChunkedReader
from service.http.connections import Connections
from service.http.held import HeldBody
from service.http.problems import Problem

# Messages of a cancellation. What is refused is answered, counted and logged by the connection.
CALLER_LEFT, REFUSED = "the caller left", "the body was refused"

HEAD_BYTES = 64 * 1024
HEAD_FIELDS = 200
HEAD_SECONDS = 10.0  # for a whole head; and for what still comes of a body that was answered early
WRITE_SECONDS = 20.0  # in which a caller takes at least a byte of an answer
_LAST_LOOK_SECONDS = 0.01
_LAST_REQUEST_SECONDS = 0.5  # after the server has begun to stop, for requests of callers who cannot know it yet
# What a refused caller still sends is read, for HEAD_SECONDS at most, until nothing came for so long: a connection
# that is closed while bytes come is reset, and the answer lost.
_LINGER_SECONDS = 1.0
_LONG_HEAD_BYTES = 4096  # from here on a head counts as held, until its answer is given
# Times the bytes of a head, or of what waits to be looked at: about what the fields, and a buffer that grows, take.
_PARSED, _GROWN = 4, 2
_PROBE_SECONDS = 0.1
_REQUEST_LINE = re.compile(rb"[^\r\n]* HTTP/1\.[01]\r\n")
_OTHER_VERSION = re.compile(rb"[A-Z]+ [^ \r\n]+(?: HTTP/[0-9.]+)?\r\n")
_BAD_HEAD = "expected a request of HTTP/1.1, found something else"


class Connection(HttpToolsProtocol):
    """One connection of a caller."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._connections: Connections = app_state["connections"]
        self.timeout_keep_alive = self._connections.keep_alive_seconds
        self.ws_protocol_class = None  # else an offer of WebSockets is taken up where a library for them is installed
        self.url = b""  # what stands in the request line, once the parser has read that
        self._request: asyncio.Task[Any] | None = None
        self._pending = bytearray()  # received and not looked at
        self._body_left = 0  # bytes of a body by its Content-Length that have not come
        self._chunks: ChunkedReader | None = None  # while a chunked body comes
        self._refused = self._half_closed = self._still_sends = self._is_last = False
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._long_head = HeldBody(self._connections.held)  # that of the request that runs, where it is a long one
        self._unsent = self._held = 0  # bytes, when last counted: written and not sent; these and what is pending
        self._stop_stream: Callable[[], None] | None = None

    # The transport's calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has connected."""
        super().connection_made(transport)
        if self._connections.opened(self):
            self._await_head()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of heads and bodies, cut anywhere."""
        if self._refused:
            self._still_sends = True
            return
        is_between = self.cycle is None or self.cycle.response_complete
        if is_between and not self._pending and not self._body_left and self._chunks is None:
            # Nearly always the head comes whole, and often the body with it: no need to gather them.
            end = data.find(b"\r\n\r\n") + 4
            if end > 4 and data[0] not in b"\r\n":
                self._unset_keepalive_if_required()
                if not self._begin(data[:end]):
                    return
                data = data[end:]
                if data and len(data) <= self._body_left:
                    self._body_left -= len(data)
                    self.on_body(data)
                    if not self._body_left:
                        self._end_body()
                    return
        self._pending += data
        self._advance()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends no more: it is gone, or waits for its answer on a half-closed connection.

        TCP does not say which until something is sent: a caller who is gone answers an interim response with a reset,
        one who waits passes it over (RFC 9110, 15.2).
        """
        self._half_closed = True
        if not self._owes_answer():
            return False
        if not self._pending:
            self.cycle.keep_alive = False
        if self.parser.get_http_version() == "1.1":
            self._probe(2)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, by either side."""
        self._connections.closed(self)
        self._stop_read_timer()
        if self._write_timer is not None:
            self._write_timer.cancel()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)
        self._pending.clear()
        self._long_head.release()
        if self._request is not None:
            self._request.cancel(CALLER_LEFT)
        # These refer to this, and would keep it until a collection.
        self.cycle = None  # type: ignore[assignment]
        self.scope, self._stop_stream = {}, None  # type: ignore[typeddict-item]

    def pause_writing(self) -> None:
        """The caller takes an answer more slowly than it is written."""
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        """The caller has taken nearly all."""
        super().resume_writing()
        self._watch_writing()

    # Requests.

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._request = self.loop.create_task(cycle.run_asgi(app))
        self._request.add_done_callback(self.tasks.discard)
        self.tasks.add(self._request)

    def _advance(self) -> None:
        """Takes from what is pending: what is left of a body, then the next head, once the last answer is given."""
        while self._pending and not self._refused and not self.transport.is_closing():
            if self._body_left or self._chunks is not None:
                if not self._take_body():
                    break
            elif self.cycle is not None and not self.cycle.response_complete:
                self._wait()
                break
            elif not self._take_head():
                break
        self._recount()

    def _take_head(self) -> bool:
        """Whether a whole head was there; its request has begun, or was refused."""
        self._unset_keepalive_if_required()
        if self._pending[0] in b"\r\n":  # empty lines before a request
            del self._pending[: len(self._pending) - len(self._pending.lstrip(b"\r\n"))]
        end = self._pending.find(b"\r\n\r\n") + 4
        if end == 3 and len(self._pending) <= HEAD_BYTES:
            self._await_head()
            self._wait()
            return False
        head = bytes(self._pending[:end] if end > 3 else self._pending)
        del self._pending[: len(head)]
        self._recount()  # before its fields are counted: else this connection might be ended to make room for them
        return self._begin(head)

    def _begin(self, head: bytes) -> bool:
        """Whether the request of a head has begun, which is otherwise refused."""
        if len(head) > HEAD_BYTES or head.count(b"\n") > HEAD_FIELDS + 2:
            self._refuse("head_too_large", f"expected at most {HEAD_BYTES} bytes and {HEAD_FIELDS} fields, found more")
            return False
        self._stop_read_timer()
        self._connections.busy(self)
        if len(head) > _LONG_HEAD_BYTES and not self._is_room_for(head):
            self._refuse("overloaded", "expected fewer long heads, found as many as the service holds")
            return False
        if not _REQUEST_LINE.match(head):
            if _OTHER_VERSION.match(head):
                self._refuse("version", "expected HTTP/1.1 or HTTP/1.0, found another version or none")
            else:
                self._refuse("malformed", _BAD_HEAD)
            return False
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # an offer to speak another protocol, which nobody need accept
        except httptools.HttpParserError:
            if not self._refused:  # for a transfer coding that the parser does not know, either
                self._refuse("malformed", _BAD_HEAD)
        return not self._refused

    def _is_room_for(self, head: bytes) -> bool:
        """Whether the fields of a long head may be held until its request is answered."""
        try:
            self._long_head.add(_PARSED * len(head))
        except Overloaded:
            self._long_head.release()
            return False
        return True

    def _wait(self) -> None:
        """What is pending waits for more of itself, or for an answer to go out first."""
        if len(self._pending) > HEAD_BYTES:
            self.flow.pause_reading()  # not sooner: a paused connection does not hear that its caller has left
        self._count_held(self.transport.get_write_buffer_size())

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        length, hosts, encodings = 0, 0, list[bytes]()
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                encodings.append(value.strip().lower())
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):  # RFC 9112, 3.2
            self._refuse("malformed", f"expected one Host, found {hosts}")
            return
        if encodings and encodings != [b"chunked"]:
            self._refuse("not_implemented", "Transfer-Encoding: expected chunked or none, found another")
            return
        if not self._connections.may_ask(self, self.url):
            self._refuse("overloaded", "expected fewer connections, found as many as the service takes")
            return
        self._body_left, self._chunks = length, ChunkedReader() if encodings else None
        self.scope["state"]["connection"] = self
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False
        if not self._body_left and self._chunks is None:
            self._end_body()

    def on_message_complete(self) -> None:
        """Called by the parser, which knows nothing of the body."""

    def _take_body(self) -> bool:
        """Hands on what has come of a body; whether all of it has."""
        try:
            if self._chunks is not None:
                part, is_end = self._chunks.read(self._pending)
            else:
                part = bytes(self._pending[: self._body_left])
                del self._pending[: len(part)]
                self._body_left -= len(part)
                is_end = not self._body_left
        except BadChunk as error:
            if self.cycle.response_started:
                self._close("malformed")
            else:
                self.cycle.disconnected = True  # its answer would come after this one
                if self._request is not None:
                    self._request.cancel(REFUSED)
                self._refuse("malformed", str(error))
            return False
        if part:
            self.on_body(part)
        if is_end:
            self._chunks = None
            self._stop_read_timer()
            self._end_body()
        return is_end

    def _end_body(self) -> None:
        super().on_message_complete()
        self.flow.resume_reading()  # paused for a long body; a paused connection does not hear of its end
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:  # it came after its answer
            self._await_next()

    def on_response_complete(self) -> None:
        """Called by the cycle of a request."""
        super().on_response_complete()
        self._long_head.release()
        self._watch_writing()
        # Until the next request: an idle connection holds neither a head nor, in its record, an answer.
        self.url, self.headers, self.scope, self.cycle.scope = b"", [], {}, {}  # type: ignore[typeddict-item]
        if self._stop_stream is not None:
            self._stop_stream = None
            self.transport.set_write_buffer_limits()
        if self.transport.is_closing():
            return
        if self._body_left or self._chunks is not None:
            self._unset_keepalive_if_required()
            self._read_timer = self.loop.call_later(HEAD_SECONDS, self._close, "late_body")
        else:
            self._connections.idle(self)
        self._advance()
        if self._half_closed and not self._owes_answer():
            self.transport.close()

    def _owes_answer(self) -> bool:
        """Whether a request that has come whole is not answered yet."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    # Answers that are written while their request is still read.

    def stream(self, most_unsent_bytes: int, stop: Callable[[], None]) -> None:
        """Lets so many bytes of the answer wait for the caller, in place of uvicorn's 64 KiB, until it has ended.

        `stop` is called where the server stops meanwhile.
        """
        self._stop_stream = stop
        self.transport.set_write_buffer_limits(most_unsent_bytes)
        if self.parser.get_http_version() == "1.0":  # which has no chunks: the end of the connection ends the answer
            self.cycle.chunked_encoding = False

    async def send_part(self, send: Send, part: bytes) -> None:
        """Sends a part of such an answer; waits while too many bytes wait for the caller."""
        if self.cycle is None:
            return  # the caller has left
        if not self.cycle.chunked_encoding:
            self.cycle.expected_content_length = len(part)  # which uvicorn compares with what is sent
        await send({"type": "http.response.body", "body": part, "more_body": True})
        self._unsent += len(part)  # what is fewer than these was taken
        self._watch_writing()

    def shutdown(self) -> None:
        """Called by the server, which stops: the next answer is the last; without one the connection ends soon."""
        self._is_last = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_LAST_REQUEST_SECONDS, self._end_idle)
        if self._stop_stream is not None:
            self._stop_stream()

    def _end_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    # Refusals of the protocol itself.

    def _refuse(self, kind: str, detail: str) -> None:
        """Answers what never became a request, logs it, and closes."""
        self._refused = True
        self._pending.clear()
        self._stop_read_timer()
        if self.transport.is_closing():
            return
        headers = {"Connection": "close"} | ({"Retry-After": "1"} if kind == "overloaded" else {})
        response = self._connections.refusal(Problem(kind, detail, headers), self.url)
        content = [STATUS_LINE[response.status_code]]
        for name, value in (*self.server_state.default_headers, *response.raw_headers):
            content += name, b": ", value, b"\r\n"
        self.transport.write(b"".join([*content, b"\r\n", bytes(response.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self._linger, HEAD_SECONDS - _LINGER_SECONDS)
        self._connections.idle(self)
        self._watch_writing()

    def _linger(self, seconds_left: float) -> None:
        """Closes a connection that was refused, once its caller sends nothing more or no time is left."""
        if self._still_sends and seconds_left > 0:
            self._still_sends = False
            self.loop.call_later(_LINGER_SECONDS, self._linger, seconds_left - _LINGER_SECONDS)
        else:
            self.transport.close()

    # Deadlines.

    def _await_head(self) -> None:
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_is_late(self) -> None:
        """What came while the process stood still is read only after this."""
        self._read_timer = self.loop.call_later(_LAST_LOOK_SECONDS, self._end_late_head)

    def _end_late_head(self) -> None:
        if self._pending:
            self._refuse("slow_head", f"expected a whole head within {HEAD_SECONDS:g} s")
        else:
            self._close("late_head")

    def _await_next(self) -> None:
        self._connections.idle(self)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Called when nothing came for so long; what came while the loop was busy is read only after this."""
        close = super().timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(_LAST_LOOK_SECONDS, close)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _watch_writing(self) -> None:
        """Gives the caller WRITE_SECONDS to take some of what is written, and so on until it has taken all."""
        unsent = self.transport.get_write_buffer_size()
        self._count_held(unsent)
        untaken = self._untaken(unsent)
        if untaken < self._unsent and self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        self._unsent = untaken
        if unsent and self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self._check_writing)

    def _recount(self) -> None:
        """Counts less once what was pending is taken: a connection whose request runs is not ended to make room."""
        if self._held:
            self._count_held(self.transport.get_write_buffer_size())

    def _count_held(self, unsent: int) -> None:
        held = unsent + _GROWN * len(self._pending)
        if held != self._held:
            self._held = held
            self._connections.held.waits(self, held)

    def _check_writing(self) -> None:
        if self._untaken(self.transport.get_write_buffer_size()) >= self._unsent:
            self._close("unread")
        else:
            self._write_timer = None
            self._watch_writing()

    def _untaken(self, unsent: int) -> int:
        """With what the kernel holds of the answer: it takes more in steps of a megabyte, from a slow caller rarely."""
        if not unsent or sys.platform != "linux":
            return unsent
        in_kernel = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return unsent + int.from_bytes(in_kernel, sys.byteorder)

    def _probe(self, times: int) -> None:
        if not self.transport.is_closing() and not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if times > 1:
                self.loop.call_later(_PROBE_SECONDS, self._probe, times - 1)

    def _close(self, reason: str) -> None:
        """Ends the connection now, whatever is open on it."""
        self._connections.count(reason)
        self.transport.abort()

    def make_room(self) -> None:
        """Ends this connection for the sake of others: it idles, or does not take its answer."""
        self._pending.clear()  # not only once the transport is closed, until when others add more
        self._close("room")
