"""The command line, `ovation` or `python -m service`: serve, predict, score, verify, keys.

Each command imports what it needs when it runs: `--help` and the supervisor of several workers need no onnxruntime.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import click

_VERIFY_SECONDS, _VERIFY_BYTES = 120.0, 8 * 2**30  # for `verify`; bytes of addresses
_BUNDLE = "models/reviews-bilstm"  # where no other is named


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
@click.option("--sentences", is_flag=True, help="Predict each sentence, too.")
@click.option("--bundle", "--model", type=click.Path(path_type=Path), default=_BUNDLE, envvar="OVATION_MODEL",
              show_envvar=True, help="Folder of the bundle.")  # fmt: skip
def predict(texts: tuple[str, ...], evidence: bool, sentences: bool, bundle: Path) -> None:
    """Predicts TEXTS without a server, or with - each line of standard input.

    Prints a line of JSON for each; on a terminal, with --evidence or --sentences, the text in colours. A text that is
    blank is named on standard error, and the exit code is then 1. Texts that begin with a dash stand after --.
    """
    from service import shell
    from service.model.bundle import check_folder, read
    from service.model.classifier import Classifier, EvidenceUnavailable
    from service.model.tokenizer import BlankText

    check_folder(bundle, "--model or OVATION_MODEL")
    classifier = Classifier(read(bundle))
    failed = False
    for place, text in shell.texts(texts):
        try:
            prediction = shell.predict(classifier, text, evidence, sentences)
        except BlankText as error:
            click.echo(f"Error: {place}: {error}", err=True)
            failed = True
            continue
        except EvidenceUnavailable as error:
            raise click.ClickException(str(error)) from None
        if (evidence or sentences) and shell.is_colourful():
            click.echo(shell.coloured(text, prediction, classifier.manifest.labels))
        else:
            click.echo(json.dumps(prediction.as_json(classifier.name), ensure_ascii=False))
    if failed:
        sys.exit(1)


@main.command()
@click.argument("read", metavar="IN")
@click.argument("write", metavar="OUT")
@click.option("--text-column", help="Column of the text; several, separated by commas, are joined by a line break.")
@click.option("--bundle", type=click.Path(path_type=Path), default=_BUNDLE, envvar="OVATION_MODEL", show_envvar=True,
              help="Folder of the bundle.")  # fmt: skip
@click.option("--url", help="Address of a running service, which answers in place of a bundle; its key is in "
              "OVATION_API_KEY.")  # fmt: skip
@click.option("--sentences", is_flag=True, help="Write a row for each sentence.")
@click.option("--prefix", default="", show_default=False, help="What the names of the new columns begin with.")
@click.option("--format", type=click.Choice(["csv", "tsv", "jsonl", "parquet"]), show_default=False,
              help="Format of OUT, where its name does not tell.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a finished OUT, or what another run began.")
@click.option("--engine", type=click.Choice(["local", "ray"]), default="local",
              help="ray: Ray Data reads, scores and writes on a cluster, by paths or globs.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), show_default="one a core", help="Processes that score.")
@click.option("--encoding", show_default=False, help="Encoding of IN, where it is not UTF-8.")
@click.option("--delimiter", show_default=False, help="Character between cells, where it is guessed wrong.")
@click.option("--quoting", type=click.Choice(["none", "csv"]), show_default=False,
              help="none: quotes are text; csv: they enclose cells.")  # fmt: skip
@click.option("--no-header", is_flag=True, help="The first row is no header: columns are 1, 2, ...")
def score(read: str, write: str, **options: Any) -> None:
    """Scores each row of the table IN (CSV, TSV, JSON lines, Parquet, Excel, also packed; - for standard input).

    Writes the row with its answer to OUT (CSV, TSV, JSON lines, also as .gz; Parquet; - for standard output). Where it
    was killed, the same command goes on. Rows that cannot be scored go to OUT.rejected.jsonl.

    Exit codes: 0 all rows are scored; 1 an error; 2 wrong usage; 3 the bundle is damaged; 4 finished, some rows were
    rejected; 130, 143 ended by Ctrl-C or SIGTERM.
    """
    from service.bulk import command

    command.run(read, write, options)


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
        if file is None or str(file) == "off":  # what the setting says where there is none
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
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        sys.exit(
            "error: expected the extra `cpu` or `cuda`, found no onnxruntime: pip install '.[cpu]' in the repository's "
            "folder, elsewhere pip install onnxruntime or onnxruntime-gpu"
        )
    except Exception as error:
        from service.model.bundle import DAMAGED, BundleError
        from service.model.classifier import ProviderError

        if not isinstance(error, BundleError | ProviderError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(DAMAGED)


if __name__ == "__main__":
    run()
