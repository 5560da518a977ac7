"""Web pages of which origins may call the service (CORS, and the refusal of all others), and by which names.

A browser names the origin of the page that sends a request in `Origin`; other clients send none. A page may send some
requests without asking (CORS keeps it only from reading the answer), so a request of a foreign origin is refused before
its body is read.
"""

import re
from collections.abc import Collection, Mapping

from starlette.responses import Response

from service.http.problems import Problem

_ANY = "*"
_PORT = re.compile(rb":[0-9]*$")

Headers = list[tuple[bytes, bytes]]

_EXPOSED = (b"access-control-expose-headers", b"RateLimit, RateLimit-Policy, Retry-After, X-Request-ID, Server-Timing")
_PREFLIGHT: Headers = [
    (b"access-control-allow-methods", b"GET, HEAD, POST"),
    (
        b"access-control-allow-headers",
        b"Authorization, Content-Type, User-Agent, X-API-Key, X-Request-ID, X-Request-Timeout-Ms",
    ),
    (b"access-control-max-age", b"3600"),  # seconds
]


class Hosts:
    """The names by which the service may be asked: host names, or "*" for all.

    A page of an attacker's may lead its own host name to the service's address (DNS rebinding): for the browser both
    are then one origin, and only `Host` tells. Probes are answered by any name: orchestrators use the address.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._any = _ANY in allowed
        self._allowed = frozenset(name.encode() for name in allowed)

    def check(self, host: bytes, route: str, method: str) -> None:
        """Raises Problem where `host`, the field `Host`, has another name; its port does not matter."""
        if self._any or _PORT.sub(b"", host).lower() in self._allowed:
            return
        if not _is_probe(route, method):
            raise Problem("unknown_host", "expected a Host that OVATION_ALLOWED_HOSTS lists, found another")


def _is_probe(path: str, method: str) -> bool:
    return "/health" in path and method in ("GET", "HEAD")


class Origins:
    """Decides on requests of web pages: `allowed` are origins besides the service's own, or "*" for all."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(origin.encode() for origin in allowed)
        self._any = _ANY in allowed
        # Without it a cache could give the answer to one origin to another.
        self._vary: Headers = [(b"vary", b"Origin")] if self._allowed and not self._any else []

    def headers(self, origin: bytes | None) -> Headers:
        """What the answer to a request of `origin` carries, whatever its status, so that its page may read it."""
        if origin is None or not self._allows(origin):
            return self._vary
        return [*self._vary, (b"access-control-allow-origin", b"*" if self._any else origin), _EXPOSED]

    def check(self, origin: bytes, method: str, path: str, host: bytes) -> None:
        """Raises Problem where `origin` is foreign: neither allowed nor, its scheme aside, the `Host` that was asked.

        Schemes are not compared: behind a proxy that ends TLS the page's is https and the service's http. `null`, the
        origin of pages in a sandbox or from a file, is foreign. Probes are answered, since they tell nothing.
        """
        if self._allows(origin) or origin.partition(b"://")[2].lower() == host.lower() != b"":
            return
        if not _is_probe(path, method):
            raise Problem(
                "forbidden_origin",
                "expected no Origin, the service's own or one that OVATION_CORS_ORIGINS lists, found another",
            )

    def preflight(self, origin: bytes, method: str, headers: Mapping[bytes, bytes]) -> Response | None:
        """The answer to a browser that asks what an allowed `origin` may send; None where it asks no such thing."""
        if method != "OPTIONS" or b"access-control-request-method" not in headers or not self._allows(origin):
            return None
        response = Response()
        response.raw_headers += _PREFLIGHT
        return response

    def _allows(self, origin: bytes) -> bool:
        return self._any or origin in self._allowed
