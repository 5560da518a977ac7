"""Predicts texts with a bundle in onnxruntime; synchronous."""

import dataclasses
import math
import threading
from array import array
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, Literal, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.model import onnx_extract, onnx_tensors
from service.model.bundle import MODEL, VOCABULARY, Bundle, BundleError, Golden
from service.model.tokenizer import Batch, BlankText, Encoded

Provider = Literal["auto", "cpu", "cuda"]

_INPUTS = {"token_ids": ("tensor(int32)", 2), "lengths": ("tensor(int32)", 1)}  # name: type, rank
_OUTPUTS = {"logits": ("tensor(float)", 2), "evidence": ("tensor(float)", 3)}
# Without TF32: it would cost the logits three decimal digits, for speed that a network this small does not need.
_EXECUTION: dict[str, list[str | tuple[str, dict[str, str]]]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
}


# Tensors from this size on are shared by the sessions on a CPU, of which each would else have a copy of its own.
_SHARED_BYTES = 64 * 1024
# For all golden texts together; a network for texts takes milliseconds.
_CHECK_SECONDS = 60.0
# Times the tolerance of a logit, by which it may differ from the bias and all evidence together: a sum of many numbers.
_SUM = 10


class ProviderError(Exception):
    """The requested provider is not available; the message says why and what to do."""


class EvidenceUnavailable(Exception):
    """Evidence was requested of a network whose head gives none."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} gives no evidence: expected a network with a linear layer over pooled states")


class Evidence(NamedTuple):
    """Each token's share of the margin of the predicted label: bias + sum of the weights = margin.

    The margin is the logit of the predicted label minus the mean of the other labels' logits.
    """

    bias: float
    # [token] each: offsets into the text as sent, and weights. Arrays, 16 bytes a token, since a tuple of three objects
    # takes some 150, and a batch of long texts has hundreds of thousands.
    starts: "array[int]"
    ends: "array[int]"
    weights: "array[float]"

    @property
    def tokens(self) -> list[tuple[int, int, float]]:
        """Start, end and weight of each token."""
        return list(zip(self.starts, self.ends, self.weights, strict=True))


class Sentence(NamedTuple):
    """What the model says of one sentence of a text: the same as of that sentence alone."""

    start: int  # offset of its first character into the text as sent
    end: int  # offset after its last character
    label: str
    score: float
    uncertain: bool


class Prediction(NamedTuple):
    """The model's answer for one text."""

    label: str
    score: float  # calibrated probability of `label`
    probabilities: dict[str, float]  # by label
    uncertain: bool  # `score` is below the manifest's `uncertain_below`, or every token read is unknown
    tokens: int  # in the whole text
    truncated: bool  # the network read fewer than `tokens`
    unknown_share: float  # of the tokens read
    evidence: Evidence | None
    logits: list[float]  # [label] which the softmax makes `probabilities` of
    sentences: list[Sentence] | None = None

    def as_json(self, model: str | None = None) -> dict[str, Any]:
        """The JSON object that the API and the command line give for it, with the name of the model if given."""
        content = self._asdict()
        del content["evidence"], content["logits"], content["sentences"]
        if model is not None:
            content["model"] = model
        if self.evidence is not None:
            tokens = [{"start": start, "end": end, "weight": weight} for start, end, weight in self.evidence.tokens]
            content["evidence"] = {"bias": self.evidence.bias, "tokens": tokens}
        if self.sentences is not None:
            labels = {sentence.label for sentence in self.sentences if not sentence.uncertain}
            content["mixed"] = len(labels) > 1
            content["sentences"] = [sentence._asdict() for sentence in self.sentences]
        return content


