"""Training from Python: what `python -m training run` does, with texts that are in memory."""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from service.model import bundle
from service.model.bundle import Bundle
from training.arguments import console
from training.data.sources import Source
from training.evaluation.calibration import STATED_RATE
from training.options import Options
from training.recipe.recipes import PRESETS
from training.recipe.tuning import Tuning
from training.run import run


def train(
    reviews: Iterable[tuple[str, str | int | float]],
    out: str | Path,
    *,
    tuning: Tuning | None = None,
    warm_start: str | Path | None = None,
    seed: int = 1,
    test_share: float = 0.1,
    balance: bool = False,
    right: float = STATED_RATE,
    device: str = "auto",
    force: bool = False,
    quiet: bool = False,
) -> Bundle:
    """Trains on pairs of text and label and writes a bundle to the new folder `out`, with its card; returns it, read.

    `test_share` of the texts are kept to judge by: the figures are in the bundle's `manifest.metrics`, by split. Up to
    5,000 texts are learned from as docs/training.md tells of few texts, unless `tuning` asks otherwise; of
    more a tenth is kept to choose by. `warm_start` is the folder of a bundle to start from. The other parameters are
    the options of `python -m training run`, which reads files, goes on after a kill, and takes unlabelled texts as
    well. Blank texts and missing labels are left out; that is told on stdout, as is the progress, unless `quiet`.

    Raises DataError where the texts cannot be trained on, RunError where `out` exists and not `force`, BundleError
    where `warm_start` is no bundle, ParityError where the exported network answers otherwise than the trained one.
    """
    screen = console()
    screen.quiet = quiet
    preset = (tuning or Tuning()).apply(PRESETS["base"], warm_start is not None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reviews.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in reviews)
        options = Options(
            "base",
            preset,
            ((Source(path), "data"),),
            Path(out),
            warm_start=None if warm_start is None else Path(warm_start),
            seed=seed,
            test_share=test_share,
            balance=balance,
            right=right,
            device=device,
            force=force,
        )
        return bundle.read(run(options, screen))
