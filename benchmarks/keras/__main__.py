"""`python -m benchmarks.keras --data aclImdb_v1.tar.gz`: measures, and writes the figures."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import keras, machine, results
from benchmarks.environments import RUNS, environment
from benchmarks.keras import KERAS, MASKED, OURS
from benchmarks.keras.ours import Ours, planned
from benchmarks.load.servers import Unavailable
from benchmarks.worker import Worker, working
from service.model.tokenizer import Tokenizer
from training.data.corpus import build
from training.data.sources import DataError, Source
from training.data.split import NAMES, TEST, TRAIN, VALIDATION
from training.fitting.examples import Examples
from training.recipe.recipes import PRESETS, Preset

_REQUIREMENTS = Path(__file__).with_name("keras.txt")
_TEST_SHARE = 0.1  # has no effect on the archive, which has its own test split
_MASKS: dict[str, tuple[str, ...]] = {KERAS: (), MASKED: ("--mask",)}
# Options that Keras' guides recommend for speed.
_JIT, _MANY, _BF16 = ("--jit",), ("--steps-per-execution", "16"), ("--precision", "mixed_bfloat16")
_SETTINGS: tuple[tuple[str, ...], ...] = ((), _JIT, _MANY, _BF16, (*_JIT, *_MANY), (*_JIT, *_BF16))
_TRIAL_REVIEWS, _TRIAL_ROUNDS = 1280, 2


@dataclass(frozen=True)
class Dataset:
    """The encoded reviews of every split, and the preset to train on them."""

    preset: Preset
    vocabulary_size: int
    train: Examples
    validation: Examples
    evaluation: Examples  # on which the final accuracy is measured
    evaluation_split: str  # the name of their split
    path: Path  # the train and evaluation reviews as a file for Keras
    digest: str  # SHA-256 of the file

    @property
    def arguments(self) -> list[str]:
        """The command-line arguments for benchmarks.keras.network."""
        preset, plan = self.preset, self.preset.plan
        options = {
            "vocabulary-size": self.vocabulary_size,
            "embedding-size": preset.embedding_size,
            "hidden-size": preset.hidden_size,
            "dense-size": preset.dense_size,
            "max-tokens": preset.max_tokens,
            "batch-size": plan.batch_size,
            "learning-rate": plan.learning_rate,
        }
        return [str(self.path.absolute()), *(f"--{name}={value}" for name, value in options.items())]


def prepare(data: Path, sample: float, preset: Preset, evaluation_split: int, folder: Path) -> Dataset:
    """Reads, splits and encodes the reviews as `training run` does; writes the file for Keras. Raises DataError."""
    corpus = build([(Source(data), "data")], preset.rules, preset.validation_share, _TEST_SHARE, sample)
    if len(corpus.label_names) != 2:
        raise DataError(f"{data}: expected two labels, found {len(corpus.label_names)}")
    vocabulary = corpus.vocabulary(preset.vocabulary_size)
    token_ids, offsets = corpus.encode(Tokenizer(vocabulary, preset.max_tokens, preset.truncation, preset.rules))
    one_hot = np.eye(2, dtype=np.float32)
    train, validation, evaluation = (
        Examples(token_ids, offsets[rows], offsets[rows + 1], one_hot[corpus.labels[rows]])
        for rows in (corpus.rows(split) for split in (TRAIN, VALIDATION, evaluation_split))
    )
    path = folder / "reviews.npz"
    arrays: dict[str, NDArray[Any]] = {"token_ids": token_ids}
    for part, examples in (("train", train), ("evaluation", evaluation)):
        arrays[f"{part}_offsets"] = np.stack([examples.starts, examples.ends])
        arrays[f"{part}_labels"] = examples.targets.argmax(axis=1)
    _save(path, arrays)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Dataset(preset, len(vocabulary), train, validation, evaluation, NAMES[evaluation_split], path, digest)


def _save(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    np.savez(path, **arrays)  # type: ignore[arg-type]  # an array could be named like savez's option, ours are not


def cached(path: Path, asked: dict[str, Any], measure: Callable[[], Any]) -> Any:
    """The result of `measure`, or the one kept in the file `path` if it was measured for the same `asked`."""
    if path.exists() and (kept := json.loads(path.read_text()))["asked"] == asked:
        click.echo(f"{path}: exists, not measured again")
        return kept["found"]
    result = measure()
    path.write_text(json.dumps({"asked": asked, "found": result}, indent=1) + "\n")
    return result


def trials(dataset: Dataset, folder: Path) -> list[dict[str, Any]]:
    """Tokens a second of Keras under each setting, in the second epoch over _TRIAL_REVIEWS reviews."""
    few = folder / "few.npz"
    with np.load(dataset.path) as file:
        arrays = dict(file)
    _save(few, arrays | {name: arrays[name][..., :_TRIAL_REVIEWS] for name in ("train_offsets", "train_labels")})
    dataset = dataclasses.replace(dataset, path=few)
    measured: dict[tuple[str, ...], list[float]] = {(*mask, *how): [] for mask in _MASKS.values() for how in _SETTINGS}
    for _ in range(_TRIAL_ROUNDS):
        for arguments, rates in measured.items():
            with _keras(dataset, 1, arguments) as worker:
                worker.ask("epoch", number=0)
                epoch = worker.ask("epoch", number=1)
            rates.append(epoch["tokens"] / epoch["seconds"])
            click.echo(f"Keras, {keras.settings(arguments)}: {rates[-1]:,.0f} tokens/s")
    return [{"arguments": arguments, "tokens_a_second": median(rates)} for arguments, rates in measured.items()]


def fastest(trials: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The arguments of the fastest setting without a mask and with one, by name."""
    chosen = {}
    for name in _MASKS:
        candidates = [trial for trial in trials if ("--mask" in trial["arguments"]) == (name == MASKED)]
        chosen[name] = list(max(candidates, key=lambda trial: float(trial["tokens_a_second"]))["arguments"])
    return chosen


