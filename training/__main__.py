"""The command line: `python -m training run | release | evaluate | report | inspect`."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from service.model import bundle
from service.model.bundle import Bundle, BundleError
from service.model.classifier import Classifier
from training.data.corpus import build, held_out
from training.data.sources import DataError, Source
from training.data.split import NAMES
from training.fitting.checkpoint import RunError
from training.options import Options
from training.recipe.recipes import PRESETS
from training.release.export import ParityError
from training.run import run


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Turns labelled reviews into a bundle that `python -m service serve` serves."""


_PATH = click.Path(path_type=Path)

_columns = (
    click.option("--text-column", default="text", help="Column of a table that holds the text."),
    click.option("--label-column", default="label", help="Column of a table that holds the label."),
)


@main.command("run")
@click.option("--data", type=_PATH, help="aclImdb archive or folder, or a CSV, TSV, JSON-lines or Parquet "
              "file; without it the archive is downloaded.")  # fmt: skip
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="base")
@click.option("--out", type=_PATH, required=True, help="Folder of the bundle, e.g. models/mine.")
@click.option("--validation", type=_PATH, help="Table to choose by; else 10 % of --data.")
@click.option("--test", type=_PATH, help="Table to judge by; else 10 % of --data.")
@click.option("--test-share", type=click.FloatRange(0, 0.5), default=0.1, help="Share of a table kept for the test.")
@click.option("--unlabelled", type=_PATH, help="Table of texts without labels, for the teacher to label.")
@_columns[0]
@_columns[1]
@click.option("--group-column", help="Column whose equal values stay in one split.")
@click.option("--from", "warm_start", type=_PATH, help="Bundle whose weights and vocabulary to start from.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the preset's.")
@click.option("--seed", type=int, default=1)
@click.option(
    "--sample", type=click.FloatRange(0.001, 1), default=1.0, help="Share of the reviews to use, for a trial."
)
@click.option("--skip-test", is_flag=True, help="Leave the test split unread, while you choose between runs.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same options.")
@click.option("--force", is_flag=True, help="Replace the bundle, and any unfinished run, at --out.")
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", help="auto: CUDA where there is one.")
def run_command(
    data: Path | None,
    preset: str,
    out: Path,
    validation: Path | None,
    test: Path | None,
    test_share: float,
    unlabelled: Path | None,
    text_column: str,
    label_column: str,
    group_column: str | None,
    warm_start: Path | None,
    epochs: int | None,
    **others: bool | int | float | str,
) -> None:
    """Trains, exports, proves and measures; the last line printed is the command that serves the result."""
    console = Console()
    given = ((data or _download(console), "data"), (validation, "validation"), (test, "test"))
    sources = [(Source(path, text_column, label_column, group_column), role) for path, role in given if path]
    if unlabelled:
        sources.append((Source(unlabelled, text_column, label_column=None), "unlabelled"))
    recipe = PRESETS[preset]
    if warm_start:
        # The weights are good already: smaller steps keep what they know.
        plan = dataclasses.replace(recipe.plan, learning_rate=recipe.plan.learning_rate / 3)
        recipe = dataclasses.replace(recipe, plan=plan)
    if epochs:
        recipe = dataclasses.replace(recipe, plan=dataclasses.replace(recipe.plan, epochs=epochs))
    made = run(
        Options(preset, recipe, tuple(sources), out, test_share=test_share, warm_start=warm_start, **others),  # type: ignore[arg-type]
        console,
    )
    _tell_command(made)


@main.command("release")
@click.option("--data", type=_PATH, help="Like --data of run; without it the archive is downloaded.")
@click.option("--out", type=_PATH, default="models/imdb-bilstm", help="Folder of the bundle.")
@_columns[0]
@_columns[1]
@click.option("--seed", type=int, default=1, help="The seed that ships, to be fixed before anything is measured.")
@click.option("--siblings", type=click.IntRange(0), default=2, help="More seeds to train and measure, for the spread.")
@click.option("--sample", type=click.FloatRange(0.001, 1), default=1.0, help="Share of the reviews, for a trial.")
@click.option("--skip-test", is_flag=True, help="Leave the test split unread.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted release of the same options.")
@click.option("--force", is_flag=True, help="Replace the bundle, and any unfinished run, at --out.")
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", help="auto: CUDA where there is one.")
def release_command(
    data: Path | None,
    out: Path,
    text_column: str,
    label_column: str,
    seed: int,
    siblings: int,
    **others: bool | float | str,
) -> None:
    """Archive in, finished bundle out: every stage of the preset `release`, and its spread over seeds."""
    console = Console()
    source = Source(data or _download(console), text_column, label_column)
    spread = tuple(range(seed + 1, seed + 1 + siblings))
    options = Options("release", PRESETS["release"], ((source, "data"),), out, seed=seed, spread=spread, **others)  # type: ignore[arg-type]
    _tell_command(run(options, console))


def _tell_command(made: Path) -> None:
    """Prints how to serve the bundle, by the Python that made it."""
    python = "python" if sys.prefix == sys.base_prefix else os.path.relpath(sys.executable)
    print(f"OVATION_MODEL={made} {python} -m service serve")


