from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model import cell
from service.model.bundle import Bundle, Manifest
from service.model.classifier import Classifier, EvidenceUnavailable, ProviderError
from service.model.tokenizer import SPECIAL, Batch, Tokenizer
from training.network.bilstm import BiLSTM, Head
from training.release import export, onnx_graph


def untrained(head: Head, labels: int, sizes: tuple[int, int] = (16, 16), words: int = 500) -> Classifier:
    """A classifier of random weights, large enough to tell texts apart; sizes are of embeddings and states."""
    torch.manual_seed(labels)
    model = BiLSTM(words + 2, *sizes, labels, head)
    with torch.no_grad():
        model.embedding.weight.mul_(20)
        model.output.weight.mul_(3)
        model.output.bias.uniform_(-1, 1)
    weights = export.arrays(model, 1.0)
    tokenizer = Tokenizer([*SPECIAL, *(f"w{index}" for index in range(words))], 400, "head-and-tail")
    text = "w1 w2 w3 unheard"
    found, _ = cell.logits(tokenizer.encode(text).token_ids, weights)
    manifest = Manifest.model_validate(
        {
            "name": "random", "version": "0", "created": "2020-01-01T00:00:00Z",
            "labels": [f"label{index}" for index in range(labels)], "max_tokens": 400, "truncation": "head-and-tail",
            "rules": "words-and-marks", "evidence": head == "pooled", "temperature": 1.0, "uncertain_below": 0.5,
            "bias": weights.head["bias"].tolist() if head == "pooled" else None,
            "golden": [{"text": text, "logits": found.tolist()}], "tolerance": {"cpu/fp32": 1e-3},
            "reference": None, "metrics": {}, "training": {},
        }
    )  # fmt: skip
    return Classifier(Bundle(Path("random"), "random@0", manifest, onnx_graph.build(weights), tokenizer), "cpu")


POOLED = {labels: untrained("pooled", labels) for labels in (2, 3, 20)}
# The sizes of the presets `release` and `base`: kernels differ with the width of the matrices.
SHIPPED, BASE = untrained("pooled", 2, (128, 64)), untrained("pooled", 2, (64, 64))
LAST = untrained("last", 2)
SEQUENCES = st.lists(st.integers(1, 501), min_size=1, max_size=60).map(lambda ids: np.array(ids, np.int32))
BATCHES = st.lists(SEQUENCES, min_size=1, max_size=9)
ANY_POOLED = st.sampled_from([*POOLED.values(), BASE, SHIPPED])


@settings(deadline=None, max_examples=150)
@given(BATCHES, ANY_POOLED, st.randoms(use_true_random=False), st.integers(0, 20))
def test_neighbours_order_and_padding_change_no_bit(batch, classifier, random, extra) -> None:  # type: ignore[no-untyped-def]
    alone = [classifier.run(Batch.pad([sequence]), evidence=True) for sequence in batch]
    order = list(range(len(batch)))
    random.shuffle(order)
    together = Batch.pad([batch[index] for index in order])
    rubbish = np.random.default_rng(extra).integers(0, 502, (len(batch), together.token_ids.shape[1] + extra))
    real = np.arange(rubbish.shape[1]) < together.lengths[:, None]
    padded = np.pad(together.token_ids, ((0, 0), (0, extra)))
    token_ids = np.where(real, padded, rubbish).astype(np.int32)
    logits, evidence = classifier.run(Batch(token_ids, together.lengths), evidence=True)
    only_logits, _ = classifier.run(Batch(token_ids, together.lengths))
    for place, index in enumerate(order):
        logits_alone, evidence_alone = alone[index]
        assert logits[place].tobytes() == logits_alone[0].tobytes() == only_logits[place].tobytes()
        assert evidence[place, : len(batch[index])].tobytes() == evidence_alone[0].tobytes()


@pytest.mark.parametrize("rows", [2, 5, 16, 64])
def test_long_texts_in_wide_batches_change_no_bit(rows: int) -> None:
    generator = np.random.default_rng(rows)
    lengths = generator.integers(1, 400, rows)
    sequences = [generator.integers(1, 502, length).astype(np.int32) for length in lengths]
    logits, evidence = SHIPPED.run(Batch.pad(sequences), evidence=True)
    assert evidence is not None
    for row, sequence in enumerate(sequences):
        alone, shares = SHIPPED.run(Batch.pad([sequence]), evidence=True)
        assert shares is not None
        assert alone[0].tobytes() == logits[row].tobytes()
        assert shares[0].tobytes() == evidence[row, : len(sequence)].tobytes()


@settings(deadline=None)
@given(SEQUENCES, st.sampled_from([*POOLED.values(), LAST]))
def test_the_graph_agrees_with_the_cell_by_hand(sequence, classifier) -> None:  # type: ignore[no-untyped-def]
    weights = onnx_graph.read(classifier.bundle.model)
    by_hand, shares = cell.logits(sequence, weights)
    logits, evidence = classifier.run(Batch.pad([sequence]), evidence=classifier is not LAST)
    np.testing.assert_allclose(logits[0], by_hand, atol=1e-4)
    if shares is not None:
        np.testing.assert_allclose(evidence[0], shares, atol=1e-5)
        np.testing.assert_allclose(evidence[0].sum(axis=0) + weights.head["bias"], logits[0], atol=1e-4)


@pytest.mark.parametrize("classifier", [POOLED[2], POOLED[3]])
def test_predictions_are_proper(classifier: Classifier) -> None:
    texts = ["w1 w2 w3", "w4 " * 500, "nothing known here"]
    short, long, unknown = classifier(texts, evidence=True)
    for prediction in (short, long, unknown):
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.score == max(prediction.probabilities.values()) == prediction.probabilities[prediction.label]
    assert (short.truncated, long.truncated, long.tokens) == (False, True, 500)
    assert (unknown.unknown_share, unknown.uncertain) == (1.0, True)
    logits, _ = classifier.run(classifier.tokenizer.batch(texts))
    for prediction, row in zip((short, long, unknown), logits, strict=True):
        winner = int(row.argmax())
        margin = row[winner] - np.delete(row, winner).mean()
        assert prediction.evidence is not None
        total = prediction.evidence.bias + sum(weight for _, _, weight in prediction.evidence.tokens)
        assert total == pytest.approx(margin, abs=1e-4)


def test_evidence_only_for_those_who_asked() -> None:
    encode = POOLED[2].tokenizer.encode
    with_, without = POOLED[2].predict([encode("w1", spans=True), encode("w1 w2")])
    assert with_.evidence is not None
    assert without.evidence is None


def test_last_states_give_no_evidence() -> None:
    assert LAST(["w1"])[0].evidence is None
    with pytest.raises(EvidenceUnavailable, match="gives no evidence"):
        LAST(["w1"], evidence=True)


def test_no_texts_no_predictions() -> None:
    assert LAST([]) == []


def test_cuda_asked_for_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = LAST.bundle
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ProviderError, match=r"install requirements/cuda\.txt"):
        Classifier(bundle, "cuda")
    found = Classifier(bundle, "auto")
    assert found.provider == "cpu"
    assert found.fallback is not None
    assert Classifier(bundle, "cpu").fallback is None


def test_cuda_that_onnxruntime_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    # What a machine without a driver does with onnxruntime-gpu: the wheel offers CUDA, the session drops it.
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda model, options, providers: real(model, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(ProviderError, match="nvidia-smi"):
        Classifier(LAST.bundle, "cuda")
    assert Classifier(LAST.bundle, "auto").fallback is not None
