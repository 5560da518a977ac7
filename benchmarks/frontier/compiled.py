"""Linear models whose n-grams are counted, hashed and weighed in compiled code: Vowpal Wabbit and fastText.

Both run in an environment of their own (compiled.txt), as `python -m benchmarks.frontier.compiled FILE RULES`. A line
of FILE is a training review: the index of its label, a tab, and its tokens by `service.model.tokenizer`.
"""

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.environments import environment
from benchmarks.frontier.contestant import Contestant, Predict, Split, seconds
from benchmarks.worker import Worker, serve, working
from service.model.tokenizer import Rules, words

HASHING, FASTTEXT = "hashed 3-grams", "fastText bigrams"
# The most accurate on validation of the few settings that were tried.
_WABBIT = "--bit_precision 24 --ngram 3 --loss_function logistic --learning_rate 2 --quiet"
_WABBIT_PASSES = 3
_FASTTEXT = {"wordNgrams": 2, "dim": 20, "epoch": 10, "lr": 0.2, "bucket": 2_000_000, "thread": 1}
ABOUT = {
    HASHING: f"Vowpal Wabbit 9.11: {_WABBIT.removesuffix(' --quiet')}, {_WABBIT_PASSES} passes",
    FASTTEXT: "fastText as floret 0.10 keeps it: " + ", ".join(f"{name} {value}" for name, value in _FASTTEXT.items()),
}
_REQUIREMENTS = Path(__file__).with_suffix(".txt")
_SEED = 1
_SEPARATORS = str.maketrans(":|", "\u0001\u0002")  # both are syntax of Vowpal Wabbit's input format


@contextmanager
def contestants(
    documents: Iterator[tuple[int, Sequence[str]]], rules: Rules, split: Split
) -> Iterator[list[Contestant]]:
    """Both models, fitted to `documents` (label, tokens), in a process that ends with the block. Raises Unavailable."""
    python = environment(_REQUIREMENTS)
    with TemporaryDirectory(prefix="frontier-") as folder:
        path = Path(folder) / "train.txt"
        path.write_text("".join(f"{label}\t{' '.join(tokens)}\n" for label, tokens in documents), encoding="utf-8")
        with working(python, "benchmarks.frontier.compiled", [str(path), rules]) as worker:
            yield [_contestant(worker, name, split) for name in ABOUT]


def _contestant(worker: Worker, name: str, split: Split) -> Contestant:
    predicted = worker.ask("predict", name=name, texts=[text for text, _ in split.reviews])
    timed = partial(worker.ask, "seconds", name=name, texts=split.timed)
    return Contestant(name, "fp32", split.accuracy(predicted), timed, {"implementation": ABOUT[name]})


def _wabbit(rows: Sequence[tuple[int, str]], rules: Rules) -> Predict:
    from vowpalwabbit import Workspace  # type: ignore[import-not-found]

    workspace, order = Workspace(_WABBIT), random.Random(_SEED)
    lines = [f"{1 if label else -1} |t {tokens.translate(_SEPARATORS)}" for label, tokens in rows]
    for _ in range(_WABBIT_PASSES):
        order.shuffle(lines)
        for line in lines:
            workspace.learn(line)
    return lambda text: int(workspace.predict(f"|t {' '.join(words(text, rules)).translate(_SEPARATORS)}") > 0)


def _fasttext(rows: Sequence[tuple[int, str]], rules: Rules) -> Predict:
    import floret  # type: ignore[import-not-found]

    with TemporaryDirectory(prefix="frontier-") as folder:
        path = Path(folder) / "train.txt"
        shuffled = random.Random(_SEED).sample(rows, len(rows))
        path.write_text("".join(f"__label__{label} {tokens}\n" for label, tokens in shuffled), encoding="utf-8")
        model = floret.train_supervised(str(path), verbose=0, **_FASTTEXT)
    return lambda text: int(model.predict(" ".join(words(text, rules)))[0][0].removeprefix("__label__"))


def prepare(path: Path, rules: Rules) -> dict[str, Callable[..., Any]]:
    """Fits both models. Returns the functions for `worker.serve`: "predict", and "seconds" to predict all texts."""
    lines = (line.rstrip("\n").split("\t", 1) for line in path.open(encoding="utf-8"))
    rows = [(int(label), tokens) for label, tokens in lines]
    models = {HASHING: _wabbit(rows, rules), FASTTEXT: _fasttext(rows, rules)}
    return {
        "predict": lambda name, texts: [models[name](text) for text in texts],
        "seconds": lambda name, texts: seconds(models[name], texts),
    }


if __name__ == "__main__":
    serve(partial(prepare, Path(sys.argv[1]), sys.argv[2]))  # type: ignore[arg-type]