def run(dataset: Dataset, seed: int, chosen: dict[str, list[str]]) -> dict[str, Any]:
    """Trains ours and both of Keras with one `seed`, in turns of an epoch. Raises Unavailable."""
    ours = Ours(dataset.preset, dataset.vocabulary_size, dataset.train, dataset.validation, seed)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_keras(dataset, seed, how)) for name, how in chosen.items()}
        epochs: dict[str, list[dict[str, float]]] = {name: [] for name in (OURS, *workers)}
        for number in range(dataset.preset.plan.epochs):
            epochs[OURS].append(ours.epoch())
            for name, worker in workers.items():
                epochs[name].append(worker.ask("epoch", number=number))
            rates = (f"{name} {of[-1]['tokens'] / of[-1]['seconds']:,.0f}" for name, of in epochs.items())
            click.echo(f"seed {seed}, epoch {number + 1}: {', '.join(rates)} tokens/s")
        accuracies = {OURS: ours.accuracy(dataset.evaluation)}
        accuracies |= {name: worker.ask("accuracy") for name, worker in workers.items()}
    return {name: {"epochs": epochs[name], "accuracy": accuracies[name]} for name in epochs} | {
        "precision": ours.precision
    }


def _keras(dataset: Dataset, seed: int, arguments: Sequence[str]) -> AbstractContextManager[Worker]:
    python, module = environment(_REQUIREMENTS), "benchmarks.keras.network"
    return working(python, module, [*dataset.arguments, f"--seed={seed}", *arguments])


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="aclImdb_v1.tar.gz")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="how many: 1, 2, ...")
@click.option("--validation", is_flag=True, help="Measure accuracy on validation; do not read the test split.")
@click.option("--sample", type=click.FloatRange(0.001, 1), default=1.0, help="share of the reviews, for a trial")
@click.option("--epochs", type=click.IntRange(2), help="instead of the preset's, for a trial")
@click.option("--runs", type=click.Path(path_type=Path), default=RUNS / "keras", help="folder of the finished seeds")
@click.option("--out", type=click.Path(path_type=Path), default=results.FOLDER, help="folder for the results")
def main(data: Path, seeds: int, validation: bool, sample: float, epochs: int | None, runs: Path, out: Path) -> None:
    """Measures and writes OUT/keras.json and OUT/results.md. Trials and seeds that RUNS holds for the same options are
    not run again, so that more seeds, or a run that was killed, only cost what is missing."""
    described, preset = machine.describe(), planned(PRESETS["article"], epochs)
    runs.mkdir(parents=True, exist_ok=True)
    try:
        dataset = prepare(data, sample, preset, VALIDATION if validation else TEST, runs)
        asked = {"reviews": dataset.digest, "preset": json.loads(json.dumps(dataclasses.asdict(preset)))}
        asked["keras"] = _REQUIREMENTS.read_text().split()
        tried = cached(runs / "trials.json", asked, lambda: trials(dataset, runs))
        chosen = fastest(tried)
        asked |= {"settings": chosen, "judged_by": dataset.evaluation_split}
        done = [
            cached(runs / f"seed-{seed}.json", asked, lambda seed=seed: run(dataset, seed, chosen))  # type: ignore[misc]
            for seed in range(1, seeds + 1)
        ]
    except (DataError, Unavailable) as error:
        raise click.ClickException(str(error)) from None
    found = {
        "train": len(dataset.train),
        "mean_tokens": float(dataset.train.lengths().mean()),
        "epochs": preset.plan.epochs,
        "judged": len(dataset.evaluation),
        "judged_by": dataset.evaluation_split,
        "trial_reviews": min(_TRIAL_REVIEWS, len(dataset.train)),
        "trials": tried,
        "chosen": chosen,
        "seeds": done,
    }
    quick = sample < 1 or epochs is not None
    out.mkdir(parents=True, exist_ok=True)
    result = {"machine": described, "texts": f"reviews of {data.name}", "quick": quick, "found": found}
    (out / "keras.json").write_text(json.dumps(result, indent=1) + "\n")
    results.write(out)
    click.echo(keras.table(found))


if __name__ == "__main__":
    main()
