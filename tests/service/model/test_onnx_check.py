"""Graphs that are more than a network never reach onnxruntime; all that training wrote, or ever shipped, does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.model import bundle, onnx_check
from service.model.bundle import Bundle
from service.model.classifier import Classifier
from service.model.onnx_check import UnsafeGraph
from tests.support import small_bundle
from training.network.bilstm import Head
from training.release import onnx_graph

# Small graphs of every form that `onnx_graph.build` ever wrote, those of all bundles that shipped among them, made by
# the code of then; and what its NumPy answered to the golden texts of tests/support/small_bundle.py.
GRAPHS = Path(__file__).parent / "graphs"
WRITTEN: dict[str, dict[str, Any]] = json.loads((GRAPHS / "answers.json").read_text())


@pytest.fixture
def graph(tiny_bundle: Bundle) -> onnx.ModelProto:
    """To be spoilt by a test."""
    return onnx.load_from_string(tiny_bundle.model)


def refused(model: onnx.ModelProto, found: str) -> None:
    with pytest.raises(UnsafeGraph, match=found):
        onnx_check.check(model.SerializeToString())


def branch(*nodes: onnx.NodeProto, name: str = "inner") -> onnx.GraphProto:
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, [])
    return helper.make_graph(nodes, name, [], [output])


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_every_graph_that_training_ever_wrote_is_served(name: str, tmp_path: Path) -> None:
    answers = WRITTEN[name]
    tokenizer = small_bundle.tokenizer()
    manifest = small_bundle.manifest(tokenizer, answers["logits"], answers["bias"])
    bundle.write(tmp_path / name, manifest, (GRAPHS / f"{name}.onnx").read_bytes(), tokenizer.vocabulary)
    Classifier(bundle.read(tmp_path / name), "cpu")  # which compares its answers with the golden ones


@pytest.mark.parametrize("head", get_args(Head))
def test_what_training_writes_today_is_among_them(head: Head) -> None:
    """Where this fails, the graph has a new form: add one with its answers to `graphs/`, and keep the others."""
    kept = [onnx.load(GRAPHS / f"{name}.onnx").graph.node for name in WRITTEN]
    today = onnx.load_from_string(onnx_graph.build(small_bundle.network(head))).graph.node
    assert any(list(nodes) == list(today) for nodes in kept)


@pytest.mark.parametrize("operator", ["Loop", "Expand", "Tile", "RandomNormal", "StringNormalizer", "Sekret"])
def test_an_operator_that_no_network_needs_is_refused(graph: onnx.ModelProto, operator: str) -> None:
    graph.graph.node.append(helper.make_node(operator, ["lengths"], ["spoilt"]))
    refused(graph, f"expected one of the operators that a network needs .*, found '{operator}'")


@pytest.mark.parametrize("attribute", ["then_branch", "branches"])
def test_a_branch_is_looked_at_too(graph: onnx.ModelProto, attribute: str) -> None:
    inner = branch(helper.make_node("Loop", [], ["out"]))
    node = helper.make_node("If", ["lengths"], ["spoilt"])
    node.attribute.append(helper.make_attribute(attribute, inner if attribute == "then_branch" else [inner]))
    graph.graph.node.append(node)
    refused(graph, "'Loop'")


def test_branches_have_a_depth(graph: onnx.ModelProto) -> None:
    inner = branch(helper.make_node("Identity", ["lengths"], ["out"]))
    for _ in range(12):
        inner = branch(helper.make_node("If", ["lengths"], ["out"], then_branch=inner))
    graph.graph.node.append(helper.make_node("If", ["lengths"], ["spoilt"], then_branch=inner))
    refused(graph, "at most 8 deep")


def test_no_file_but_its_own_is_read(graph: onnx.ModelProto) -> None:
    tensor = graph.graph.initializer[0]
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    tensor.data_location = TensorProto.EXTERNAL
    refused(graph, "one of another file")
    del tensor.external_data[:]
    refused(graph, "one of another file")


def test_a_constant_in_a_branch_is_looked_at_too(graph: onnx.ModelProto) -> None:
    tensor = TensorProto(name="far", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    inner = branch(helper.make_node("Constant", [], ["out"], value=tensor))
    graph.graph.node.append(helper.make_node("If", ["lengths"], ["spoilt"], then_branch=inner))
    refused(graph, "one of another file")


def domain_of_a_node(graph: onnx.ModelProto) -> None:
    graph.graph.node[0].domain = "com.sekret"


def domain_of_the_model(graph: onnx.ModelProto) -> None:
    graph.opset_import.append(helper.make_opsetid("com.sekret", 1))


def function(graph: onnx.ModelProto) -> None:
    opsets = [helper.make_opsetid("", 21)]
    graph.functions.append(helper.make_function("", "Relu", ["x"], ["x"], [], opsets))


def training(graph: onnx.ModelProto) -> None:
    graph.training_info.add()


def sparse(graph: onnx.ModelProto) -> None:
    graph.graph.sparse_initializer.add()


def strings(graph: onnx.ModelProto) -> None:
    graph.graph.initializer.append(
        TensorProto(name="text", data_type=TensorProto.STRING, dims=[1], string_data=[b"sekret"])
    )


def vast(graph: onnx.ModelProto) -> None:
    graph.graph.initializer.append(TensorProto(name="vast", data_type=TensorProto.FLOAT, dims=[2**20, 2**20]))


def many(graph: onnx.ModelProto) -> None:
    graph.graph.node.extend(helper.make_node("Identity", ["lengths"], [f"copy {number}"]) for number in range(5001))


def no_graph(graph: onnx.ModelProto) -> None:
    graph.ClearField("graph")


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (domain_of_a_node, "another domain"),
        (domain_of_the_model, "another domain"),
        (function, "functions"),
        (training, "training information"),
        (sparse, "a sparse one"),
        (strings, "one of strings"),
        (vast, "a larger one"),
        (many, "at most 5000 nodes"),
        (no_graph, "found 0"),
    ],
)
def test_more_than_a_network_is_refused(graph: onnx.ModelProto, spoil: Any, found: str) -> None:
    spoil(graph)
    refused(graph, found)


@given(st.binary(max_size=80))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(UnsafeGraph):
        onnx_check.check(data)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_is_harmless_or_refused(tiny_bundle: Bundle, data: st.DataObject) -> None:
    model = bytearray(tiny_bundle.model)
    place = data.draw(st.integers(0, len(model) - 1))
    model[place] ^= data.draw(st.integers(1, 255))
    try:
        onnx_check.check(bytes(model))
    except UnsafeGraph:
        return


def test_a_tensor_of_another_size_than_it_says_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    graph = onnx.load_from_string(tiny_bundle.model)
    tensor = max(graph.graph.initializer, key=lambda one: len(one.raw_data))
    tensor.raw_data = tensor.raw_data * (1 + 70_000 // len(tensor.raw_data)) + bytes(4)
    spoilt = graph.SerializeToString()
    bundle.write(tmp_path / "x", tiny_bundle.manifest, spoilt, tiny_bundle.tokenizer.vocabulary)
    with pytest.raises(bundle.BundleError, match=r"model\.onnx: expected"):
        Classifier(bundle.read(tmp_path / "x"), "cpu")


def test_verify_gives_up_on_a_graph_that_asks_for_all_memory(tiny_bundle: Bundle, tmp_path: Path) -> None:
    graph = onnx.load_from_string(tiny_bundle.model)
    [logits] = [node for node in graph.graph.node if "logits" in node.output]
    logits.output[0] = "real"
    numbers = {"from": 0, "to": 10**12, "by": 1}
    graph.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in numbers.items())
    graph.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing_of_it"))
    graph.graph.node.extend(
        [
            helper.make_node("Range", list(numbers), ["bomb"]),
            helper.make_node("Cast", ["bomb"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["floats"], ["one"], keepdims=0),
            helper.make_node("Mul", ["one", "nothing_of_it"], ["zero_of_it"]),
            helper.make_node("Add", ["real", "zero_of_it"], ["logits"]),
        ]
    )
    vocabulary = tiny_bundle.tokenizer.vocabulary
    bundle.write(tmp_path / "x", tiny_bundle.manifest, graph.SerializeToString(), vocabulary)
    command = [sys.executable, "-m", "service", "verify", str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
