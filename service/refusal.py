"""429 without a request: what an overloaded service does most of all must cost it least.

Under twice the load that it can carry, a service refuses more than it answers, and what that costs is taken from the
answers. Most of a refusal's cost through ASGI is uvicorn's: a cycle, a task, messages, and two writes for each. So this
is uvicorn's own protocol (its option `http`), which asks the edge as soon as the headers are there, and writes its 429 at
once. All that is unusual takes the ordinary way, on which the edge asks again.

It relies on this of HttpToolsProtocol in uvicorn 0.54: when `on_headers_complete` is called, `url` and `headers` are
whole, the names in lower case; after a `cycle` that is complete, the next request may be answered, and what still comes of
the last one's body is passed over; `on_response_complete` waits for the next request, for as long as any; and
`default_headers` of its `server_state` holds the date.
"""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

# What the lifespan's state calls `Edge.refuse`. uvicorn gives that state to each protocol, in every worker its own.
REFUSE = "refuse"

_ANSWERED: Any = SimpleNamespace(response_complete=True, message_event=asyncio.Event())  # in place of a cycle


class RefusingProtocol(HttpToolsProtocol):
    """A connection whose requests are refused, where they are, before uvicorn makes anything of them."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._refuse: Callable[[str, list[tuple[bytes, bytes]], dict[str, Any]], Response | None] = app_state[REFUSE]

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

    def _refusal(self) -> Response | None:
        """The answer to a request that is refused and is like most: one to be answered now, on a connection that stays."""
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
