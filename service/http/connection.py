"""uvicorn's protocol, with two more ties to the service: it refuses early, and it says who has left.

Under twice the load that it can carry, a service refuses more than it answers, and what that costs is taken from the
answers. Most of a refusal's cost through ASGI is uvicorn's: a cycle, a task, and messages. So this protocol (uvicorn's
option `http`) asks the edge as soon as a request's headers are there, and writes the 429 at once. All that is unusual
takes the ordinary way, and the edge looks at it there.

ASGI tells of a caller who left only to a task that waits for just that, one for every request that waits for its
answer. Here a request that waits leaves a function to be called instead: one at a time does on a connection. (While a
second request waits behind it on the same connection uvicorn does not read, and nobody hears.)

It relies on this of HttpToolsProtocol in uvicorn 0.54: in `on_headers_complete`, `url` and `headers` are whole, and the
names of headers in lower case; after a `cycle` that is complete the next request may be answered, and what still comes
of the last one's body is passed over; `on_response_complete` begins the wait for the next request, `data_received` ends
it; `default_headers` of `server_state` is the date; a request's state is a copy of `app_state`; `_start_asgi_task`
begins each request that runs; `flow` is paused within a long body, and while a request is in `pipeline`.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

# The name of `Edge.refuse` in the lifespan's state, which uvicorn gives to each protocol: in every worker its own.
REFUSE = "refuse"
CALLER = "caller"  # the name of a connection's Caller in the state of its requests

_LAST_LOOK_SECONDS = 0.01

# In place of a cycle: of one that is complete uvicorn asks no more.
_ANSWERED: Any = SimpleNamespace(response_complete=True, message_event=asyncio.Event())


class Caller:
    """Who is at the other end of a connection: whether it `left`, and what is called when it does."""

    def __init__(self) -> None:
        self.left = False
        self.on_leaving: Callable[[], object] | None = None


class EdgeProtocol(HttpToolsProtocol):
    """A connection; what is refused on it is so before uvicorn makes a request of it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._refuse: Callable[[str, list[tuple[bytes, bytes]], dict[str, Any]], Response | None] = app_state[REFUSE]
        self._caller = Caller()
        self._running: RequestResponseCycle | None = None
        self.app_state = {**app_state, CALLER: self._caller}

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        if self._running is not None and not self._running.response_complete:  # uvicorn tells the last cycle alone
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        self._caller.left = True
        if self._caller.on_leaving is not None:
            self._caller.on_leaving()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        if (answer := self._refusal()) is None:
            super().on_headers_complete()
            return
        content = [STATUS_LINE[answer.status_code]]
        for name, value in (*self.server_state.default_headers, *answer.raw_headers):
            content += name, b": ", value, b"\r\n"
        content += b"\r\n", bytes(answer.body)
        self.transport.write(b"".join(content))
        self.cycle = _ANSWERED
        self.on_response_complete()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()  # paused for a long body; who does not read does not hear that the caller left
        if self.cycle is _ANSWERED and self.timeout_keep_alive_task is None:  # the body came after the answer
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def timeout_keep_alive_handler(self) -> None:
        """Called when nothing came for so long; what came while the loop was busy is looked at only after this."""
        close = super().timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(_LAST_LOOK_SECONDS, close)

    def _refusal(self) -> Response | None:
        """The answer to a request that is refused; None as well where an answer cannot just be written here and now."""
        parser = self.parser
        if (
            parser.get_method() != b"POST"
            or (self.cycle is not None and not self.cycle.response_complete)
            or self.expect_100_continue
            or parser.should_upgrade()
            or not parser.should_keep_alive()
            or parser.get_http_version() != "1.1"
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return None
        return self._refuse(self.url.decode("latin-1"), self.headers, self.scope["state"])