class Classifier:
    """A bundle, ready to predict; `tensors` are those of its graph, by name.

    `provider` is the one in use, `fallback` the reason why "auto" did not choose CUDA.

    Raises ProviderError if "cuda" is requested and not available, and BundleError if the graph's inputs or outputs
    differ from the contract or a golden answer is out of tolerance.
    """

    def __init__(self, bundle: Bundle, provider: Provider = "auto") -> None:
        self.bundle, self.manifest, self.name = bundle, bundle.manifest, bundle.name
        self.tokenizer = bundle.tokenizer
        self._labels = self.manifest.labels
        self.tensors = _tensors(bundle)
        self._weights = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(tensor)  # which it is a view of
            for name, tensor in self.tensors.items()
            if tensor.nbytes >= _SHARED_BYTES
        }
        self.provider, self.fallback, self._whole = _open_session(bundle, provider, self._weights)
        _check_graph(self._whole, bundle)
        # Two sessions, since each runs its whole graph: evidence adds a quarter to the time (`benchmarks.latency`).
        self.session = self._whole  # for the logits alone
        if self.manifest.evidence:
            logits_alone = onnx_extract.only(bundle.model, ["logits"])
            self.session = _session(bundle, self.provider, logits_alone, self._weights)
        self._check_vocabulary()
        self._check_golden()

    def drop_files(self) -> None:
        """Lets go of the bytes of the graph, which onnxruntime has read."""
        self.bundle = dataclasses.replace(self.bundle, model=b"")

    def __call__(self, texts: Sequence[str], evidence: bool = False) -> list[Prediction]:
        """Predicts `texts` in one batch. Raises BlankText, EvidenceUnavailable."""
        return self.predict([self.tokenizer.encode(text, spans=evidence) for text in texts])

    def predict(self, encoded: Sequence[Encoded], options: onnxruntime.RunOptions | None = None) -> list[Prediction]:
        """Predicts `encoded` texts in one batch; texts with spans get evidence. Raises EvidenceUnavailable."""
        if not encoded:
            return []
        with_evidence = any(text.spans is not None for text in encoded)
        logits, evidence = self.run(Batch.pad([text.token_ids for text in encoded]), with_evidence, options)
        rows = logits.tolist()
        return [
            self._prediction(text, row, None if evidence is None or text.spans is None else evidence[index])
            for index, (text, row) in enumerate(zip(encoded, rows, strict=True))
        ]

    def run(
        self, batch: Batch, evidence: bool = False, options: onnxruntime.RunOptions | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Logits [batch, label] and, with `evidence`, evidence [batch, time, label]. Raises EvidenceUnavailable.

        Thread-safe: a call computes in the calling thread.
        """
        feed = {"token_ids": batch.token_ids, "lengths": batch.lengths}
        if not evidence:
            return self.session.run(["logits"], feed, options)[0], None
        if not self.manifest.evidence:
            raise EvidenceUnavailable(self.name)
        logits, shares = self._whole.run(["logits", "evidence"], feed, options)
        return logits, shares

    def seconds(self, rows: int, tokens: int) -> float:
        """Measures one call of `run` for the logits of `rows` texts of `tokens` tokens each, in seconds."""
        token_ids = np.resize(np.arange(len(self.tokenizer.vocabulary), dtype=np.int32), (rows, tokens))
        began = perf_counter()
        self.run(Batch(token_ids, np.full(rows, tokens, np.int32)))
        return perf_counter() - began

    def _prediction(self, text: Encoded, logits: list[float], evidence: NDArray[np.float32] | None) -> Prediction:
        # Python floats, row by row: independent of the batch, and for few labels faster than arrays.
        largest = max(logits)
        powers = [math.exp(logit - largest) for logit in logits]
        total = math.fsum(powers)
        probabilities = [power / total for power in powers]
        winner = logits.index(largest)
        read = len(text.token_ids)
        return Prediction(
            label=self._labels[winner],
            score=probabilities[winner],
            probabilities=dict(zip(self._labels, probabilities, strict=True)),
            uncertain=probabilities[winner] < self.manifest.uncertain_below or text.unknown == read,
            tokens=text.tokens,
            truncated=text.tokens > read,
            unknown_share=text.unknown / read,
            evidence=None if evidence is None else self._evidence(text, evidence, winner),
            logits=logits,
        )

    def _evidence(self, text: Encoded, shares: NDArray[np.float32], winner: int) -> Evidence:
        """Evidence for the label `winner` from the graph's `shares` [time, label], padding included."""
        assert text.spans is not None
        assert self.manifest.bias is not None
        margin = np.full(len(self._labels), -1.0 / (len(self._labels) - 1))  # [label] weights of the logits
        margin[winner] = 1.0
        # One text at a time, in double precision: bit-identical whatever else is in the batch.
        weights = (shares[: len(text.token_ids)].astype(np.float64) * margin).sum(axis=1)
        starts, ends = (array("i", offsets.tobytes()) for offsets in text.spans.T)
        return Evidence(float(np.dot(margin, self.manifest.bias)), starts, ends, array("d", weights.tobytes()))

    def _check_vocabulary(self) -> None:
        """Runs the graph on the highest token id, which must have an embedding. Raises BundleError."""
        highest = len(self.tokenizer.vocabulary) - 1
        try:
            self.run(Batch.pad([np.array([highest], np.int32)]))
        except Exception as error:  # onnxruntime's own errors share no base class
            expected = f"a vocabulary that {MODEL} has an embedding for"
            raise BundleError(self.bundle.path / VOCABULARY, expected, f"{highest + 1} tokens") from error

    def _check_golden(self) -> None:
        """Compares the logits of the manifest's golden texts with the stated ones. Raises BundleError."""
        key = f"{self.provider}/{self.manifest.precision}"
        tolerance = self.manifest.tolerance.get(key)
        if tolerance is None:
            raise BundleError(self.bundle.path, f"a tolerance for {key}", f"{sorted(self.manifest.tolerance)}")
        options = onnxruntime.RunOptions()
        timer = threading.Timer(_CHECK_SECONDS, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            for golden in self.manifest.golden:
                self._check_group([golden], tolerance, options)
            if pair := self.manifest.golden[:2]:  # a graph may be for one text a call
                self._check_group(pair, tolerance, options)
        finally:
            timer.cancel()

    def _check_group(self, group: Sequence[Golden], tolerance: float, options: onnxruntime.RunOptions) -> None:
        """Compares the answers to golden texts in one batch. Raises BundleError."""
        try:
            batch = self.tokenizer.batch([golden.text for golden in group])
            logits, shares = self.run(batch, self.manifest.evidence, options)
            alone, _ = self.run(batch, options=options)
        except BlankText:
            raise BundleError(self.bundle.path, "golden texts with visible characters", "a blank one") from None
        except Exception as error:  # onnxruntime's own errors share no base class
            expected = f"an answer to each golden text, to all within {_CHECK_SECONDS:g} s"
            raise BundleError(self.bundle.path / MODEL, expected, str(error)) from error
        for row, golden in enumerate(group):
            for found in (logits, alone):
                if len(found) != len(group) or not _is_close(found[row], golden.logits, tolerance):
                    expected = f"logits {list(golden.logits)} within {tolerance} for the golden text {golden.text!r}"
                    raise BundleError(self.bundle.path / MODEL, expected, str(found.tolist()))
            if shares is not None:
                together = shares[row : row + 1].sum(axis=(0, 1), dtype=np.float64) + np.asarray(self.manifest.bias)
                if not _is_close(together, golden.logits, _SUM * tolerance):
                    expected = f"a bias and evidence that add up to {list(golden.logits)} for {golden.text!r}"
                    raise BundleError(self.bundle.path, expected, str(together.tolist()))


def _is_close(found: NDArray[np.floating], expected: Sequence[float], tolerance: float) -> bool:
    is_shaped = np.shape(found) == np.shape(expected)
    return is_shaped and np.allclose(found, expected, rtol=0, atol=tolerance)  # NaN is never close


class Asked(NamedTuple):
    """A text for one of the models that a service has while it changes them: the one that it was encoded for."""

    classifier: Classifier
    encoded: Encoded


class Slot:
    """Predicts for one thread; another thread can interrupt the run."""

    def __init__(self) -> None:
        self._options = onnxruntime.RunOptions()

    def __call__(self, asked: Sequence[Asked]) -> list[Prediction]:
        """Predicts texts in one batch for each of their models; an interrupted run raises an error."""
        first = asked[0].classifier
        if all(one.classifier is first for one in asked):
            return first.predict([one.encoded for one in asked], self._options)
        predictions = dict[int, Prediction]()
        for classifier in {id(one.classifier): one.classifier for one in asked}.values():
            places = [place for place, one in enumerate(asked) if one.classifier is classifier]
            answers = classifier.predict([asked[place].encoded for place in places], self._options)
            predictions.update(zip(places, answers, strict=True))
        return [predictions[place] for place in range(len(asked))]

    def interrupt(self) -> None:
        """Ends the run in progress with an error before its next graph node; later runs are not affected."""
        interrupted, self._options = self._options, onnxruntime.RunOptions()
        interrupted.terminate = True


Weights = Mapping[str, onnxruntime.OrtValue]


def _tensors(bundle: Bundle) -> dict[str, NDArray[Any]]:
    try:
        return onnx_tensors.read(bundle.model)
    except ValueError as error:
        raise BundleError(bundle.path / MODEL, "tensors of the sizes that they state", str(error)) from error


def _open_session(
    bundle: Bundle, provider: Provider, weights: Weights
) -> tuple[Literal["cpu", "cuda"], str | None, onnxruntime.InferenceSession]:
    """Returns the provider in use, why "auto" fell back to the CPU (or None), and the session. Raises ProviderError."""
    chosen: Literal["cpu", "cuda"] = "cpu"
    fallback = None
    if provider != "cpu":
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            chosen = "cuda"
        else:
            fallback = "this onnxruntime was built without CUDA: install requirements/cuda.txt instead of cpu.txt"
    if chosen == "cuda":
        session = _session(bundle, "cuda", bundle.model, {})
        # onnxruntime falls back to the CPU without an error if CUDA's libraries or a device are missing.
        if session.get_providers()[0] == "CUDAExecutionProvider":
            return "cuda", None, session
        fallback = "onnxruntime could not start CUDA: check the driver (nvidia-smi) and the CUDA and cuDNN libraries"
    if provider == "cuda":
        raise ProviderError(f"expected the provider cuda, found only the CPU: {fallback}")
    return "cpu", fallback, _session(bundle, "cpu", bundle.model, weights)


def _session(
    bundle: Bundle, provider: Literal["cpu", "cuda"], model: bytes, weights: Weights
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # batches differ in shape: cached patterns would accumulate without use
    options.log_severity_level = 3
    for name, value in weights.items() if provider == "cpu" else ():
        options.add_initializer(name, value)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=_EXECUTION[provider])
        session._model_bytes = None  # kept to load it anew on another provider, which is asked of no session here
        return session
    except Exception as error:  # onnxruntime's own errors share no base class
        raise BundleError(bundle.path / MODEL, "a graph that onnxruntime loads", str(error)) from error


def _check_graph(session: onnxruntime.InferenceSession, bundle: Bundle) -> None:
    """Compares the graph's inputs and outputs with _INPUTS and _OUTPUTS. Raises BundleError."""
    outputs = _OUTPUTS if bundle.manifest.evidence else {"logits": _OUTPUTS["logits"]}
    for expected, nodes in ((_INPUTS, session.get_inputs()), (outputs, session.get_outputs())):
        try:
            tensors = {node.name: (node.type, len(node.shape)) for node in nodes}
        except UnicodeDecodeError as error:
            raise BundleError(bundle.path / MODEL, "names in UTF-8", str(error)) from error
        if tensors != expected:
            raise BundleError(bundle.path / MODEL, f"tensors (type, rank) {expected}", f"{tensors}")
