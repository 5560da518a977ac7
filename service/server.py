"""uvicorn around the app: listeners, workers, signals and exit codes."""

import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError

from service import cgroup
from service.http import keys
from service.http.keys import KeysError
from service.http.shutdown import Server
from service.model import bundle
from service.model.bundle import DAMAGED, BundleError
from service.model.bundles import Bundles, Files
from service.settings import OFF, Settings
from service.telemetry import logs, shared_files

# uvicorn cancels the requests that are still open this long after the waiting ones were answered 503.
CLOSING_SECONDS = 2
# From each socket libuv accepts one connection a turn of the event loop. In an overload turns are long, and with one
# socket callers with new connections would wait for seconds before they are even refused.
_SOCKETS = 16


class InvalidSettings(Exception):
    """Environment variables that Settings refuses; the message names each and says what is wrong with it."""


def serve() -> None:
    """Serves the bundle at OVATION_MODEL over HTTP until SIGTERM or Ctrl-C.

    Returns when it has drained. Raises InvalidSettings, BundleError, ProviderError; SystemExit with code 3 where the
    address is taken or a worker cannot serve the bundle, and with 1 where the app does not start.
    """
    settings = _settings()
    _check_keys(settings)
    bundle.check_folder(settings.model, "OVATION_MODEL")
    logs.configure(settings.log_format, settings.log_level)
    if settings.workers == 1:
        _serve_one(settings)
    else:
        _serve_several(settings)


def worker(connection: Connection) -> FastAPI:
    """The app of one of several processes, with its end of the `connection` to the supervisor.

    Ends the process with code 3 where the bundle cannot be served.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal sends it to all; the supervisor takes it for "reload"
    settings = _settings()
    logs.configure(settings.log_format, settings.log_level)
    shared_files.join()
    from service.app import create_app
    from service.control import Control
    from service.model.classifier import ProviderError

    try:
        return create_app(settings, control=Control(connection))
    except (BundleError, ProviderError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(DAMAGED)


def make_config(app: FastAPI | Callable[[], FastAPI] | str, settings: Settings) -> uvicorn.Config:
    """uvicorn's settings for `app`, or for the app that the function `app`, or of that name, makes."""
    return uvicorn.Config(
        app,
        factory=not isinstance(app, FastAPI),
        host=settings.host,
        port=settings.port,
        workers=settings.workers,  # else uvicorn takes WEB_CONCURRENCY
        log_config=None,
        access_log=False,
        server_header=False,
        # X-Forwarded-For and -Proto are passed over: nothing here asks for the caller's address or scheme, and whoever
        # is no proxy could write there what they like.
        proxy_headers=False,
        http="service.http.connection:Connection",
        timeout_graceful_shutdown=settings.grace_seconds + CLOSING_SECONDS,
    )


def open_listeners(config: uvicorn.Config) -> list[socket.socket]:
    """The bound socket, as many times as connections are to be accepted in a turn of the event loop.

    Raises SystemExit with code 3 where the address cannot be listened on.
    """
    # With more sockets the first of several workers to wake would accept all waiting connections, and keep them.
    count = _SOCKETS if config.workers == 1 else 1
    try:
        first = config.bind_socket()
    except SystemExit:  # uvicorn's, which has logged what the system said, but not of which address
        sys.stderr.write(
            f"error: {config.host}:{config.port}: expected an address to listen on, found it taken, "
            "forbidden or not of this machine; OVATION_HOST and OVATION_PORT name another\n"
        )
        raise
    return [first, *(first.dup() for _ in range(count - 1))]


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        lines = (f"OVATION_{'_'.join(map(str, line['loc'])).upper()}: {line['msg']}" for line in error.errors())
        raise InvalidSettings("; ".join(line.removeprefix("OVATION_: ") for line in lines)) from None


def _check_keys(settings: Settings) -> None:
    """Raises InvalidSettings where keys cannot be read. Later a file that cannot be read changes nothing."""
    for name in ("api_keys", "admin_keys"):
        listed, file = getattr(settings, name), getattr(settings, f"{name}_file")
        try:
            if listed != OFF:
                keys.listed(listed)
            if file != OFF:
                keys.read(Path(file))
        except KeysError as error:
            variable = f"OVATION_{name}" if listed != OFF and str(error).startswith("key ") else f"OVATION_{name}_file"
            raise InvalidSettings(f"{variable.upper()}: {error}") from None


def _serve_one(settings: Settings) -> None:
    shared_files.count_alone()
    from service.app import create_app

    config = make_config(create_app(settings), settings)
    server = Server(config)
    listeners = open_listeners(config)
    listeners[0].listen(config.backlog)  # uvicorn has already logged the address
    # uvicorn raises the signal again when it has stopped: a drained service ended as it should, with code 0.
    signal.signal(signal.SIGTERM, lambda number, frame: None if server.started else sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(listeners)
    if not server.started:
        sys.exit(1)


def _serve_several(settings: Settings) -> None:
    """Workers that share the port, and their supervisor, which imports neither the app nor onnxruntime."""
    from service.supervisor import Supervisor

    files = Files(settings.model, bundle.contents(settings.model))
    bundle.parse(*files)  # damaged for one, damaged for all
    bundles = Bundles(settings.model, files, settings.workers, cgroup.free_memory_bytes)
    with shared_files.folder():
        config = make_config("service.server:worker", settings)  # each worker has its own, with a connection
        supervisor = Supervisor(
            config, open_listeners(config), bundles, lambda line: make_config(partial(worker, line), settings)
        )
        supervisor.run()
    if any(process.exitcode == DAMAGED for process in supervisor.processes):
        sys.exit(DAMAGED)
