"""The teacher: fitted, killed, gone on with, asked and measured."""

import ast
import json
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.repeatable import stopped_in_the_middle
from training.data import mixture
from training.data.fdu_mtl import ProductReviews
from training.data.mixture import TEST, TRAIN, UNLABELLED, VALIDATION
from training.data.sources import DataError, Source
from training.data.treebank import Treebank
from training.recipe import encoder_labels, encoder_network
from training.recipe.encoder import Run, fit_teacher, label_texts
from training.recipe.encoder_fit import Stop, Stopped

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("repeatable")


def run(data: Path, out: Path, leave_out: tuple[str, ...] = ()) -> Run:
    out.mkdir(parents=True, exist_ok=True)
    return Run(out, data / "aclImdb", data / "trees", data / "fdu", leave_out, 1.0, torch.device("cpu"))


def fitted(data: Path, out: Path, encoder: Path, leave_out: tuple[str, ...] = (), **others: int) -> Path:
    fit_teacher(run(data, out, leave_out), Stop(), str(encoder), **{"phrases": 3, **others})
    return out


@pytest.fixture(scope="module")
def teacher(repeatable: None, data: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(data, tmp_path_factory.mktemp("run"), tiny_encoder)


@pytest.fixture
def labelled(data: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(encoder_labels, "SHARD", 16)
    out = tmp_path / "run"
    shutil.copytree(teacher, out)
    label_texts(run(data, out), Stop())
    return out


def weights(out: Path) -> bytes:
    return b"".join((out / "teacher" / name).read_bytes() for name in ("model.safetensors", "head.safetensors"))


def shards(out: Path, name: str) -> dict[str, Any]:
    """All shards of one kind together."""
    found: dict[str, list[Any]] = {"logits": [], "keys": []}
    for path in sorted((out / "logits" / name).glob("*.npz")):
        with np.load(path) as shard:
            for part, values in found.items():
                values.append(shard[part])
    return {part: np.concatenate(values) for part, values in found.items()}


def short_texts(out: Path) -> list[Any]:
    """[text, source, kind, key] of each short text that was labelled."""
    return [json.loads(line) for line in (out / "logits" / "short.jsonl").read_text(encoding="utf-8").splitlines()]


def everything(data: Path, leave_out: tuple[str, ...] = ()) -> mixture.Mixture:
    films, trees = Source(data / "aclImdb"), Treebank(data / "trees")
    return mixture.build(films, trees, ProductReviews(data / "fdu", leave_out))


def test_a_fit_says_what_it_showed_and_leaves_a_folder_that_stands_alone(teacher: Path) -> None:
    noted = json.loads((teacher / "teacher" / "fit.json").read_text())
    assert noted["shown"]["imdb review"] == 72
    assert noted["texts"] == sum(noted["shown"].values())
    assert noted["labels"] == ["negative", "positive"]
    assert noted["mean_loss"] > 0
    assert "cores" in noted["machine"]
    assert sorted(path.name for path in teacher.iterdir()) == ["teacher"]


def test_one_phrase_in_so_many_and_so_many_film_reviews(data: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    out = fitted(data, tmp_path, tiny_encoder, phrases=1, imdb_reviews=10)
    noted = json.loads((out / "teacher" / "fit.json").read_text())
    assert noted["shown"]["imdb review"] == 10
    phrases = [example for example in everything(data).of(TRAIN) if example.kind == "phrase"]
    assert noted["shown"]["treebank phrase"] == len(phrases)


def test_a_teacher_that_was_fitted_otherwise_is_refused(
    data: Path, teacher: Path, tiny_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = weights(teacher)
    fitted(data, teacher, tiny_encoder)
    assert "is there already" in capsys.readouterr().out
    others = {"phrases": (1, None, 1), "imdb_reviews": (3, 10, 1), "plan": (3, None, 2)}
    for name, (phrases, films, seed) in others.items():
        with pytest.raises(DataError, match=rf"expected a teacher fitted with .*, found {name} [^,]+.*: remove"):
            fit_teacher(run(data, teacher), Stop(), str(tiny_encoder), phrases, films, seed)
    with pytest.raises(DataError, match=r"expected a teacher fitted with encoder other, .*, found encoder "):
        fit_teacher(run(data, teacher), Stop(), "some/other", phrases=3)
    assert weights(teacher) == before


def test_the_same_data_and_seed_give_the_same_weights(
    data: Path, teacher: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    assert weights(fitted(data, tmp_path / "same", tiny_encoder)) == weights(teacher)
    assert weights(fitted(data, tmp_path / "other", tiny_encoder, seed=2)) != weights(teacher)


def test_logits_of_all_but_test(data: Path, labelled: Path) -> None:
    found = everything(data)
    reviews = {e.key: e.source for e in found.of(TRAIN, UNLABELLED) if e.kind == "review"}
    assert set(reviews.values()) == {"imdb", "fdu-mtl"}
    assert sorted(shards(labelled, "reviews")["keys"].tolist()) == sorted(reviews)
    judged = [example.key for example in found.of(VALIDATION) if example.kind != "phrase"]
    assert shards(labelled, "validation")["keys"].tolist() == judged
    short = short_texts(labelled)
    assert shards(labelled, "short")["keys"].tolist() == [key for *_, key in short]
    texts = {text for text, *_ in short}
    assert {"Go and see it!", "I saw it, number 3.", "it broke (twice) and i can't use it.", "warm and funny"} <= texts
    held = {example.key for example in found.of(TEST, VALIDATION)}
    for name in ("reviews", "short"):
        assert not held & set(shards(labelled, name)["keys"].tolist())
    for name in ("reviews", "short", "validation"):
        logits = shards(labelled, name)["logits"]
        assert logits.dtype == np.float32
        assert logits.shape[1] == 2
        assert np.isfinite(logits).all()


def test_a_long_text_is_read_window_by_window(tiny_encoder: Path) -> None:
    teacher, tokenizer = encoder_network.open_encoder(str(tiny_encoder), 2)
    teacher.eval()
    texts = ["It broke", "I love it! It broke. " * 40, "Go and see it!"]
    pieces = encoder_network.read_pieces(texts, tokenizer, whole=True, step=2)
    windows = int((pieces.texts == 1).sum())
    assert windows > 2
    assert pieces.texts.tolist() == [0] + [1] * windows + [2]
    assert pieces.lengths.max() == encoder_network.MAX_PIECES
    for place, text in enumerate(texts):
        parts = [pieces.ids[start + 1 : end - 1] for start, end in pairwise(pieces.offsets.tolist())]
        joined = [piece for part, of in zip(parts, pieces.texts, strict=True) if of == place for piece in part.tolist()]
        assert joined == tokenizer(text, add_special_tokens=False)["input_ids"]
    cut = encoder_network.read_pieces(texts, tokenizer)
    assert cut.texts.tolist() == [0, 1, 2]
    assert cut.lengths[1] == encoder_network.MAX_PIECES

    logits = encoder_labels.predict(teacher, pieces, torch.device("cpu"), False, Stop())
    with torch.inference_mode():
        each = teacher(*pieces.batch(np.arange(windows + 2), torch.device("cpu"))).numpy()
    mean = np.average(each[1:-1], axis=0, weights=pieces.lengths[1:-1])
    np.testing.assert_allclose(logits, np.stack([each[0], mean, each[-1]]), atol=1e-5)


def test_no_more_short_texts_than_asked_for(data: Path, teacher: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(teacher, out)
    label_texts(run(data, out), Stop(), 40)
    short = short_texts(out)
    assert len(short) == 40
    assert {source for _, source, *_ in short} == {"treebank", "imdb", "fdu-mtl"}


def test_labelling_goes_on_with_what_is_missing(data: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((labelled / "logits" / "reviews").iterdir())
    assert len(paths) > 2
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
    paths[1].unlink()
    label_texts(run(data, labelled), Stop())
    assert {path: path.read_bytes() for path in paths} == {path: content for path, (_, content) in before.items()}
    kept = [path for path in paths if path.stat().st_mtime_ns == before[path][0]]
    assert kept == [paths[0], *paths[2:]]


def test_logits_of_another_teacher_or_of_other_texts_are_told(data: Path, labelled: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(data, changed)
    with (changed / "fdu" / "books.task.unlabel").open("a") as file:
        file.write("One more book.\n")
    with pytest.raises(DataError, match="expected the logits of other texts: remove"):
        label_texts(run(changed, labelled), Stop())
    (labelled / "logits" / "teacher.sha256").write_text("0" * 64)
    with pytest.raises(DataError, match="found those of another teacher, or of another version"):
        label_texts(run(data, labelled), Stop())


def test_validation_by_source_and_domain(data: Path, labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label_texts(run(data, labelled), Stop())
    printed = capsys.readouterr().out
    figures = json.loads((labelled / "validation.json").read_text())
    held = [example for example in everything(data).of(VALIDATION) if example.kind != "phrase"]
    right: dict[str, list[bool]] = {}
    for example, logits in zip(held, shards(labelled, "validation")["logits"], strict=True):
        if example.label is not None:
            right.setdefault(example.source, []).append(bool(logits.argmax() == example.label))
    for source, answers in right.items():
        assert figures["sources"][source]["texts"] == len(answers)
        assert figures["sources"][source]["accuracy"] == pytest.approx(np.mean(answers))
        assert f"{source}: accuracy {np.mean(answers):.2%}" in printed
    assert set(figures["sources"]["fdu-mtl"]["domains"]) == {"books", "toys_games"}
    assert figures["mean_of_sources"] == pytest.approx(np.mean([np.mean(answers) for answers in right.values()]))


def test_a_domain_left_out_is_neither_shown_nor_labelled(data: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    out = fitted(data, tmp_path / "run", tiny_encoder, ("toys_games",))
    noted = json.loads((out / "teacher" / "fit.json").read_text())
    assert noted["left_out"] == ["toys_games"]
    assert noted["shown"]["fdu-mtl review"] == 54
    with pytest.raises(DataError, match="expected --leave-out toys_games"):
        label_texts(run(data, out), Stop())
    label_texts(run(data, out, ("toys_games",)), Stop())
    assert "toys_games" not in (out / "logits" / "short.jsonl").read_text()
    left_out = {example.key for example in everything(data).examples if example.domain == "toys_games"}
    assert not left_out & set(shards(out, "reviews")["keys"].tolist())


def test_what_is_missing_is_said(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a Hugging Face encoder"):
        fit_teacher(run(data, tmp_path), Stop(), str(tmp_path / "no-encoder"), phrases=3)
    with pytest.raises(DataError, match=r"expected a fitted teacher with head\.safetensors, found none"):
        label_texts(run(data, tmp_path), Stop())


def test_a_terminated_fit_saves_and_ends_as_if_it_had_not_been(
    data: Path, teacher: Path, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, stop = run(data, tmp_path / "run"), Stop()
    with pytest.raises(Stopped, match="stopped and saved at step"), stopped_in_the_middle(), stop.heeded():
        fit_teacher(begun, stop, str(tiny_encoder), phrases=3)
    assert not begun.teacher.exists()
    with pytest.raises(DataError, match="found another run's"):
        fit_teacher(begun, Stop(), str(tiny_encoder), phrases=3, seed=2)
    fit_teacher(begun, Stop(), str(tiny_encoder), phrases=3)
    assert "going on at step" in capsys.readouterr().out
    assert weights(begun.out) == weights(teacher)


def test_a_signal_that_comes_when_nothing_is_left_to_do_is_not_lost() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="what was made is kept"), Stop().heeded():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_how_the_encoder_computes_is_chosen_without_a_trace(data: Path, tiny_encoder: Path) -> None:
    network, tokenizer = encoder_network.open_encoder(str(tiny_encoder), 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pieces = encoder_network.read_pieces(["I love it!", "It broke"], tokenizer)
    bf16, why = encoder_network.choose_bf16(network, *pieces.batch(np.arange(2), torch.device("cpu")))
    assert why.startswith("bfloat16: " if bf16 else "float32: ")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_service_never_imports_transformers() -> None:
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"transformers", "tokenizers", "safetensors"}, path
