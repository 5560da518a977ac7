"""The command line: `python -m training check | run | release | evaluate | report | inspect`."""

import dataclasses
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from service.model import bundle
from service.model.bundle import Bundle, BundleError
from service.model.classifier import Classifier
from service.model.tokenizer import BlankText
from training import few
from training.arguments import PATH, Group, How, changes_preset, console, data_option, reads_data, say_to
from training.data import download, mixed_corpus
from training.data.corpus import Corpus, Labelled, build
from training.data.download import FILMS, TREEBANK, Remote, archive
from training.data.overview import examine, told
from training.data.sources import DataError, Source
from training.data.split import NAMES
from training.evaluation.calibration import STATED_RATE
from training.fitting.checkpoint import RunError
from training.options import Options
from training.recipe import encoder
from training.recipe.encoder_fit import STOPPED, Stopped
from training.recipe.recipes import PRESETS
from training.recipe.tuning import Tuning
from training.release.export import ParityError
from training.release.onnx_graph import OldGraph
from training.run import reads_as, run


@click.group(
    cls=Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "token_normalize_func": lambda name: "bundle" if name == "model" else name,  # `--model` says `--bundle`, too
    },
)
def main() -> None:
    """Turns labelled reviews into a bundle that `python -m service serve` serves."""


_of_a_run = (
    data_option,
    click.option("--validation", type=PATH, help="Table to choose by; else 10 % of --data."),
    click.option("--test", type=PATH, help="Table to judge by; else 10 % of --data."),
    click.option(
        "--test-share", type=click.FloatRange(0, 0.5), default=0.1, help="Share of a table kept for the test."
    ),
    click.option("--unlabelled", type=PATH, help="Table of texts without labels, for the teacher to label."),
    click.option("--preset", type=click.Choice(sorted(PRESETS)), default="base"),
    click.option(
        "--from",
        "warm_start",
        type=PATH,
        help="Bundle whose weights and vocabulary to start from; none: "
        "nothing.  [default: the one that ships, where the texts are few]",
    ),
    click.option(
        "--sample", type=click.FloatRange(0.001, 1), default=1.0, help="Share of the reviews to use, for a trial."
    ),
)


def _options_of_a_run(function: Callable[..., None]) -> Callable[..., None]:
    function = reads_data(function)
    for option in reversed(_of_a_run):
        function = option(function)
    return function


def _sources(
    how: How, data: tuple[Path, ...], validation: Path | None, test: Path | None, unlabelled: Path | None = None
) -> tuple[tuple[Source, str], ...]:
    given = {"data": data, "validation": (validation,), "test": (test,), "unlabelled": (unlabelled,)}
    return tuple(
        source for role, paths in given.items() for source in how.sources([path for path in paths if path], role)
    )


_misjudged_option = click.option(
    "--misjudged", type=PATH, help="CSV to write the misjudged texts to, with their scores: for a spreadsheet."
)


def _start(asked: Path | None) -> tuple[Path | None, bool]:
    """The bundle that --from names, and whether it says to start from nothing."""
    return (None, True) if asked == Path("none") else (asked, False)


@main.command("run")
@_options_of_a_run
@click.option("--out", type=PATH, required=True, help="Folder of the bundle, e.g. models/mine.")
@changes_preset
@click.option("--seed", type=int, default=1)
@click.option("--balance", is_flag=True, help="Rare labels count for more: the loss of each is weighted by its rarity.")
@click.option("--right", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=STATED_RATE,
              help="Share of the answers not flagged `uncertain` that is to be right.")  # fmt: skip
@_misjudged_option
@click.option("--folds/--no-folds", default=None, help="Figures by cross-validation, and a network of all texts.  "
              "[default: --folds up to 5,000 labelled texts, unless the recipe is changed]")  # fmt: skip
