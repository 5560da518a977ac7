"""Keys of callers: who may ask, and how much.

A file of keys has a line for each: a name, the SHA-256 of the key in hexadecimal digits and, where that key has a limit
of its own, tokens a second. Blank lines and those that begin with `#` are passed over. A name may stand on several
lines, with an old and a new key: they share one limit, that of the last line. `ovation keys new` makes a line.
"""

import asyncio
import hashlib
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import structlog

from service.engine.allowance import WINDOW_SECONDS, Allowance
from service.http.problems import Problem

PREFIX = "ovation_"  # so that tools which look for secrets know one
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# `name=key`, or a bare key, which may itself end in the `=` of Base64.
_LISTED = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9._-]{0,63})=(?==*[^=]))?([!-~]+)")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_FILE_BYTES = 2**20
_REREAD_SECONDS = 1.0
_ADMIN = "/admin/"
# Whoever asks how the service is has no key: orchestrators, load balancers, the clients of the protocols.
HEALTH_ROUTES = (
    "/health", "/health/ready", "/health/startup", "/health/live", "/tei/health", "/v2/health/live", "/v2/health/ready",
    "/v2/models/{model}/ready", "/v2/models/{model}/versions/{version}/ready",
)  # fmt: skip


class KeysError(ValueError):
    """Keys that cannot be read; the message has the place, what was expected and what was found, but no key."""


class Entry(NamedTuple):
    """One key."""

    name: str
    digest: bytes  # SHA-256 of the key
    tokens_per_second: float | None  # its own limit


def new(name: str, tokens_per_second: float | None = None) -> tuple[str, str]:
    """A new key with 256 random bits, and its line for a file. Raises KeysError."""
    if not NAME.fullmatch(name):
        raise KeysError("expected a name of 1 to 64 of A-Z a-z 0-9 . _ -, with a letter or digit first, found another")
    key = PREFIX + secrets.token_urlsafe(32)
    limit = [] if tokens_per_second is None else [f"{tokens_per_second:g}"]
    return key, " ".join([name, _digest(key.encode()).hex(), *limit])


def add(path: Path, name: str, tokens_per_second: float | None = None) -> str:
    """A new key, whose line is added to the file `path`. Raises KeysError, OSError.

    Without `tokens_per_second` the key has the limit that `name` has in the file.
    """
    content = _content(path) if path.exists() else b""
    limits = [entry.tokens_per_second for entry in _entries(content, path) if entry.name == name]
    key, line = new(name, tokens_per_second or next(reversed(limits), None))
    with path.open("ab") as file:
        file.write(b"" if content.endswith(b"\n") or not content else b"\n")
        file.write(f"{line}\n".encode())
    return key


def listed(text: str) -> list[Entry]:
    """The keys in `text`, separated by commas, each `name=key` or a bare key, named by its place. Raises KeysError."""
    entries = list[Entry]()
    for number, item in enumerate(text.split(","), 1):
        match = _LISTED.fullmatch(item.strip())
        if match is None:
            expected = "keys of visible ASCII characters, separated by commas, each name=key or a bare key"
            raise KeysError(f"key {number}: expected {expected}, found something else")
        entries.append(Entry(match[1] or f"key-{number}", _digest(match[2].encode()), None))
    return entries


def read(path: Path) -> list[Entry]:
    """The keys in the file `path`, at least one. Raises KeysError."""
    return parse(_content(path), path)


def parse(content: bytes, path: Path) -> list[Entry]:
    """The keys in the `content` of the file `path`, at least one. Raises KeysError."""
    entries = _entries(content, path)
    if not entries:  # such as a file that is being written
        raise KeysError(f"{path}: expected a line for each key, found no key (ovation keys new)")
    return entries


def _entries(content: bytes, path: Path) -> list[Entry]:
    entries = list[Entry]()
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        limit = _limit(fields[2]) if len(fields) == 3 else None
        is_whole = len(fields) == 2 or limit is not None
        if not is_whole or not NAME.fullmatch(fields[0]) or not _DIGEST.fullmatch(fields[1]):
            expected = "a name, the SHA-256 of a key in 64 hexadecimal digits, and perhaps tokens a second, above 0"
            raise KeysError(f"{path}, line {number}: expected {expected}, found something else (ovation keys new)")
        entries.append(Entry(fields[0], bytes.fromhex(fields[1]), limit))
    return entries


class Keyring:
    """Keys of one kind: those `listed` in a setting and those in a file, which is read again when it changes.

    A file that cannot be read changes nothing: the keys before stay, which are none where the first reading fails. So
    nobody gets in by breaking the file. `tokens_per_second` is the limit of keys without one of their own, 0 for none.
    Raises KeysError for what is listed.
    """

    def __init__(self, kind: str, text: str | None, path: Path | None, tokens_per_second: float = 0) -> None:
        self.kind, self.path, self._limit = kind, path, tokens_per_second or None
        self._listed = [] if text is None else listed(text)
        self._seen: bytes | str | None = None  # of the file, when it was last looked at: its content, or what is wrong
        self.error: str | None = None
        self._holders = dict[bytes, Allowance]()  # by the SHA-256 of the key
        self._by_name = dict[str, Allowance]()
        self._replace([])
        self.reread()

    @property
    def names(self) -> Collection[str]:
        """The names of all keys."""
        return self._by_name.keys()

    def holder(self, key: bytes) -> Allowance | None:
        """Who holds `key`; None where nobody does.

        How long the look-up takes tells nothing of a key: it is one of a digest, by a hash that Python keys with random
        bits of the process, and bytes are compared only where that hash is equal.
        """
        return self._holders.get(_digest(key))

    def reread(self) -> bool:
        """Reads the file where there is one; whether anything has changed since."""
        if self.path is None:
            return False
        seen: bytes | str
        try:
            seen = _content(self.path)
        except KeysError as error:
            seen = str(error)
        if seen == self._seen:
            return False
        self._seen, self.error = seen, None
        try:
            if isinstance(seen, str):
                raise KeysError(seen)
            self._replace(parse(seen, self.path))
        except KeysError as error:
            self.error = str(error)
        return True

    def _replace(self, entries: Sequence[Entry]) -> None:
        """Puts `entries` in the place of those that were read before; what a name has spent stays spent."""
        together = [*self._listed, *entries]
        rates = {entry.name: entry.tokens_per_second or self._limit for entry in together}
        self._by_name = {name: self._by_name.get(name) or Allowance(name, rate) for name, rate in rates.items()}
        for name, rate in rates.items():
            self._by_name[name].rate = rate
        self._holders = {entry.digest: self._by_name[entry.name] for entry in together}


