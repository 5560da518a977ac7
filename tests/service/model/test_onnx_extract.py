"""The cut graph against onnx's own way to cut one."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from service.model import onnx_extract
from service.model.bundle import Bundle
from service.model.classifier import Classifier
from service.model.tokenizer import Batch


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


def branching() -> bytes:
    """`out` and `other` of [batch] numbers: one by a branch that reads `doubled` from outside, one by `unread`."""
    number = onnx.TensorProto.FLOAT
    inner = helper.make_tensor_value_info("inner", number, ["batch"])
    branches = [helper.make_graph([helper.make_node("Neg", [name], ["inner"])], name, [], [inner])
                for name in ("doubled", "given")]  # fmt: skip
    nodes = [
        helper.make_node("Add", ["given", "given"], ["doubled"]),
        helper.make_node("Abs", ["given"], ["unread"]),
        helper.make_node("If", ["which"], ["out"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Neg", ["unread"], ["other"]),
    ]
    outputs = [helper.make_tensor_value_info(name, number, ["batch"]) for name in ("out", "other")]
    inputs = [
        helper.make_tensor_value_info("given", number, ["batch"]),
        helper.make_tensor_value_info("which", onnx.TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(nodes, "branching", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def test_what_branches_read_is_kept_and_no_more() -> None:
    cut = onnx.load_from_string(onnx_extract.only(branching(), ["out"]))
    onnx.checker.check_model(cut, full_check=True)
    assert [node.op_type for node in cut.graph.node] == ["Add", "If"]
    both = onnx.load_from_string(onnx_extract.only(branching(), ["out", "other"]))
    assert both == onnx.load_from_string(branching())


@given(st.binary(max_size=60))
def test_what_is_no_model_is_refused_or_left_alone(data: bytes) -> None:
    try:
        onnx_extract.only(data, ["logits"])
    except (ValueError, UnicodeDecodeError):
        return


def test_the_end_in_the_middle_of_a_model_is_seen(tiny_bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="expected a protobuf"):
        onnx_extract.only(tiny_bundle.model[:-7], ["logits"])