@click.option("--skip-test", is_flag=True, help="Leave the test split unread, while you choose between runs.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same options.")
@click.option("--force", is_flag=True, help="Replace the bundle, and any unfinished run, at --out.")
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", help="auto: CUDA where there is one.")
def run_command(
    how: How,
    data: tuple[Path, ...],
    validation: Path | None,
    test: Path | None,
    unlabelled: Path | None,
    preset: str,
    out: Path,
    warm_start: Path | None,
    tuning: Tuning,
    **others: Any,
) -> None:
    """Trains, exports, proves and measures; the last line printed is the command that serves the result.

    Without --data the Large Movie Review Dataset is downloaded.
    """
    screen = console()
    warm_start, from_nothing = _start(warm_start)
    recipe = tuning.apply(PRESETS[preset], warm_start is not None)
    sources = _sources(how, data or (_download(screen),), validation, test, unlabelled)
    start: dict[str, Any] = {"warm_start": warm_start, "from_nothing": from_nothing}
    made = run(Options(preset, recipe, sources, out, **start, **others), screen)
    _tell_command(made)


@main.command("check")
@_options_of_a_run
def check_command(
    how: How,
    data: tuple[Path, ...],
    validation: Path | None,
    test: Path | None,
    unlabelled: Path | None,
    preset: str,
    warm_start: Path | None,
    test_share: float,
    sample: float,
) -> None:
    """Shows what a run would read and what it would do with it, and ends with code 0 where one could begin."""
    if not data:
        raise click.UsageError("expected --data FILE, found none: name the file or folder to check")
    warm_start, from_nothing = _start(warm_start)
    base = bundle.read(warm_start) if warm_start else None
    shares = (PRESETS[preset].validation_share, test_share, sample)
    sources = _sources(how, data, validation, test, unlabelled)
    rules, max_tokens = reads_as(PRESETS[preset], base)
    say = say_to(console())
    corpus = examine(sources, rules, max_tokens, shares, base, say)
    if few.chosen(corpus, preset, validation is not None, is_changed=False, asked=None):
        say(few.announced(corpus, few.start(warm_start, from_nothing, corpus, PRESETS[preset])[1]))
    elif line := few.warning(corpus):
        say(line)


_of_data_sets = (
    click.option("--data", "films", type=PATH, help="Large Movie Review Dataset; else downloaded."),
    click.option("--treebank", type=PATH, help="Stanford Sentiment Treebank; else downloaded."),
    click.option(
        "--products",
        type=PATH,
        help="FDU-MTL product reviews, archive or folder; else sought where downloads are kept.",
    ),
    click.option("--leave-out", default="", help="Domains of --products that nothing may learn from, a,b,c."),
)


def _reads_data_sets(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_of_data_sets):
        function = option(function)
    return function


@main.command("release")
@_reads_data_sets
@click.option("--encoder", "encoder_name", default="sentence-transformers/all-MiniLM-L6-v2",
              help="Pretrained encoder to teach: a Hugging Face folder or name; none: a linear teacher.")  # fmt: skip
@click.option("--teacher", type=PATH, help="Folder of the fitted encoder and its labels, to use again.  "
              "[default: in the run's folder]")  # fmt: skip
@click.option("--out", type=PATH, default="models/reviews-bilstm", help="Folder of the bundle.")
@click.option("--seed", type=int, default=1, help="The seed that ships, to be fixed before anything is measured.")
@click.option("--siblings", type=click.IntRange(0), default=2, help="More seeds to train and measure, for the spread.")
@click.option("--sample", type=click.FloatRange(0.001, 1), default=1.0, help="Share of the texts, for a trial.")
@click.option("--skip-test", is_flag=True, help="Leave the test splits unread.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted release of the same options.")
@click.option("--force", is_flag=True, help="Replace the bundle, and any unfinished run, at --out.")
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", help="auto: CUDA where there is one.")
def release_command(
    films: Path | None,
    treebank: Path | None,
    products: Path | None,
    leave_out: str,
    encoder_name: str,
    teacher: Path | None,
    out: Path,
    seed: int,
    siblings: int,
    sample: float,
    device: str,
    skip_test: bool,
    resume: bool,
    force: bool,
) -> None:
    """Data sets in, finished bundle out: the encoder and its labels, the network, and its spread over seeds."""
    screen = console()
    films, treebank = films or _download(screen), treebank or _download(screen, TREEBANK)
    mixed = _data_sets(films, treebank, products or download.products(), leave_out, sample, device)
    mixed = dataclasses.replace(mixed, out=teacher or out.with_name(f"{out.name}.run") / "teacher")
    options = Options(
        "release",
        PRESETS["release"],
        (),
        out,
        seed=seed,
        spread=tuple(range(seed + 1, seed + 1 + siblings)),
        sample=sample,
        device=device,
        mixed=mixed,
        encoder="" if encoder_name == "none" else encoder_name,
        skip_test=skip_test,
        resume=resume,
        force=force,
    )
    _tell_command(run(options, screen))


