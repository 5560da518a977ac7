"""Training against Keras: what both are handed, what is kept, and how it is told. Keras itself is stood in for."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import keras
from benchmarks.keras import KERAS, MASKED, OURS
from benchmarks.keras import __main__ as command
from benchmarks.keras.__main__ import Dataset
from benchmarks.keras.ours import Ours, planned
from benchmarks.load.servers import Unavailable
from benchmarks.worker import working
from tests.training.data.test_sources import write_imdb
from training.data.split import VALIDATION
from training.recipe.recipes import PRESETS

ARTICLE = PRESETS["article"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imdb(tmp_path_factory.mktemp("imdb"), count=60)[1]


@pytest.fixture
def dataset(archive: Path, tmp_path: Path) -> Dataset:
    return command.prepare(archive, 1.0, planned(ARTICLE, 3), VALIDATION, tmp_path)


def test_keras_is_handed_what_we_train_on(dataset: Dataset) -> None:
    with np.load(dataset.path) as file:
        arrays = dict(file)
    for part, examples in (("train", dataset.train), ("evaluation", dataset.validation)):
        assert arrays[f"{part}_offsets"].tolist() == [examples.starts.tolist(), examples.ends.tolist()]
        assert arrays[f"{part}_labels"].tolist() == examples.targets[:, 1].tolist()
    assert arrays["token_ids"].tolist() == dataset.train.token_ids.tolist()
    assert f"--vocabulary-size={dataset.vocabulary_size}" in dataset.arguments
    assert "--batch-size=32" in dataset.arguments
    assert (len(dataset.train), len(dataset.validation)) == (96, 24)


def test_our_epochs_are_timed_without_validation(dataset: Dataset) -> None:
    ours = Ours(dataset.preset, dataset.vocabulary_size, dataset.train, dataset.validation, seed=1)
    epochs = [ours.epoch() for _ in range(3)]
    whole = dataset.train.lengths().sum()
    for epoch in epochs:  # two of three batches
        assert whole / 2 < epoch["tokens"] < whole
        assert epoch["steps"] == 2 * 32 * 16  # each text is padded to 16 tokens
        assert epoch["seconds"] > 0
    assert 0 <= ours.accuracy(dataset.evaluation) <= 1


def test_an_accuracy_before_the_end_is_no_accuracy(dataset: Dataset) -> None:
    ours = Ours(dataset.preset, dataset.vocabulary_size, dataset.train, dataset.validation, seed=1)
    ours.epoch()
    with pytest.raises(RuntimeError, match="found another step"):
        ours.accuracy(dataset.evaluation)


class FakeKeras:
    """Answers as the worker does; masks are slower, the JIT faster."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.seconds = 1.0 + 0.5 * ("--mask" in arguments) - 0.25 * (list(arguments[-1:]) == ["--jit"])

    def ask(self, question: str, **_: Any) -> Any:
        if question == "accuracy":
            return 0.5
        return {"tokens": 100, "steps": 200, "seconds": self.seconds}


def test_a_seed_that_is_done_is_not_run_again(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, ...]] = []

    @contextmanager
    def fake(_: Dataset, seed: int, arguments: Sequence[str]) -> Iterator[FakeKeras]:
        started.append((str(seed), *arguments))
        yield FakeKeras(arguments)

    monkeypatch.setattr(command, "_keras", fake)
    arguments = ["--data", archive, "--validation", "--epochs", "2", "--runs", tmp_path / "runs", "--out", tmp_path]

    def invoke(*others: str) -> str:
        done = CliRunner().invoke(command.main, [*map(str, arguments), *others])
        assert done.exit_code == 0, done.output
        return done.output

    first = invoke("--seeds", "1")
    trials = len(started) - 2
    assert trials == 24
    assert started[trials:] == [("1", "--jit"), ("1", "--mask", "--jit")]
    assert "| jit | 133 |" in first
    second = invoke("--seeds", "2")
    assert started[trials + 2 :] == [("2", "--jit"), ("2", "--mask", "--jit")]
    found = json.loads((tmp_path / "keras.json").read_text())["found"]
    assert len(found["seeds"]) == 2
    assert found["judged_by"] == "validation"
    assert "50.00%, 50.00%" in second
    assert "## keras" in (tmp_path / "results.md").read_text()
    count = len(started)
    invoke("--seeds", "1", "--sample", "0.9")  # other reviews: nothing of before counts
    assert len(started) == count + trials + 2


def run_of(rate: float, accuracy: float) -> dict[str, Any]:
    epochs = [{"tokens": 100, "steps": 150, "seconds": 100 / of} for of in (1.0, rate, rate)]
    return {"epochs": epochs, "accuracy": accuracy}


def test_the_table_leaves_the_first_epoch_out() -> None:
    seeds = [
        {OURS: run_of(300, 0.84), KERAS: run_of(100, 0.85), MASKED: run_of(50, 0.86), "precision": "bf16"},
        {OURS: run_of(330, 0.86), KERAS: run_of(100, 0.85), MASKED: run_of(50, 0.86), "precision": "bf16"},
    ]
    found = {
        "train": 1000, "mean_tokens": 150.0, "epochs": 3, "judged": 100, "judged_by": "test", "trial_reviews": 10,
        "chosen": {KERAS: [], MASKED: ["--mask", "--jit"]},
        "trials": [{"arguments": [], "tokens_a_second": 90.0}],
        "seeds": seeds,
    }  # fmt: skip
    text = keras.table(found)
    assert "| Ovation (bf16) | 315 (300 to 330) | 1.50 | 85.00% | 84.00%, 86.00% |" in text
    assert "| Keras (as it comes) | 100 (100 to 100) | 1.50 | 85.00% | 85.00%, 85.00% |" in text
    assert "- Ovation : Keras = 3.15 (3.00 to 3.30) in tokens/s; mean accuracy +0.00 points" in text
    assert "- Ovation : Keras, mask_zero = 6.30 (6.00 to 6.60) in tokens/s; mean accuracy -1.00 points" in text


WORKER = """
from benchmarks.worker import serve

def prepare():
    print("libraries print")
    return {"double": lambda number: 2 * number, "fail": lambda: 1 / 0}

serve(prepare)
"""


def test_a_worker_answers_and_its_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "doubling.py").write_text(WORKER)
    with working(Path(sys.executable), "doubling", folder=tmp_path) as worker:
        assert [worker.ask("double", number=number) for number in (1, "ä")] == [2, "ää"]
        with pytest.raises(Unavailable, match="ZeroDivisionError"):
            worker.ask("fail")
        with pytest.raises(Unavailable, match="found a process that ended"):
            worker.ask("double", number=1)
