"""Bundles on the frontier: each as it is served, and its LSTM, not the short reader's, in int8."""

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import click
import onnx
from onnxruntime.quantization import quantize_dynamic

from benchmarks.frontier.contestant import Contestant, Judge, JudgeMany, Split
from service.model import bundle, grouping
from service.model.bundle import Bundle
from service.model.classifier import Classifier, Prediction

# Between a manifest's accuracy and the one measured here: another processor may round a close call otherwise.
_TOLERANCE = 0.001


def contestants(folder: Path, split: Split) -> tuple[list[Contestant], str | None]:
    """The bundle in `folder` in fp32 and in int8, or why it cannot be had in int8.

    Raises BundleError; ClickException where it was not trained for this `split`, or is not as accurate as it says.
    """
    found = bundle.read(folder)
    stated, name, about = _stated(found, split), found.manifest.name, _about(found)
    plain = split.contestant(name, "fp32", _judge(found, split), about, _together(found))
    if stated is not None and abs(plain.accuracy - stated) > _TOLERANCE:
        raise click.ClickException(
            f"{folder}: expected the {stated:.2%} of its manifest on validation, found {plain.accuracy:.2%}"
        )
    try:
        return [plain, split.contestant(name, "int8", _judge(quantize(found), split), about)], None
    except Exception as error:  # of whatever kind: what quantizes the graph, or runs it, is not ours
        return [plain], f"{type(error).__name__}: {error}"


def quantize(found: Bundle) -> Bundle:
    """The same bundle with the LSTM's weights in int8, and its inputs too when it runs.

    A short reader stays as it is: onnxruntime's quantizer fails in a branch whose weights stand outside it.
    """
    with tempfile.TemporaryDirectory(prefix="frontier-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(onnx.load_from_string(found.model), path, op_types_to_quantize=["LSTM"])
        model = _in_order(onnx.load(path)).SerializeToString()
    # Its golden answers are those of fp32.
    return dataclasses.replace(found, model=model, manifest=found.manifest.model_copy(update={"golden": ()}))


def _in_order(model: onnx.ModelProto) -> onnx.ModelProto:
    """Each node after what it reads, as `onnx_extract` takes for granted: the quantizer minds no reads of branches."""

    def read(node: onnx.NodeProto) -> Iterator[str]:
        yield from node.input
        for attribute in node.attribute:
            for inner in attribute.g.node:
                yield from read(inner)

    nodes = list(model.graph.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output}
    before = {index: {maker[name] for name in read(node) if name in maker} for index, node in enumerate(nodes)}
    del model.graph.node[:]
    model.graph.node.extend(nodes[index] for index in TopologicalSorter(before).static_order())
    return model


def _judge(found: Bundle, split: Split) -> Judge:
    """Raises BundleError, ClickException."""
    classifier = Classifier(found, "cpu")
    if classifier.manifest.labels != split.labels:
        raise click.ClickException(f"{found.path}: expected the labels {split.labels}, found others")
    index = {label: number for number, label in enumerate(split.labels)}

    def judge(text: str) -> int:
        [prediction] = classifier([text])
        return index[prediction.label]

    return judge


def _together(found: Bundle) -> JudgeMany:
    """Texts of like length in groups, as the service runs those that wait."""
    classifier = Classifier(found, "cpu")
    policy = grouping.for_provider(classifier.provider, classifier.seconds)

    def judge(texts: Sequence[str]) -> list[Prediction]:
        waiting = sorted(map(classifier.tokenizer.encode, texts), key=lambda text: len(text.token_ids))
        answers = []
        while waiting:
            group = policy.choose([len(text.token_ids) for text in waiting], len(waiting) - 1)
            answers += classifier.predict(waiting[group])
            del waiting[group]
        return answers

    return judge


def _stated(found: Bundle, split: Split) -> float | None:
    """The manifest's accuracy on validation; None where its validation has more reviews than `split`. Raises
    ClickException where there is none, or where it may have been trained on reviews that `split` holds out."""
    training = found.manifest.training
    share = training.get("recipe", {}).get("validation_share", 0.0)
    digests = [source.get("sha256") for source in training.get("data", [])]
    # Blocks of validation are cut from both ends: a larger share holds out all that a smaller one does.
    if split.digest not in digests or training.get("sample") != split.sample or share < split.share:
        raise click.ClickException(
            f"{found.path}: expected a bundle trained on {split.data.name}, a share of {split.sample:g} of it, "
            f"less at least {split.share:.0%} for validation; found another"
        )
    accuracy = found.manifest.metrics.get("validation", {}).get("accuracy")
    if accuracy is None:
        raise click.ClickException(f"{found.path}: expected an accuracy on validation in its manifest, found none")
    return float(accuracy) if share == split.share else None


def _about(found: Bundle) -> dict[str, Any]:
    recipe = found.manifest.training["recipe"]
    return {
        "bundle": found.name,
        "preset": found.manifest.training.get("preset"),
        "hidden": recipe.get("hidden_size"),
        "embedding": recipe.get("embedding_size"),
        "bytes": len(found.model),
    }
