"""`python -m benchmarks.frontier.sizes --data aclImdb_v1.tar.gz --teachers RUN 32x64 96x64`: networks of other sizes.

Each is trained by the last stage of the preset `release` with the teachers of RUN, the folder that an unfinished
`python -m training release` keeps beside its bundle. The test reviews are not read.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from benchmarks.load.servers import ROOT
from training.data.sources import DataError, Source
from training.fitting import checkpoint
from training.options import Options
from training.recipe import deep_teacher
from training.recipe.recipes import PRESETS
from training.run import run

RELEASE = PRESETS["release"]
assert RELEASE.deep_teacher is not None
STAGES = ("language-model", *(deep_teacher.stage(number + 1) for number in range(RELEASE.deep_teacher.count)))
TEACHERS = (checkpoint.SOFT_LABELS, *(f"{stage}.checkpoint" for stage in STAGES))


def size(text: str) -> tuple[int, int]:
    """Hidden and embedding size of `text`, "HIDDENxEMBEDDING". Raises BadParameter."""
    parts = text.split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise click.BadParameter(f"expected HIDDENxEMBEDDING, such as 64x128; found {text!r}")
    return int(parts[0]), int(parts[1])


def train(data: Path, teachers: Path, hidden: int, embedding: int, epochs: int, folder: Path) -> None:
    """Writes the bundle to `folder`. Raises DataError, RunError, ParityError, BundleError, ClickException."""
    if missing := [name for name in TEACHERS if not (teachers / name).exists()]:
        raise click.ClickException(f"{teachers}: expected the teachers of a run, found no {', '.join(missing)}")
    sizes = {"hidden_size": hidden, "embedding_size": embedding}
    preset = replace(RELEASE, **sizes, plan=replace(RELEASE.plan, epochs=epochs))  # type: ignore[arg-type]
    options = Options("release", preset, ((Source(data), "data"),), folder, skip_test=True, resume=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in TEACHERS:
        shutil.copy(teachers / name, options.folder / name)
    (options.folder / checkpoint.OPTIONS).write_text(json.dumps(options.fingerprint(), indent=1))
    run(options, Console())


@click.command()
@click.argument("sizes", metavar="HIDDENxEMBEDDING...", nargs=-1, required=True)
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="aclImdb_v1.tar.gz")
@click.option("--teachers", type=click.Path(exists=True, path_type=Path), required=True, help="OUT.run of a release")
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True)
def main(sizes: tuple[str, ...], data: Path, teachers: Path, epochs: int) -> None:
    """Trains a network of each size into runs/frontier, for `benchmarks.frontier`; keeps those that exist."""
    for hidden, embedding in map(size, sizes):
        folder = ROOT / "runs" / "frontier" / f"h{hidden}-d{embedding}"
        if folder.exists():
            click.echo(f"{folder}: exists, not trained again")
            continue
        try:
            train(data, teachers, hidden, embedding, epochs, folder)
        except (DataError, checkpoint.RunError) as error:
            raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    main()
