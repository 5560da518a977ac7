"""torch, NumPy and onnxruntime agree, whatever the sizes, weights and texts; every preset becomes a bundle."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model import bundle, cell
from service.model.classifier import Classifier
from service.model.tokenizer import Tokenizer
from tests.support import small_bundle
from training.network.bilstm import BiLSTM, Head
from training.recipe.recipes import PRESETS
from training.release import export, onnx_graph

WORDS = 30


def random_network(sizes: tuple[int, int, int], labels: int, head: Head, scale: float, seed: int) -> BiLSTM:
    """Sizes are those of embeddings, of states and of the hidden layer; every weight is random."""
    torch.manual_seed(seed)
    embedding, hidden, dense = sizes
    model = BiLSTM(WORDS, embedding, hidden, labels, head, dense).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-scale, scale)
    export.round_embedding(model)
    return model


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9)),
    labels=st.integers(2, 5),
    head=st.sampled_from(["pooled", "last"]),
    scale=st.sampled_from([0.05, 0.5, 1.0]),
    temperature=st.floats(0.3, 3),
    lengths=st.lists(st.integers(1, 40) | st.sampled_from([1, 400, 800]), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_three_implementations_agree(
    sizes: tuple[int, int, int],
    labels: int,
    head: Head,
    scale: float,
    temperature: float,
    lengths: list[int],
    seed: int,
) -> None:
    model = random_network(sizes, labels, head, scale, seed)
    weights = export.arrays(model, temperature)
    session = onnxruntime.InferenceSession(onnx_graph.build(weights), providers=["CPUExecutionProvider"])
    token_ids = np.random.default_rng(seed).integers(0, WORDS, (len(lengths), max(lengths))).astype(np.int32)
    batch = {"token_ids": token_ids, "lengths": np.array(lengths, np.int32)}
    logits, *evidence = session.run(None, batch)
    with torch.inference_mode():
        by_torch = model(*map(torch.from_numpy, batch.values())).numpy() / temperature
    unit = max(1.0, float(np.abs(logits).max()))
    np.testing.assert_allclose(logits, by_torch, rtol=0, atol=export.PARITY_TOLERANCE * unit)
    for row, length in enumerate(lengths):
        by_hand, shares = cell.logits(token_ids[row, :length], weights)
        np.testing.assert_allclose(logits[row], by_hand, rtol=0, atol=export.PARITY_TOLERANCE * unit)
        assert (shares is None) == (not evidence) == (head == "last")
        if shares is not None:
            np.testing.assert_allclose(evidence[0][row, :length], shares, rtol=0, atol=export.PARITY_TOLERANCE * unit)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_becomes_a_bundle_that_loads(name: str, tmp_path: Path) -> None:
    preset = replace(PRESETS[name], embedding_size=5, hidden_size=3, dense_size=4)
    tokenizer = Tokenizer(small_bundle.VOCABULARY, preset.max_tokens, preset.truncation, preset.rules)
    model = BiLSTM(
        len(tokenizer.vocabulary),
        preset.embedding_size,
        preset.hidden_size,
        2,
        preset.head,
        preset.dense_size,
        short_tokens=preset.short_tokens,
    )
    export.round_embedding(model)
    weights = export.arrays(model)
    bias = weights.head["bias"].tolist() if preset.head == "pooled" else None
    manifest = small_bundle.manifest(tokenizer, small_bundle.logits(weights, tokenizer), bias)
    bundle.write(tmp_path / name, manifest, onnx_graph.build(weights), tokenizer.vocabulary)
    [prediction] = Classifier(bundle.read(tmp_path / name), "cpu")(["a good film"])
    assert prediction.label in manifest.labels