def _download(console: Console) -> Path:
    from training.data.download import archive

    return archive(console=console)


@main.command("evaluate")
@click.option("--bundle", "folder", type=_PATH, required=True)
@click.option("--data", type=_PATH, required=True, help="Like --data of run.")
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="Drawn as the bundle's own run drew it.  [default: test for aclImdb, all for a table]",
)
@_columns[0]
@_columns[1]
@click.option("--group-column", help="The one the run was given, to draw the same split.")
def evaluate_command(
    folder: Path, data: Path, split: str | None, text_column: str, label_column: str, group_column: str | None
) -> None:
    """Prints the report of the model card as JSON; a reading of a test split is logged in the card."""
    from training.evaluation import evaluate
    from training.release import card

    found = bundle.read(folder)
    source = Source(data, text_column, label_column, group_column)
    split = split or ("test" if source.is_imdb else "all")
    reviews = _reviews(found, source, split)
    answers = evaluate.ask(Classifier(found, "cpu"), reviews)
    report = evaluate.report(answers, found.manifest.temperature, found.manifest.uncertain_below)
    if split == "test" or (split == "all" and source.is_imdb):  # all of aclImdb holds its test split too
        card.append_reading(folder, card.reading(report, f"`training evaluate` on {data.name}"))
    counts = {"bundle": found.name, "split": split, "bad_rows": dict(source.bad.counts)}
    print(json.dumps({**counts, **report}, indent=1))


def _reviews(found: Bundle, source: Source, split: str) -> list[tuple[str, int, int]]:
    """The (text, label, rating) of a split, drawn as the bundle's run drew it. Raises DataError."""
    names, training = found.manifest.labels, found.manifest.training
    if split == "all":
        labelled = [review for review in source if review.label is not None]
        if strange := {str(review.label) for review in labelled} - set(names):
            raise DataError(f"{source.path}: expected the labels {names}, found also {sorted(strange)}")
        reviews = [(review.text, names.index(str(review.label)), review.rating) for review in labelled]
    else:
        sources = [(source, "data")]
        shares = (training["recipe"]["validation_share"], training["test_share"])
        corpus = build(sources, found.manifest.rules, *shares)
        if corpus.label_names != names:
            raise DataError(f"{source.path}: expected the labels {names}, found {corpus.label_names}")
        reviews = list(held_out(sources, corpus, NAMES.index(split)))
    if not reviews:
        raise DataError(f"{source.path}: expected labelled reviews in the split {split!r}, found none")
    return reviews


@main.command("report")
@click.option("--bundle", "folder", type=_PATH, required=True)
@click.option("--data", type=_PATH, required=True, help="The --data of the run.")
@click.option("--validation", type=_PATH, help="The --validation of the run, if it had one.")
@click.option("--test", type=_PATH, help="The --test of the run, if it had one.")
@click.option("--split", type=click.Choice(["validation", "test"]), default="validation",
              help="test: both, and the reading is logged in the card.")  # fmt: skip
@_columns[0]
@_columns[1]
@click.option("--group-column", help="The one the run was given.")
def report_command(
    folder: Path,
    data: Path,
    validation: Path | None,
    test: Path | None,
    split: str,
    text_column: str,
    label_column: str,
    group_column: str | None,
) -> None:
    """Measures every figure of the model card again, and renders the card and its pictures in the bundle's folder."""
    from training.release import report

    given = ((data, "data"), (validation, "validation"), (test, "test"))
    sources = [(Source(path, text_column, label_column, group_column), role) for path, role in given if path]
    found = bundle.read(folder)
    report.renew(found, sources, split == "test", f"`training report` on {data.name}")
    print(f"{folder / 'README.md'}: {found.name}")


@main.command("inspect")
@click.option("--bundle", "folder", type=_PATH, default="models/imdb-bilstm")
@click.option("--out", type=_PATH, default="cell.png", help="The PNG to write.")
@click.argument("text")
def inspect_command(folder: Path, out: Path, text: str) -> None:
    """Draws the LSTM at work along TEXT: its gates and its memory, in both directions.

    Of a bundle with two readers it draws the one that counts most in a text of that length.
    """
    from service.model import cell
    from training.release import figures, onnx_graph

    found = bundle.read(folder)
    encoded = found.tokenizer.encode(text, spans=True)
    network = onnx_graph.read(found.model)
    forward, backward = cell.traces(encoded.token_ids, network)
    assert encoded.spans is not None
    tokens = [text[start:end] for start, end in encoded.spans]
    [prediction] = Classifier(found, "cpu")([text])
    by_short = bool(network.short) and cell.short_share(len(encoded.token_ids), network) > 0.5
    title = f"{found.name}{', its short reader' if by_short else ''}: {prediction.label} {prediction.score:.1%}"
    out.write_bytes(figures.cell(tokens, forward, backward, title))
    print(f"{out}: {title}")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except (BundleError, DataError, ParityError, RunError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
