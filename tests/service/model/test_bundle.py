import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from service.model import bundle
from service.model.bundle import Bundle, BundleError
from service.model.classifier import Classifier


@pytest.fixture
def copy(tiny_bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle_path, tmp_path / "copy"))


def change(folder: Path, **keys: Any) -> None:
    path = folder / bundle.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def referring(edges: list[float], counts: list[int]) -> dict[str, Any]:
    return {of: {"edges": edges, "counts": counts} for of in bundle.Reference.model_fields}


def write_again(found: Bundle, path: Path, force: bool = False, **update: Any) -> None:
    manifest = found.manifest.model_copy(update=update)
    bundle.write(path, manifest, found.model, found.tokenizer.vocabulary, {"README.md": b"card"}, force)


def test_what_is_written_is_read(tiny_bundle: Bundle, tmp_path: Path) -> None:
    write_again(tiny_bundle, tmp_path / "again")
    again = bundle.read(tmp_path / "again")
    assert again.model == tiny_bundle.model
    assert again.tokenizer.vocabulary == tiny_bundle.tokenizer.vocabulary
    assert again.manifest == tiny_bundle.manifest
    assert again.name == tiny_bundle.name  # the same bytes, the same digest
    assert {path.name for path in tmp_path.iterdir()} == {"again"}


@pytest.mark.parametrize("name", [bundle.MANIFEST, bundle.MODEL, bundle.VOCABULARY])
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: expected a readable file, found No such file"):
        bundle.read(copy)


@pytest.mark.parametrize("name", [bundle.MANIFEST, bundle.MODEL, bundle.VOCABULARY])
def test_what_is_no_regular_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).rename(copy / "elsewhere")
    (copy / name).symlink_to(copy / "elsewhere")
    with pytest.raises(BundleError, match=rf"{name}: expected a readable file, found a link"):
        bundle.read(copy)
    (copy / name).unlink()
    os.mkfifo(copy / name)
    with pytest.raises(BundleError, match=rf"{name}: expected a regular file, found another kind"):
        bundle.read(copy)


def test_a_link_to_a_whole_bundle_is_followed(copy: Path, tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    assert bundle.read(tmp_path / "link").name == tiny_bundle.name


@pytest.mark.parametrize("name", [bundle.MODEL, bundle.VOCABULARY])
def test_a_flipped_bit_is_refused(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name}: expected \d+ bytes, sha256 [0-9a-f]{{64}}, found"):
        bundle.read(copy)


@pytest.mark.parametrize("name", [bundle.MODEL, bundle.VOCABULARY])
def test_a_file_of_another_size_is_refused(copy: Path, name: str) -> None:
    with (copy / name).open("ab") as file:
        file.write(b"!")
    with pytest.raises(BundleError, match=rf"{name}: expected at most \d+ bytes, found more"):
        bundle.read(copy)


def test_a_vast_manifest_is_refused_unread(copy: Path) -> None:
    (copy / bundle.MANIFEST).write_bytes(b" " * (bundle.MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="at most"):
        bundle.read(copy)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"format": 2}, "expected bundle format 1, found format 2"),
        ({"format": None}, "expected bundle format 1, found format None"),
        ({"labels": ["a", "a"]}, "a valid `labels`"),
        ({"labels": ["a", "b", "c"]}, "3 logits"),
        ({"labels": ["a", "b\nc"]}, "a valid `labels`"),
        ({"labels": ["a", "<b>"]}, "a valid `labels`"),
        ({"labels": ["a", " "]}, "a valid `labels`"),
        ({"labels": ["a", "b" * 101]}, r"a valid `labels\.1`"),
        ({"labels": [str(number) for number in range(1001)]}, "a valid `labels`"),
        ({"max_tokens": 0}, "a valid `max_tokens`"),
        ({"max_tokens": 1e30}, "a valid `max_tokens`"),
        ({"temperature": 1e30}, "a valid `temperature`"),
        ({"tolerance": {"cpu/fp32": 1e30}}, r"a valid `tolerance\.cpu/fp32`"),
        ({"uncertain_below": 1.5}, "a valid `uncertain_below`"),
        ({"version": "9" * 101}, "a valid `version`"),
        ({"version": "1\n2"}, "a valid `version`"),
        ({"rules": "sentences"}, "a valid `rules`"),
        ({"evidence": False}, "expected no `bias` without `evidence`, found 2 numbers"),
        ({"bias": None}, "expected a `bias` of 2 numbers, found none"),
        ({"bias": []}, "expected a `bias` of 2 numbers, found 0 numbers"),
        ({"files": {}}, "an entry for model.onnx"),
        ({"reference": referring([0, 1, 1], [1, 2])}, "a valid `reference.score`"),
        ({"reference": referring([0, 1, 2], [0, 0])}, "a valid `reference.score`"),
        ({"reference": referring([0, 1, 2], [1])}, "a valid `reference.score`"),
    ],
)
def test_a_wrong_manifest_is_refused(copy: Path, keys: dict[str, Any], message: str) -> None:
    change(copy, **keys)
    with pytest.raises(BundleError, match=message):
        bundle.read(copy)


