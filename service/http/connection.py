"""uvicorn's protocol, with one more tie to the service: a request ends when its caller leaves.

ASGI tells of a caller who left only to a task that waits for just that, one for every request that waits for its
answer. Here the connection cancels the request's task instead.

It relies on this of HttpToolsProtocol in uvicorn 0.54: `app` is called once a request; `_start_asgi_task` begins each
request that runs; `flow` is paused within a long body, and while a request is in `pipeline` (so that nobody hears of a
caller who leaves meanwhile); what still comes of a body after its answer is passed over.
"""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

CALLER_LEFT = "the caller left"  # the message of the cancellation

_LAST_LOOK_SECONDS = 0.01


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
        self._asgi_app, self.app = self.app, self._call
        self._request: asyncio.Task[Any] | None = None
        self._running: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._request = asyncio.current_task()
        try:
            await self._asgi_app(scope, receive, send)
        except asyncio.CancelledError as error:
            if error.args != (CALLER_LEFT,):
                raise
        finally:
            self._request = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        super().connection_lost(exc)
        if self._request is not None and self._running is not None:
            self._running.disconnected = True  # uvicorn tells the cycle that came last, which may wait behind this one
            self._request.cancel(CALLER_LEFT)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()  # paused for a long body; a paused connection does not hear of its end
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:  # the body came after its answer
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Called when nothing came for so long; what came while the loop was busy is read only after this."""
        close = super().timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(_LAST_LOOK_SECONDS, close)
