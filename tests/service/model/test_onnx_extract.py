"""The cut graph against onnx's own way to cut one."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import onnx_extract
from service.model.bundle import Bundle
from service.model.classifier import Classifier
from service.model.tokenizer import Batch
from training.release import onnx_graph


@pytest.mark.parametrize("outputs", [["logits"], ["evidence"], ["logits", "evidence"]])
def test_the_cut_graph_is_what_onnx_would_cut(tiny_bundle: Bundle, outputs: list[str]) -> None:
    whole = onnx.load_from_string(tiny_bundle.model)
    cut = onnx.load_from_string(onnx_extract.only(tiny_bundle.model, outputs))
    onnx.checker.check_model(cut, full_check=True)
    expected = onnx.utils.Extractor(whole).extract_model([one.name for one in whole.graph.input], outputs)
    assert [node.SerializeToString() for node in cut.graph.node] == [
        node.SerializeToString() for node in expected.graph.node
    ]
    assert [one.name for one in cut.graph.output] == [one.name for one in whole.graph.output if one.name in outputs]
    assert list(cut.graph.input) == list(whole.graph.input)
    assert list(cut.graph.initializer) == list(whole.graph.initializer)
    assert (cut.opset_import, cut.ir_version) == (whole.opset_import, whole.ir_version)


def test_fewer_nodes_and_not_one_bit_of_difference(tiny_classifier: Classifier) -> None:
    model = tiny_classifier.bundle.model
    nodes = [len(onnx.load_from_string(one).graph.node) for one in (onnx_extract.only(model, ["logits"]), model)]
    assert nodes[0] < nodes[1]
    generator = np.random.default_rng(0)
    batch = Batch.pad([generator.integers(1, 20, size).astype(np.int32) for size in (3, 50, 17, 400)])
    with_evidence, _ = tiny_classifier.run(batch, evidence=True)
    alone, _ = tiny_classifier.run(batch)
    assert with_evidence.tobytes() == alone.tobytes()


SHIPPED = Path(__file__).parents[3] / "models" / "imdb-bilstm" / "model.onnx"  # with branches: the short reader


def test_what_branches_read_is_kept_and_no_more() -> None:
    model = SHIPPED.read_bytes()
    whole, cut = onnx.load_from_string(model), onnx.load_from_string(onnx_extract.only(model, ["logits"]))
    onnx.checker.check_model(cut, full_check=True)
    kinds = [node.op_type for node in cut.graph.node]
    assert kinds.count("If") == 1
    assert not {"ArgMax", "MatMul", "Split"}.intersection(kinds)  # of evidence
    both = onnx.load_from_string(onnx_extract.only(model, ["logits", "evidence"]))
    assert list(both.graph.node) == list(whole.graph.node)


def test_the_graph_that_ships_is_what_its_weights_make() -> None:
    model = SHIPPED.read_bytes()
    assert onnx_graph.build(onnx_graph.read(model)) == model


@given(st.binary(max_size=60))
def test_what_is_no_model_is_refused_or_left_alone(data: bytes) -> None:
    try:
        onnx_extract.only(data, ["logits"])
    except (ValueError, UnicodeDecodeError):
        return


def test_the_end_in_the_middle_of_a_model_is_seen(tiny_bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="expected a protobuf"):
        onnx_extract.only(tiny_bundle.model[:-7], ["logits"])