class Keys:
    """The check of every request: a route that is not open needs a key of a caller, one under /admin that of an admin.

    An admin's key opens every route. Where there are no `callers`, all routes but those under /admin are open.
    """

    def __init__(
        self,
        callers: Keyring | None,
        admins: Keyring | None,
        open_routes: Collection[str],
        on_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._callers, self._admins, self._open = callers, admins, frozenset(open_routes)
        self._on_refused = on_refused  # is told one of metrics.KEY_REFUSALS
        self.keyrings = [keyring for keyring in (callers, admins) if keyring is not None]

    def needs_key(self, route: str) -> bool:
        """Whether requests to `route` need a key."""
        return route.startswith(_ADMIN) or (self._callers is not None and route not in self._open)

    def check(self, route: str, headers: Mapping[bytes, bytes]) -> Allowance | None:
        """Whose request it is; None where `route` is open. Raises Problem."""
        if not self.needs_key(route):
            return None
        sent = _sent(headers)
        for key in sent:
            if self._admins is not None and (holder := self._admins.holder(key)):
                return holder
            if self._callers is not None and (holder := self._callers.holder(key)):
                if route.startswith(_ADMIN):
                    self._on_refused("forbidden")
                    raise Problem("forbidden", "expected the key of an admin, found that of a caller")
                return holder
        # RFC 6750, 3: without a key there is no `error`.
        challenge = 'Bearer realm="ovation"' + (', error="invalid_token"' if sent else "")
        self._on_refused("unknown" if sent else "none")
        found = "one that is not known" if sent else "none"
        detail = f"expected a key, as Authorization: Bearer or X-API-Key, found {found}"
        raise Problem("unauthorized", detail, {"WWW-Authenticate": challenge})

    async def watch(self, on_read: Callable[[Keyring], None]) -> None:
        """Looks at the files every second, for ever; `on_read` is told of each that has changed."""
        while True:
            await asyncio.sleep(_REREAD_SECONDS)
            for keyring in self.keyrings:
                if await asyncio.to_thread(keyring.reread):
                    log_read(keyring)
                    on_read(keyring)


def log_read(keyring: Keyring) -> None:
    """Logs that a file was read, or what is wrong with it."""
    log = structlog.get_logger("ovation")
    if keyring.error is None:
        log.info("keys read", kind=keyring.kind, names=sorted(keyring.names))
    else:
        log.error("keys not read, those before stay", kind=keyring.kind, reason=keyring.error)


def check_allowance(allowance: Allowance) -> None:
    """Raises Problem where `allowance` is spent."""
    if seconds := allowance.seconds_until_open():
        detail = f"expected at most {allowance.rate:g} tokens a second with this key, found them spent"
        raise Problem("rate_limited", detail, {"Retry-After": str(math.ceil(seconds))})


def limit_headers(allowance: Allowance) -> list[tuple[bytes, bytes]]:
    """What an answer tells of the holder's limit (draft-ietf-httpapi-ratelimit-headers-11); nothing without one.

    The draft's units are requests, bytes and concurrent requests, and it has a registry for more; none of these is
    counted here.
    """
    if allowance.rate is None:
        return []
    left, most = max(0, math.floor(allowance.left())), math.ceil(allowance.most)
    seconds = allowance.seconds_until_open() or (most - left) / allowance.rate
    return [
        (b"ratelimit-policy", b'"tokens";q=%d;qu="tokens";w=%d' % (most, WINDOW_SECONDS)),
        (b"ratelimit", b'"tokens";r=%d;t=%d' % (left, math.ceil(seconds))),
    ]


def _sent(headers: Mapping[bytes, bytes]) -> list[bytes]:
    """The keys that a request has. Clients of Hugging Face send a token of their own beside ours."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    bearer = [token.strip()] if scheme.lower() == b"bearer" else []
    return [key for key in (*bearer, headers.get(b"x-api-key", b"")) if key]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _limit(text: str) -> float | None:
    """Tokens a second; None where `text` is no finite number above 0."""
    try:
        limit = float(text)
    except ValueError:
        return None
    return limit if 0 < limit < math.inf else None


def _content(path: Path) -> bytes:
    """The bytes of a regular file; anything else might never end. Raises KeysError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise KeysError(f"{path}: expected a regular file of keys, found another kind")
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise KeysError(f"{path}: expected a readable file of keys, found {reason}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise KeysError(f"{path}: expected at most {_MAX_FILE_BYTES} bytes of keys, found more")
    return content
