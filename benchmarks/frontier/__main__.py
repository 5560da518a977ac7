"""`python -m benchmarks.frontier --data aclImdb_v1.tar.gz [BUNDLE ...]`: measures, and writes the figures."""

import gc
import json
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import frontier, machine, results
from benchmarks.frontier import bundles, compiled, linear
from benchmarks.frontier.contestant import Contestant, Split
from benchmarks.load.servers import ROOT, Unavailable
from benchmarks.plan import pinned
from service.model.bundle import MANIFEST, BundleError
from training.data.corpus import Corpus, build
from training.data.sources import DataError, Source
from training.data.split import TRAIN, VALIDATION
from training.recipe.recipes import PRESETS

_FOLDERS = ("models", "runs/frontier")  # whose bundles are measured by default
_SEED = 1
_TEST_SHARE = 0.1  # has no effect: the archive has its own test split, and the test reviews are not read


def read(data: Path, sample: float, timed: int) -> tuple[Split, Corpus]:
    """The reviews, split as `training run` splits them for the preset `base`. Raises DataError."""
    source, base = Source(data), PRESETS["base"]
    if not source.is_imdb:
        raise DataError(f"{data}: expected the archive or the folder of the Large Movie Review Dataset, found neither")
    corpus = build([(source, "data")], base.rules, base.validation_share, _TEST_SHARE, sample)
    held = [(review.text, review.label) for review in corpus.held_out(VALIDATION)]
    order = np.random.default_rng(_SEED).permutation(len(held))[:timed]
    texts = [held[index][0] for index in order]
    names = corpus.label_names
    return Split(data, source.digest(), sample, base.validation_share, names, held, texts), corpus


def measure(folders: Sequence[Path], split: Split, corpus: Corpus, rounds: int) -> dict[str, Any]:
    """The results for `benchmarks.frontier.table`. Raises BundleError, ClickException."""
    rules, unavailable = PRESETS["base"].rules, dict[str, str]()
    with ExitStack() as stack:
        contestants: list[Contestant] = []
        for folder in folders:
            click.echo(f"{folder} ...")
            precisions, problem = bundles.contestants(folder, split)
            contestants += precisions
            if problem:
                unavailable[f"{precisions[0].name}, int8"] = problem.replace(f"{ROOT}/", "")  # not where it lies here
        click.echo("fitting the linear models ...")
        contestants += linear.contestants(corpus, rules, split)
        rows = corpus.rows(TRAIN)
        try:
            documents = zip(corpus.labels[rows].tolist(), corpus.documents(rows), strict=True)
            contestants += stack.enter_context(compiled.contestants(documents, rules, split))
        except Unavailable as error:
            unavailable[" and ".join(compiled.ABOUT)] = str(error)
        if twice := [key for key, count in Counter(one.key for one in contestants).items() if count > 1]:
            raise click.ClickException(f"expected bundles of different names, found twice: {', '.join(twice)}")
        return {
            "reviews": len(split.reviews),
            "timed": len(split.timed),
            "points": [one.described() for one in contestants],
            **_rounds(contestants, len(split.timed), rounds),
            "published": frontier.PUBLISHED,
            "unavailable": unavailable,
        }


def _rounds(contestants: Sequence[Contestant], texts: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Reviews a second by contestant's key: "rounds" with one text a call, "together" with many; every other round in
    reverse order, so that a drift of the machine's speed cancels out."""
    gc.collect()
    gc.freeze()  # as the service does
    rates: dict[str, list[dict[str, float]]] = {"rounds": [], "together": []}
    for number in range(rounds):
        click.echo(f"round {number + 1} of {rounds} ...")
        order = contestants[:: -1 if number % 2 else 1]
        rates["rounds"].append({one.key: texts / one.seconds() for one in order})
        timers = {one.key: one.seconds_together for one in order}
        rates["together"].append({key: texts / seconds() for key, seconds in timers.items() if seconds})
    gc.unfreeze()
    return rates


def _bundles() -> list[Path]:
    return [path.parent for folder in _FOLDERS for path in sorted((ROOT / folder).glob(f"*/{MANIFEST}"))]


@click.command()
@click.argument("folders", metavar="[BUNDLE ...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="aclImdb_v1.tar.gz")
@click.option("--timed", type=click.IntRange(1), default=256, show_default=True, help="reviews, in a round")
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True)
@click.option(
    "--sample", type=click.FloatRange(0.001, 1), default=1.0, help="share of the reviews, for bundles trained on it"
)
@click.option("--core", type=int, default=min(os.sched_getaffinity(0)), help="CPU core that everything runs on")
@click.option("--out", type=click.Path(path_type=Path), default=results.FOLDER, help="folder for the results")
def main(folders: tuple[Path, ...], data: Path, timed: int, rounds: int, sample: float, core: int, out: Path) -> None:
    """Measures the bundles (those in models and runs/frontier by default) beside cheaper models, and writes
    OUT/frontier.json, OUT/frontier.png and OUT/results.md."""
    described = machine.describe()
    try:
        with pinned(core):
            split, corpus = read(data, sample, timed)
            found = measure(folders or _bundles(), split, corpus, rounds)
    except (BundleError, DataError) as error:
        raise click.ClickException(str(error)) from None
    about = {"texts": f"validation reviews of {data.name}", "quick": sample < 1}
    out.mkdir(parents=True, exist_ok=True)
    (out / "frontier.json").write_text(json.dumps({"machine": described, **about, "found": found}, indent=1) + "\n")
    results.write(out)
    click.echo(frontier.table(found))


if __name__ == "__main__":
    main()
