"""The command line, `ovation` or `python -m service`: serve, predict, verify, keys.

Each command imports what it needs when it runs: `--help` and the supervisor of several workers need no onnxruntime.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import click

_VERIFY_SECONDS, _VERIFY_BYTES = 120.0, 8 * 2**30  # for `verify`; bytes of addresses


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Serves a bundle; its settings are environment variables named OVATION_* (docs/settings.md)."""


@main.command()
def serve() -> None:
    """Serves the bundle at OVATION_MODEL over HTTP until SIGTERM or Ctrl-C."""
    # A service that starts has nothing to drain; without a handler process 1 of a container would ignore SIGTERM.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    from service import server

    try:
        server.serve()
    except server.InvalidSettings as error:
        raise click.ClickException(str(error)) from None


@main.command()
@click.argument("texts", nargs=-1, required=True)
@click.option("--evidence", is_flag=True, help="Give each token's share of the answer.")
@click.option("--model", type=click.Path(path_type=Path), default="models/imdb-bilstm", envvar="OVATION_MODEL",
              show_envvar=True, help="Folder of the bundle.")  # fmt: skip
def predict(texts: tuple[str, ...], evidence: bool, model: Path) -> None:
    """Predicts TEXTS without a server: a line of JSON for each."""
    from service.model import bundle
    from service.model.classifier import Classifier, EvidenceUnavailable
    from service.model.tokenizer import BlankText

    bundle.check_folder(model, "--model or OVATION_MODEL")
    classifier = Classifier(bundle.read(model))
    try:
        predictions = classifier(texts, evidence)
    except (BlankText, EvidenceUnavailable) as error:
        raise click.ClickException(str(error)) from None
    for prediction in predictions:
        click.echo(json.dumps(prediction.as_json(classifier.name), ensure_ascii=False))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def verify(folder: Path) -> None:
    """Checks the bundle in FOLDER as the service does before it serves one."""
    import resource

    from service.model import bundle
    from service.model.bundle import DAMAGED
    from service.model.classifier import Classifier

    # A graph may ask for any amount of time and memory: onnxruntime obeys, and what it computes it does not interrupt.
    resource.setrlimit(resource.RLIMIT_AS, (_VERIFY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    late = f"error: {folder}: expected a bundle that is verified within {_VERIFY_SECONDS:g} s, found one that is not\n"
    timer = threading.Timer(_VERIFY_SECONDS, lambda: (sys.stderr.write(late), os._exit(DAMAGED)))
    timer.daemon = True
    timer.start()
    classifier = Classifier(bundle.read(folder), "cpu")
    manifest = classifier.manifest
    click.echo(f"{folder}: good. {classifier.name}, labels {', '.join(manifest.labels)}, digests, graph and "
               f"{len(manifest.golden)} golden answers as expected.")  # fmt: skip


@main.group()
def keys() -> None:
    """Makes keys for callers."""


@keys.command()
@click.argument("name")
@click.option("--tokens-per-second", type=click.FloatRange(min=0, min_open=True),
              help="Limit of the key in each worker; without it that of OVATION_KEY_TOKENS_PER_SECOND.")  # fmt: skip
@click.option("--file", type=click.Path(path_type=Path), envvar="OVATION_API_KEYS_FILE", show_envvar=True,
              help="File to add the key to; without it the line is printed on standard error.")  # fmt: skip
def new(name: str, tokens_per_second: float | None, file: Path | None) -> None:
    """Prints a new key for NAME, and adds its SHA-256 to a file. The key itself is kept nowhere."""
    from service.http import keys

    try:
        if file is None:
            key, line = keys.new(name, tokens_per_second)
            click.echo(f"line for the file of OVATION_API_KEYS_FILE: {line}", err=True)
        else:
            key = keys.add(file, name, tokens_per_second)
    except (keys.KeysError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(key)


def run() -> None:
    """Runs `main`, and ends the process with code 3 and one line where a bundle or a provider cannot be served."""
    try:
        main()
    except Exception as error:
        from service.model.bundle import DAMAGED, BundleError
        from service.model.classifier import ProviderError

        if not isinstance(error, BundleError | ProviderError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(DAMAGED)


if __name__ == "__main__":
    run()
