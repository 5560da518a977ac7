"""What several commands share: how data is named and read, and a console whose lines stay whole in a file."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from service.bulk.tables import Reading
from training.data.labels import LabelMap
from training.data.sources import Source
from training.recipe.recipes import PRESETS
from training.recipe.tuning import Tuning

PATH = click.Path(path_type=Path)
_MAP = "--map-labels"


class Command(click.Command):
    """A command whose --map-labels takes several values: `--map-labels 1,2=negative 4,5=positive 3=`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; puts the option's name in front of each of its values."""
        named: list[str] = []
        taken = 0  # how many values of --map-labels stand right before
        for word in args:
            if taken > 1 and "=" in word and not word.startswith("--"):
                named.append(_MAP)
            elif taken != 1:
                taken = 1 if word == _MAP else 0
                named.append(word)
                continue
            named.append(word)
            taken = 2
        return super().parse_args(ctx, named)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


@dataclass(frozen=True)
class How:
    """How all the data of a command is to be read."""

    reading: Reading
    labels: LabelMap
    min_reviews: int

    def sources(self, paths: Sequence[Path], role: str) -> list[tuple[Source, str]]:
        """A source of each path, with its role."""
        labelled = role != "unlabelled"
        return [(Source(path, self.reading, self.labels, self.min_reviews, labelled), role) for path in paths]


def _delimiter(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    value = {"tab": "\t", "\\t": "\t"}.get(value or "", value)
    if value is not None and len(value) != 1:
        raise click.BadParameter(f"expected one character or `tab`, found {value!r}")
    return value


def _numbers_told(text: str | None, label: str | None, header: bool) -> None:
    if not header and not all(part.strip().isdigit() for name in (text, label) if name for part in name.split(",")):
        raise click.UsageError(
            "expected numbers of columns with --no-header, found names: --text-column 6, for example"
        )


_OPTIONS = (
    click.option("--text-column", help="Column of the text; several (title,body) are joined. A nested one has dots "
                 "(review.text).  [default: text, or the one that is named like one]"),
    click.option("--label-column", help="Column of the label.  [default: label, or the one that is named like one]"),
    click.option("--group-column", help="Column whose equal values stay in one split."),
    click.option("--encoding", help="Of files that are not UTF-8 and have no mark, e.g. cp1252."),
    click.option("--delimiter", callback=_delimiter, help="One character, or `tab`.  [default: judged by the file]"),
    click.option("--quoting", type=click.Choice(["none", "csv"]),
                 help="none: quotes are text; csv: they enclose cells.  [default: none between tabs, else csv]"),
    click.option("--no-header", is_flag=True, help="The first row is data; columns are numbers from 1."),
    click.option(_MAP, multiple=True, metavar="OLD,OLD=NEW ...",
                 help="Rename and join labels: 1,2=negative 4,5=positive 3= (nothing after = leaves a label out)."),
    click.option("--merge-labels", is_flag=True, help="Labels that differ in case or blanks alone are one."),
    click.option("--min-reviews", type=click.IntRange(0), default=0, help="Leave out labels with fewer reviews."),
)  # fmt: skip


def reads_data(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say how data is read, as one parameter `how`."""

    @functools.wraps(function)
    def wrapped(
        text_column: str | None,
        label_column: str | None,
        group_column: str | None,
        encoding: str | None,
        delimiter: str | None,
        quoting: Any,
        no_header: bool,
        map_labels: tuple[str, ...],
        merge_labels: bool,
        min_reviews: int,
        **others: Any,
    ) -> None:
        _numbers_told(text_column, label_column, not no_header)
        try:
            labels = LabelMap.parse(map_labels, merge_labels)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        reading = Reading(text_column, label_column, group_column, encoding, delimiter, quoting, not no_header)
        function(how=How(reading, labels, min_reviews), **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


_BASE = PRESETS["base"]
_OF_A_PRESET = (
    click.option("--epochs", type=click.IntRange(1), help=f"At most.  [default: {_BASE.plan.epochs}]"),
    click.option("--learning-rate", type=click.FloatRange(0, min_open=True),
                 help=f"Its peak.  [default: {_BASE.plan.learning_rate}; a third of it with --from]"),
    click.option("--embedding-size", type=click.IntRange(1),
                 help=f"Features of a token.  [default: {_BASE.embedding_size}]"),
    click.option("--hidden-size", type=click.IntRange(1),
                 help=f"Width: units of the LSTM in each direction.  [default: {_BASE.hidden_size}]"),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Of the embeddings, and in front of the "
                 f"last layer.  [default: {_BASE.embedding_dropout} and {_BASE.head_dropout}]"),
)  # fmt: skip


def changes_preset(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that change a preset, as one parameter `tuning`; their help is that of `base`."""

    @functools.wraps(function)
    def wrapped(
        epochs: int | None,
        learning_rate: float | None,
        embedding_size: int | None,
        hidden_size: int | None,
        dropout: float | None,
        **others: Any,
    ) -> None:
        function(tuning=Tuning(epochs, learning_rate, embedding_size, hidden_size, dropout), **others)

    for option in reversed(_OF_A_PRESET):
        wrapped = option(wrapped)
    return wrapped


data_option = click.option(
    "--data", type=PATH, multiple=True, help="A file or folder: CSV, TSV, JSON lines or array, Parquet, Excel, also "
    "packed (.gz, .zip), or the aclImdb archive or folder. May stand more than once."
)  # fmt: skip


def console(stderr: bool = False) -> Console:
    """For people; in a file or a pipe a line stays one line."""
    made = Console(stderr=stderr)
    made.soft_wrap = not made.is_terminal
    return made


def say_to(made: Console) -> Callable[[str], None]:
    """Prints lines as they are."""
    return lambda line: made.print(line, markup=False, highlight=False)
