"""The article's network in Keras, as in the article; a worker in Keras' environment, started by `benchmarks.keras`.

`python -m benchmarks.keras.network DATA.npz --seed N ...` trains one epoch per question "epoch".
"""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.worker import serve

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # read by TensorFlow when it is imported


def prepare(options: argparse.Namespace) -> dict[str, Callable[..., Any]]:
    """The functions for `worker.serve`: "epoch" returns tokens, steps and seconds; "accuracy" the final accuracy."""
    import keras
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    keras.mixed_precision.set_global_policy(options.precision)
    keras.utils.set_random_seed(options.seed)
    with np.load(options.data) as file:
        arrays = dict(file)
    # Keras' defaults: padding before the text; of longer texts the end is kept.
    inputs, evaluation = (
        keras.utils.pad_sequences(
            [arrays["token_ids"][start:end] for start, end in zip(*arrays[f"{part}_offsets"], strict=True)],
            maxlen=options.max_tokens,
        )
        for part in ("train", "evaluation")
    )
    labels, true = (arrays[f"{part}_labels"].astype(np.float32) for part in ("train", "evaluation"))
    model = keras.Sequential(
        [
            keras.Input((options.max_tokens,), dtype="int32"),
            keras.layers.Embedding(options.vocabulary_size, options.embedding_size, mask_zero=options.mask),
            keras.layers.Bidirectional(keras.layers.LSTM(options.hidden_size)),
            keras.layers.Dense(options.dense_size, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid", dtype="float32"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(options.learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
        jit_compile=options.jit or "auto",
        steps_per_execution=options.steps_per_execution,
    )
    clock = _clock(keras)

    def epoch(number: int) -> dict[str, float]:
        order = np.random.default_rng((options.seed, number)).permutation(len(inputs))
        model.fit(
            inputs[order], labels[order], batch_size=options.batch_size, shuffle=False, verbose=0, callbacks=[clock]
        )
        lengths = arrays["train_offsets"][1] - arrays["train_offsets"][0]
        return {"tokens": int(lengths.sum()), "steps": inputs.size, "seconds": clock.seconds}

    def accuracy() -> float:
        probabilities = model.predict(evaluation, batch_size=128, verbose=0)[:, 0]
        return float(((probabilities > 0.5) == (true > 0.5)).mean())

    return {"epoch": epoch, "accuracy": accuracy}


def _clock(keras: Any) -> Any:
    """A callback that times the steps of an epoch, without the work of `fit` before and after them."""

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = perf_counter() - self.began

    return Clock()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    for name in ("seed", "vocabulary-size", "embedding-size", "hidden-size", "dense-size", "max-tokens", "batch-size"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--mask", action="store_true", help="mask_zero: padding is skipped")
    # Options for speed.
    parser.add_argument("--jit", action="store_true", help="jit_compile=True, not auto")
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--precision", default="float32", help="a policy of keras.mixed_precision")
    return parser.parse_args()


if __name__ == "__main__":
    serve(partial(prepare, _arguments()))
