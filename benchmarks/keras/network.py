"""The article's network as its readers write it in Keras; runs in Keras' environment, asked by `benchmarks.keras`.

`python -m benchmarks.keras.network DATA.npz --seed N ...` trains an epoch each time it is asked for one.
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


def prepare(asked: argparse.Namespace) -> dict[str, Callable[..., Any]]:
    """What answers "epoch" with tokens, steps and seconds, and "accuracy" with that on the judged reviews."""
    import keras
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(len(os.sched_getaffinity(0)))
    keras.mixed_precision.set_global_policy(asked.precision)
    keras.utils.set_random_seed(asked.seed)
    with np.load(asked.data) as file:
        arrays = dict(file)
    # Keras' defaults: padding before the text, and of longer texts the end kept.
    inputs, judged = (
        keras.utils.pad_sequences(
            [arrays["token_ids"][start:end] for start, end in zip(*arrays[f"{part}_places"], strict=True)],
            maxlen=asked.max_tokens,
        )
        for part in ("train", "judged")
    )
    labels, true = (arrays[f"{part}_labels"].astype(np.float32) for part in ("train", "judged"))
    model = keras.Sequential(
        [
            keras.Input((asked.max_tokens,), dtype="int32"),
            keras.layers.Embedding(asked.vocabulary_size, asked.embedding_size, mask_zero=asked.mask),
            keras.layers.Bidirectional(keras.layers.LSTM(asked.hidden_size)),
            keras.layers.Dense(asked.dense_size, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid", dtype="float32"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(asked.learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
        jit_compile=asked.jit or "auto",
        steps_per_execution=asked.steps_per_execution,
    )
    clock = _clock(keras)

    def epoch(number: int) -> dict[str, float]:
        order = np.random.default_rng((asked.seed, number)).permutation(len(inputs))
        model.fit(
            inputs[order], labels[order], batch_size=asked.batch_size, shuffle=False, verbose=0, callbacks=[clock]
        )
        lengths = arrays["train_places"][1] - arrays["train_places"][0]
        return {"tokens": int(lengths.sum()), "steps": inputs.size, "seconds": clock.seconds}

    def accuracy() -> float:
        found = model.predict(judged, batch_size=128, verbose=0)[:, 0]
        return float(((found > 0.5) == (true > 0.5)).mean())

    return {"epoch": epoch, "accuracy": accuracy}


def _clock(keras: Any) -> Any:
    """Times an epoch's steps, without what `fit` does before and after."""

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
    # How fast it is made to run.
    parser.add_argument("--jit", action="store_true", help="jit_compile=True, not auto")
    parser.add_argument("--steps-per-execution", type=int, default=1)
    parser.add_argument("--precision", default="float32", help="a policy of keras.mixed_precision")
    return parser.parse_args()


if __name__ == "__main__":
    serve(partial(prepare, _arguments()))
