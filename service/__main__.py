"""The command line: `python -m service serve | predict | verify`."""

import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from service.model import bundle
from service.model.bundle import DAMAGED, BundleError
from service.model.classifier import Classifier, EvidenceUnavailable, ProviderError
from service.model.tokenizer import BlankText

# uvicorn cancels what is still open this long after those who waited were answered 503.
_LAST_SECONDS = 2
# From each socket libuv accepts one connection a turn of the event loop. In an overload turns are long, and callers
# with new connections would wait for seconds before they are even refused.
_ACCEPTED = 16


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Serves a bundle; settings are OVATION_* variables (see README)."""


@main.command()
def serve() -> None:
    """Serves the bundle at OVATION_MODEL over HTTP until SIGTERM or Ctrl-C."""
    # Nothing to drain while it starts; and process 1 of a container would not even end without a handler.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    from pydantic import ValidationError

    from service.settings import Settings
    from service.telemetry import logs

    try:
        settings = Settings()
    except ValidationError as error:
        lines = (f"OVATION_{'_'.join(map(str, line['loc'])).upper()}: {line['msg']}" for line in error.errors())
        raise click.ClickException("; ".join(line.removeprefix("OVATION_: ") for line in lines)) from None
    logs.configure(settings.log_format, settings.log_level)
    if settings.workers == 1:
        _serve_one(settings)
    else:
        _serve_several(settings)


def _config(app: Any, settings: Any, **options: Any) -> Any:
    import uvicorn

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,  # else uvicorn takes WEB_CONCURRENCY
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks for the caller's address
        http="service.http.connection:Connection",
        timeout_graceful_shutdown=settings.grace_seconds + _LAST_SECONDS,
        **options,
    )


def _listeners(config: Any) -> list[Any]:
    """The socket to listen on, as many times as connections are to be accepted in a turn of the event loop."""
    # Of several workers the first to wake would take all that wait, and keep them.
    count = _ACCEPTED if config.workers == 1 else 1
    try:
        first = config.bind_socket()
    except SystemExit:  # uvicorn's, which has logged what the system said, but not of which address
        sys.stderr.write(
            f"error: {config.host}:{config.port}: expected an address to listen on, found it taken, "
            "forbidden or not of this machine; OVATION_HOST and OVATION_PORT name another\n"
        )
        raise
    return [first, *(first.dup() for _ in range(count - 1))]


def _serve_one(settings: Any) -> None:
    import uvicorn

    from service.app import create_app

    config = _config(create_app(settings), settings)
    server = uvicorn.Server(config)
    listeners = _listeners(config)
    listeners[0].listen(config.backlog)  # the log says already that it runs
    # uvicorn raises the signal again when it has stopped: a drained service ended as it should, with code 0.
    signal.signal(signal.SIGTERM, lambda number, frame: None if server.started else sys.exit(0))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(listeners)
    if not server.started:
        sys.exit(1)


def _serve_several(settings: Any) -> None:
    """uvicorn's supervisor: workers that share the port; one that dies is replaced."""
    from uvicorn.supervisors import Multiprocess

    bundle.read(settings.model)  # damaged for one, damaged for all
    with tempfile.TemporaryDirectory(prefix="ovation-metrics-") as folder:
        # Read when prometheus_client is imported, which the workers do after this.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = _config("service.app:worker", settings, factory=True)
        supervisor = Multiprocess(config, _listeners(config))
        supervisor.run()
    if any(process.exitcode == DAMAGED for process in supervisor.processes):
        sys.exit(DAMAGED)


@main.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("--evidence", is_flag=True, help="Tell what each token contributed.")
@click.option("--model", type=click.Path(path_type=Path), default="models/imdb-bilstm", envvar="OVATION_MODEL")
def predict(texts: tuple[str, ...], evidence: bool, model: Path) -> None:
    """Judges TEXTS without a server: a line of JSON for each."""
    classifier = Classifier(bundle.read(model))
    try:
        predictions = classifier(texts, evidence)
    except (BlankText, EvidenceUnavailable) as error:
        raise click.ClickException(str(error)) from None
    for prediction in predictions:
        found = prediction._asdict()
        if (evidence_found := found.pop("evidence")) is not None:
            weights = [{"start": s, "end": e, "weight": w} for s, e, w in evidence_found.tokens]
            found["evidence"] = {"bias": evidence_found.bias, "tokens": weights}
        click.echo(json.dumps({**found, "model": classifier.name}, ensure_ascii=False))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def verify(folder: Path) -> None:
    """Checks the bundle in FOLDER as the service does before it serves one."""
    classifier = Classifier(bundle.read(folder), "cpu")
    manifest = classifier.manifest
    click.echo(f"{folder}: good. {classifier.name}, labels {', '.join(manifest.labels)}, digests, graph and "
               f"{len(manifest.golden)} golden answers as expected.")  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except (BundleError, ProviderError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(DAMAGED)
