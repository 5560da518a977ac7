"""`python -m benchmarks.drift --data aclImdb_v1.tar.gz`: the drift of several kinds of texts from a bundle's reference.

Drift is the population stability index (PSI) of deploy/prometheus/recording.yml, over the window of OvationDrift.
"""

import gettext
import pydoc_data.topics
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import markdown
from service.model import bundle
from service.model.bundle import Histogram, Reference
from service.model.classifier import Classifier
from training.data.sources import Source

QUANTITIES = ("score", "tokens", "unknown_share")
ALERTING = ("score", "unknown_share")
TEXTS, THRESHOLD = 200, 0.25  # of OvationDrift: the least number of texts, and the index above which it is raised
WINDOW_MINUTES, FOR_MINUTES = 30, 2
FLOOR = 0.001  # the least share of a bin in the index
CODE_LINES = 30  # in a text of source code
ROOT = Path(__file__).parents[1]
_PACKAGES = ("benchmarks", "service", "tests", "training")  # not the folders of runs and environments
Columns = dict[str, NDArray[np.float64]]  # each [text], by quantity


def psi(values: NDArray[np.float64], reference: Histogram) -> float:
    """The population stability index of `values` [text]: over all bins, the sum of (p - q) ln(p / q)."""
    edges = np.array(reference.edges)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    p, q = (np.maximum(part / part.sum(), FLOOR) for part in (counts, np.array(reference.counts)))  # shares [bin]
    return float(((p - q) * np.log(p / q)).sum())


def source_code(root: Path = ROOT) -> Iterator[str]:
    """The source code of this repository, in texts of CODE_LINES lines."""
    for path in sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for start in range(0, len(lines), CODE_LINES):
            yield "\n".join(lines[start : start + CODE_LINES])


def feeds(data: Path, messages: Path, texts: int) -> Iterator[tuple[str, list[str]]]:
    """Yields the name and at most `texts` texts of each kind; `messages` is a folder of German gettext catalogues."""
    draw = random.Random(0)

    def some(candidates: Sequence[str]) -> list[str]:
        candidates = [text for text in candidates if text.strip()]
        return draw.sample(candidates, min(texts, len(candidates)))

    reviews = some([review.text for review in Source(data) if review.split == "test"])
    paragraphs = [text.split("<br />") for text in reviews]
    code = some(list(source_code()))
    yield "test reviews", reviews
    tenth = code[: len(reviews) // 10]
    yield "the same, a tenth of them source code", [*reviews[: 9 * len(tenth)], *tenth]
    yield "their first paragraphs", some([parts[0] for parts in paragraphs])
    yield (
        "their single sentences",
        some([s for parts in paragraphs for p in parts for s in re.split(r"(?<=[.!?])\s", p)]),
    )
    topics = "\n\n".join(pydoc_data.topics.topics.values()).split("\n\n")
    yield "Python's documentation, paragraphs", some([text for text in topics if len(text) > 200])
    yield f"source code, {CODE_LINES} lines", code
    if german := [text for path in sorted(messages.glob("*.mo")) for text in _translations(path) if len(text) > 60]:
        yield "German, messages of programs", some(german)
    else:
        click.echo(f"{messages}: expected catalogues of messages, found none", err=True)


def _translations(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    except UnicodeDecodeError:  # gettext met a message before the header that names the encoding
        return []
    return [text for text in catalogue.values() if isinstance(text, str)]


def raises(texts: Columns, reference: Reference) -> bool:
    """Whether the index of a quantity in ALERTING exceeds THRESHOLD."""
    return any(psi(texts[of], getattr(reference, of)) > THRESHOLD for of in ALERTING)


def minutes_until(texts: Columns, before: Columns, reference: Reference, draw: np.random.Generator) -> str:
    """Minutes until the alert fires if the traffic, at an even rate, changes from `before` to `texts`; or "never"."""
    for minutes in range(1, WINDOW_MINUTES + 1):
        counts = [1000 * (WINDOW_MINUTES - minutes) // WINDOW_MINUTES, 1000 * minutes // WINDOW_MINUTES]
        window = {
            of: np.concatenate([draw.choice(part[of], n) for part, n in zip((before, texts), counts, strict=True)])
            for of in QUANTITIES
        }
        if raises(window, reference):
            return str(minutes + FOR_MINUTES)
    return "never"


@click.command()
@click.option("--model", type=click.Path(path_type=Path), default="models/reviews-bilstm", show_default=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="aclImdb_v1.tar.gz")
@click.option("--messages", type=click.Path(path_type=Path), default="/usr/share/locale/de/LC_MESSAGES")
@click.option("--texts", type=click.IntRange(10), default=5000, show_default=True, help="most texts of a kind")
@click.option("--windows", type=click.IntRange(1), default=1000, show_default=True, help=f"samples of {TEXTS} texts")
def main(model: Path, data: Path, messages: Path, texts: int, windows: int) -> None:
    """Prints, for each kind of text: the shares of unknown words and of uncertain predictions; the median, least and
    greatest index of the windows; the share of windows above the threshold; and the minutes until the alert fires if
    the traffic changes from reviews to this kind."""
    classifier = Classifier(bundle.read(model), "cpu")
    reference = classifier.manifest.reference
    if reference is None:
        raise click.ClickException(f"{model}: expected a bundle with a reference, found none")
    draw = np.random.default_rng(0)
    rows, before = [], None
    for name, kind in feeds(data, messages, texts):
        predictions = [classifier([text])[0] for text in kind]
        columns = {of: np.array([getattr(one, of) for one in predictions], np.float64) for of in QUANTITIES}
        before = before or columns  # the first kind is test reviews
        drawn = [draw.integers(0, len(predictions), TEXTS) for _ in range(windows)]
        windowed = [{of: column[indices] for of, column in columns.items()} for indices in drawn]
        indices = [[psi(window[of], getattr(reference, of)) for window in windowed] for of in QUANTITIES]
        raised = np.mean([raises(window, reference) for window in windowed])
        shares = (columns["unknown_share"].mean(), np.mean([one.uncertain for one in predictions]))
        rows.append(
            (
                name,
                *(f"{share:.1%}" for share in shares),
                *(f"{np.median(index):.2f} ({min(index):.2f} to {max(index):.2f})" for index in indices),
                f"{raised:.0%}" if raised in (0, 1) else f"{raised:.1%}",
                minutes_until(columns, before, reference, draw),
            )
        )
    header = ("texts", "unknown", "uncertain", "PSI of score", "of tokens", "of unknown share", "above", "minutes")
    click.echo(markdown(header, rows))


if __name__ == "__main__":
    main()
