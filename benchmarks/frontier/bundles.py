"""Bundles on the frontier: each in fp32 as it is served, and with its LSTM in int8."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import onnx
from onnxruntime.quantization import quantize_dynamic

from benchmarks.frontier.contestant import Contestant, Predict, PredictMany, Split
from service.model import bundle
from service.model.bundle import Bundle
from service.model.classifier import Classifier, Prediction
from service.model.grouping import for_provider

# Largest difference from the manifest's accuracy: another processor may round nearly equal probabilities differently.
_TOLERANCE = 0.001


def contestants(folder: Path, split: Split) -> tuple[list[Contestant], str | None]:
    """The bundle in `folder` in fp32 and in int8; if int8 fails, in fp32 alone and the reason.

    Raises BundleError; ClickException if it was trained on reviews of `split` or is not as accurate as it states.
    """
    trained = bundle.read(folder)
    stated, name, about = _stated_accuracy(trained, split), trained.manifest.name, _about(trained)
    plain = split.contestant(name, "fp32", _predict(trained, split), about, _predict_together(trained))
    if stated is not None and abs(plain.accuracy - stated) > _TOLERANCE:
        raise click.ClickException(
            f"{folder}: expected the {stated:.2%} of its manifest on validation, found {plain.accuracy:.2%}"
        )
    try:
        return [plain, split.contestant(name, "int8", _predict(quantize(trained), split), about)], None
    except Exception as error:  # onnxruntime's quantizer and session raise errors of many types
        return [plain], f"{type(error).__name__}: {error}"


def quantize(fp32: Bundle) -> Bundle:
    """The bundle `fp32` with its LSTM's weights in int8; inputs are quantized at run time (dynamic quantization)."""
    with tempfile.TemporaryDirectory(prefix="frontier-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(onnx.load_from_string(fp32.model), path, op_types_to_quantize=["LSTM"])
        model = path.read_bytes()
    # Without golden answers: the manifest's are those of fp32.
    return dataclasses.replace(fp32, model=model, manifest=fp32.manifest.model_copy(update={"golden": ()}))


def _predict(trained: Bundle, split: Split) -> Predict:
    """Predicts a text with `trained`. Raises BundleError, and ClickException if its labels are not those of `split`."""
    classifier = Classifier(trained, "cpu")
    if classifier.manifest.labels != split.labels:
        raise click.ClickException(f"{trained.path}: expected the labels {split.labels}, found others")
    index = {label: number for number, label in enumerate(split.labels)}

    def predict(text: str) -> int:
        [prediction] = classifier([text])
        return index[prediction.label]

    return predict


def _predict_together(trained: Bundle) -> PredictMany:
    """Predicts texts in groups of similar length, as the service does with the texts in its queue."""
    classifier = Classifier(trained, "cpu")
    grouping = for_provider(classifier.provider, classifier.seconds)

    def predict(texts: Sequence[str]) -> list[Prediction]:
        waiting = sorted(map(classifier.tokenizer.encode, texts), key=lambda text: len(text.token_ids))
        predictions = []
        while waiting:
            group = grouping.choose([len(text.token_ids) for text in waiting], len(waiting) - 1)
            predictions += classifier.predict(waiting[group])
            del waiting[group]
        return predictions

    return predict


def _stated_accuracy(trained: Bundle, split: Split) -> float | None:
    """The manifest's accuracy on validation's film reviews; None if the bundle held out more of them than `split`.

    Raises ClickException if it states none, or if the bundle may have been trained on reviews of `split`.
    """
    training = trained.manifest.training
    share = training.get("recipe", {}).get("validation_share", 0.0)
    digests = [source.get("sha256") for source in training.get("data", [])]
    # Validation is cut in blocks from both ends of the training reviews: a larger share contains every smaller one.
    if split.digest not in digests or training.get("sample") != split.sample or share < split.share:
        raise click.ClickException(
            f"{trained.path}: expected a bundle trained on {split.data.name}, a share of {split.sample:g} of it, "
            f"less at least {split.share:.0%} for validation; found another"
        )
    validation = trained.manifest.metrics.get("validation", {})
    # A bundle of several data sets states the accuracy on each.
    accuracy = validation.get("by_source", {}).get("imdb", validation).get("accuracy")
    if accuracy is None:
        raise click.ClickException(f"{trained.path}: expected an accuracy on validation in its manifest, found none")
    return float(accuracy) if share == split.share else None


def _about(trained: Bundle) -> dict[str, Any]:
    recipe = trained.manifest.training["recipe"]
    return {
        "bundle": trained.name,
        "preset": trained.manifest.training.get("preset"),
        "hidden": recipe.get("hidden_size"),
        "embedding": recipe.get("embedding_size"),
        "bytes": len(trained.model),
    }