def _data_sets(
    films: Path | None, treebank: Path | None, products: Path | None, leave_out: str, sample: float, device: str
) -> encoder.Run:
    """Where the data sets are; without a folder for a teacher."""
    domains = tuple(name for name in leave_out.split(",") if name)
    on = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
    return encoder.Run(Path(), films, treebank, products, domains, sample, on)


def _tell_command(made: Path) -> None:
    """Prints how to serve the bundle, by the Python that made it."""
    python = "python" if sys.prefix == sys.base_prefix else os.path.relpath(sys.executable)
    print(f"OVATION_MODEL={made} {python} -m service serve")


def _download(screen: Console, remote: Remote = FILMS) -> Path:
    return archive(remote, screen)


@main.command("evaluate")
@click.option("--bundle", "folder", type=PATH, required=True)
@data_option
@click.option(
    "--split",
    type=click.Choice(["all", "train", "validation", "test"]),
    help="Drawn as the bundle's own run drew it, from the same --data read in the same way.  "
    "[default: test for aclImdb, all for a table]",
)
@_misjudged_option
@reads_data
def evaluate_command(how: How, folder: Path, data: tuple[Path, ...], split: str | None, misjudged: Path | None) -> None:
    """Prints the report of the model card as JSON; a reading of a test split is logged in the card.

    What was read, what was not, and how each label fares is told on stderr.
    """
    from training.evaluation import evaluate
    from training.evaluation import misjudged as table
    from training.release import card, confusion

    if misjudged:
        table.prepare(misjudged)
    found = bundle.read(folder)
    sources = how.sources(_needed(data), "data")
    is_imdb = sources[0][0].is_imdb
    split = split or ("test" if is_imdb else "all")
    say = say_to(console(stderr=True))
    reviews = _reviews(found, sources, split, say)
    answers = evaluate.ask(Classifier(found, "cpu"), reviews)
    manifest = found.manifest
    report = evaluate.report(answers, manifest.labels, manifest.temperature, manifest.uncertain_below)
    if split == "test" or (split == "all" and is_imdb):  # all of aclImdb holds its test split too
        names = ", ".join(path.name for path in data)
        card.append_reading(folder, card.reading(report, f"`training evaluate` on {names}"))
    bad = sum((source.bad.counts for source, _ in sources), Counter[str]())
    print(json.dumps({"bundle": found.name, "split": split, "bad_rows": dict(bad), **report}, indent=1), flush=True)
    low, high = report["accuracy_interval_95"]
    accuracy = f"accuracy {report['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})"
    say(f"{split}: {accuracy} on {len(reviews):,} reviews")
    for line in confusion.on_screen(report["by_label"]):
        say(line)
    if misjudged:
        rows = list(table.rows(split, reviews, answers, manifest))
        table.write(misjudged, rows)
        say(f"{misjudged}: {len(rows):,} misjudged texts")


def _needed(data: tuple[Path, ...]) -> tuple[Path, ...]:
    if not data:
        raise click.UsageError("expected --data FILE, found none: name the file or folder to measure on")
    return data


def _reviews(
    found: Bundle, sources: list[tuple[Source, str]], split: str, say: Callable[[str], None]
) -> list[Labelled]:
    """The texts of a split, drawn as the bundle's run drew it. Raises DataError."""
    names, training = found.manifest.labels, found.manifest.training
    if split in ("train", "validation") and "folds" in training:
        raise DataError(
            f"{found.path}: expected --split test, found {split}: the network has learned from them, its figures of "
            "unseen texts stand in its card"
        )
    where = ", ".join(str(source.path) for source, _ in sources)
    if split == "all":
        read = [review for source, _ in sources for review in source if review.label is not None]
        counts, least = Counter(str(review.label) for review in read), sources[0][0].min_reviews
        _tell_read(sources, len(read), say)
        reviews = [
            Labelled(r.text, names.index(str(r.label)) if r.label in names else -1, r.rating, "", r.place)
            for r in read
            if counts[str(r.label)] >= least
        ]
        if strange := sorted(name for name, count in counts.items() if count >= least and name not in names):
            raise DataError(
                f"{where}: expected the labels {', '.join(names)}, found also {', '.join(strange[:20])}: "
                f"--map-labels {strange[0]}={names[0]} renames one, --map-labels {strange[0]}= leaves it out"
            )
    else:
        shares = (training["recipe"]["validation_share"], training["test_share"])
        corpus = build(sources, found.manifest.rules, *shares)
        _tell_read(sources, len(corpus.labels), say)
        if corpus.label_names != names:
            raise DataError(f"{where}: expected the labels {', '.join(names)}, found {', '.join(corpus.label_names)}")
        reviews = list(corpus.held_out(NAMES.index(split)))
    if not reviews:
        told = "".join(f"\n  {line}" for source, _ in sources for line in source.bad.lines())
        raise DataError(f"{where}: expected labelled reviews in the split {split!r}, found none{told}")
    return reviews


