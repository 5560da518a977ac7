"""The command line: `python -m service serve | predict | verify`."""

import dataclasses
import json
import sys
from pathlib import Path

import click

from service import bundle
from service.bundle import BundleError
from service.classifier import Classifier, EvidenceUnavailable, ProviderError
from service.tokenizer import BlankText

DAMAGED = 3  # the exit code for a bundle or a provider that cannot be served


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Serves a bundle; settings are OVATION_* variables (see README)."""


@main.command()
def serve() -> None:
    """Serves the bundle at OVATION_MODEL over HTTP until SIGTERM or Ctrl-C."""
    import uvicorn
    from pydantic import ValidationError

    from service import logs
    from service.app import create_app
    from service.settings import Settings

    try:
        settings = Settings()
    except ValidationError as error:
        lines = (f"OVATION_{'_'.join(map(str, line['loc'])).upper()}: {line['msg']}" for line in error.errors())
        raise click.ClickException("; ".join(line.removeprefix("OVATION_: ") for line in lines)) from None
    logs.configure(settings.log_format, settings.log_level)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        workers=1,  # else uvicorn takes WEB_CONCURRENCY, and fails
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.grace_seconds,
    )


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
        found = dataclasses.asdict(prediction)
        if prediction.evidence is None:
            del found["evidence"]
        else:
            spans = prediction.evidence.tokens
            found["evidence"]["tokens"] = [{"start": s, "end": e, "weight": w} for s, e, w in spans]
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