def test_json_that_is_none_is_refused(copy: Path) -> None:
    (copy / bundle.MANIFEST).write_text("{")
    with pytest.raises(BundleError, match="expected JSON"):
        bundle.read(copy)


@pytest.mark.parametrize("vocabulary", [["a", "b"], ["<padding>", "<unknown>", "a", "a"], [1, 2], {"a": 1}])
def test_a_wrong_vocabulary_is_refused(tiny_bundle: Bundle, tmp_path: Path, vocabulary: Any) -> None:
    with pytest.raises(BundleError, match=r"vocabulary\.json: expected"):
        bundle.write(tmp_path / "x", tiny_bundle.manifest, tiny_bundle.model, vocabulary)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_bundle_is_kept_without_force(tiny_bundle: Bundle, copy: Path) -> None:
    with pytest.raises(FileExistsError, match="--force"):
        write_again(tiny_bundle, copy)
    write_again(tiny_bundle, copy, force=True, version="9")
    assert bundle.read(copy).manifest.version == "9"
    assert {path.name for path in copy.parent.iterdir()} == {"copy"}


def test_the_old_bundle_is_put_back_when_the_new_cannot_take_its_place(
    tiny_bundle: Bundle, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk full"):
        write_again(tiny_bundle, copy, force=True, version="9")
    assert bundle.read(copy).name == tiny_bundle.name
    assert {path.name for path in copy.parent.iterdir()} == {"copy"}


def test_golden_answers_out_of_tolerance_are_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    golden = tiny_bundle.manifest.golden[0]
    wrong = golden.model_copy(update={"logits": (golden.logits[0] + 0.01, golden.logits[1])})
    write_again(tiny_bundle, tmp_path / "wrong", golden=(wrong,))
    with pytest.raises(BundleError, match=r"model\.onnx: expected logits .* within 0\.001 for the golden text"):
        Classifier(bundle.read(tmp_path / "wrong"), "cpu")


def test_a_bias_that_is_not_the_graphs_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    write_again(tiny_bundle, tmp_path / "wrong", bias=(0.5, -0.5))
    with pytest.raises(BundleError, match="expected a bias and evidence that add up to"):
        Classifier(bundle.read(tmp_path / "wrong"), "cpu")


def test_a_blank_golden_text_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    blank = tiny_bundle.manifest.golden[0].model_copy(update={"text": " "})
    write_again(tiny_bundle, tmp_path / "wrong", golden=(blank,))
    with pytest.raises(BundleError, match="expected golden texts with visible characters"):
        Classifier(bundle.read(tmp_path / "wrong"), "cpu")


def test_a_graph_of_another_shape_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    write_again(tiny_bundle, tmp_path / "wrong", evidence=False, bias=None)
    with pytest.raises(BundleError, match="expected tensors"):
        Classifier(bundle.read(tmp_path / "wrong"), "cpu")


def test_a_vocabulary_larger_than_the_graph_knows_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    vocabulary = [*tiny_bundle.tokenizer.vocabulary, "one-too-many"]
    bundle.write(tmp_path / "x", tiny_bundle.manifest, tiny_bundle.model, vocabulary)
    with pytest.raises(
        BundleError, match=r"vocabulary\.json: expected a vocabulary that model\.onnx has an embedding for"
    ):
        Classifier(bundle.read(tmp_path / "x"), "cpu")


def test_rubbish_for_a_graph_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="expected a network as data, found expected an ONNX model"):
        bundle.write(tmp_path / "x", tiny_bundle.manifest, b"rubbish", tiny_bundle.tokenizer.vocabulary)


@pytest.mark.parametrize("name", [b"token_ids", b"batch", b"states"])
def test_names_that_are_no_utf_8_are_refused(tiny_bundle: Bundle, tmp_path: Path, name: bytes) -> None:
    model = tiny_bundle.model.replace(name, b"\xff" + name[1:])

    def load() -> None:
        bundle.write(tmp_path / "x", tiny_bundle.manifest, model, tiny_bundle.tokenizer.vocabulary)
        Classifier(bundle.read(tmp_path / "x"), "cpu")

    with pytest.raises(BundleError, match=r"model\.onnx: expected"):
        load()


def test_a_graph_for_one_text_at_a_time_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    graph = onnx.load_from_string(tiny_bundle.model)
    [shape] = [tensor for tensor in graph.graph.initializer if tensor.name == "of_text"]
    shape.CopyFrom(numpy_helper.from_array(np.array([1, 1, 1, 1]), "of_text"))  # -1 was the number of texts
    bundle.write(tmp_path / "x", tiny_bundle.manifest, graph.SerializeToString(), tiny_bundle.tokenizer.vocabulary)
    with pytest.raises(BundleError, match="expected an answer to each golden text"):
        Classifier(bundle.read(tmp_path / "x"), "cpu")