def _tell_read(sources: list[tuple[Source, str]], rows: int, say: Callable[[str], None]) -> None:
    for line in told(sources, rows):
        say(line)


@main.command("report")
@click.option("--bundle", "folder", type=PATH, required=True)
@data_option
@click.option("--treebank", type=PATH, help="The --treebank of a release.")
@click.option("--products", type=PATH, help="The --products of a release.")
@click.option("--validation", type=PATH, help="The --validation of the run, if it had one.")
@click.option("--test", type=PATH, help="The --test of the run, if it had one.")
@click.option("--split", type=click.Choice(["validation", "test"]), default="validation",
              help="test: both, and the reading is logged in the card.")  # fmt: skip
@reads_data
def report_command(
    how: How,
    folder: Path,
    data: tuple[Path, ...],
    treebank: Path | None,
    products: Path | None,
    validation: Path | None,
    test: Path | None,
    split: str,
) -> None:
    """Measures every figure of the model card again, and renders the card and its pictures in the bundle's folder.

    A manifest that lacks figures of test, after --skip-test, gets those of --split test; so the bundle's name changes.
    --data and how it is read are those of the run.
    """
    from training.release import report

    found = bundle.read(folder)
    training = found.manifest.training
    corpus: Corpus
    if treebank or products:
        [films] = _needed(data)
        left_out = ",".join(training.get("left_out", ()))
        mixture = _data_sets(films, treebank, products, left_out, training["sample"], "cpu").mixture
        corpus = mixed_corpus.build(mixture, (), found.manifest.rules)
    else:
        shares = (training["recipe"]["validation_share"], training["test_share"], training["sample"])
        corpus = build(_sources(how, _needed(data), validation, test), found.manifest.rules, *shares)
    report.renew(found, corpus, split == "test", f"`training report` on {', '.join(path.name for path in data)}")
    print(f"{folder / 'README.md'}: {bundle.read(folder).name}")


@main.command("inspect")
@click.option("--bundle", "folder", type=PATH, default="models/reviews-bilstm")
@click.option("--out", type=PATH, default="cell.png", help="The PNG to write.")
@click.argument("text")
def inspect_command(folder: Path, out: Path, text: str) -> None:
    """Draws the LSTM at work along TEXT: its gates and its memory, in both directions."""
    from service.model import cell
    from training.release import figures, onnx_graph

    found = bundle.read(folder)
    encoded = found.tokenizer.encode(text, spans=True)
    network = onnx_graph.read(found.model)
    forward, backward = cell.traces(encoded.token_ids, network)
    assert encoded.spans is not None
    tokens = [text[start:end] for start, end in encoded.spans]
    [prediction] = Classifier(found, "cpu")([text])
    title = f"{found.name}: {prediction.label} {prediction.score:.1%}"
    out.write_bytes(figures.cell(tokens, forward, backward, title))
    print(f"{out}: {title}")


def start(arguments: Sequence[str] | None = None) -> None:
    """Runs `main` with `arguments`, those of the process by default; what is wrong ends it with code 1 and one line."""
    try:
        main(arguments, standalone_mode=True)
    except (BlankText, BundleError, DataError, OldGraph, ParityError, RunError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(1)
    except OSError as problem:
        if problem.filename is None:
            raise
        expected = "a path that can be read and written"
        print(f"error: {problem.filename}: expected {expected}, found: {problem.strerror}; check it", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(STOPPED)


if __name__ == "__main__":
    start()
