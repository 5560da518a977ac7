"""The training command, as a person types it."""

import csv
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from service.model import bundle, cell
from service.model.bundle import Bundle
from service.model.classifier import Classifier
from tests.conftest import made_up_reviews, train, write_csv
from tests.training.data.test_sources import write_imdb
from tests.training.test_check import command
from training.network.bilstm import BiLSTM, Head
from training.release import export, onnx_graph
from training.release.export import ParityError


def manifest(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "manifest.json").read_text()))


def test_the_recipe_of_several_data_sets_takes_one_table_too(reviews_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "one"
    options = ("--preset", "release", "--epochs", "1", "--skip-test")
    done = train("run", "--data", reviews_csv, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    assert manifest(out)["training"]["epochs"] == 1
    assert "first-network" not in done.stdout


def test_a_run_leaves_a_whole_bundle(tiny_bundle_path: Path, tiny_bundle: Bundle, reviews_csv: Path) -> None:
    found = tiny_bundle.manifest
    assert found.labels == ("negative", "positive")
    assert found.evidence
    for split in ("validation", "test"):
        assert found.metrics[split]["reviews"] == 18
        assert {"accuracy", "auroc", "brier", "by_length", "expected_calibration_error"} <= set(found.metrics[split])
    assert found.reference is not None
    assert sum(found.reference.score.counts) == 18
    assert found.training["seed"] == 1
    assert found.training["data"][0]["sha256"] == hashlib.sha256(reviews_csv.read_bytes()).hexdigest()
    assert found.training["parity"] < export.PARITY_TOLERANCE
    text = (tiny_bundle_path / "README.md").read_text()
    assert "preset base, seed 1" in text.split("## Readings of the test split")[1]
    for name in ("history.csv", "curves.png", "reliability.png"):
        assert (tiny_bundle_path / "figures" / name).stat().st_size
    for golden in found.golden:
        weights = onnx_graph.read(tiny_bundle.model)
        logits, _ = cell.logits(tiny_bundle.tokenizer.encode(golden.text).token_ids, weights)
        assert logits.tolist() == pytest.approx(golden.logits, abs=1e-5)


def test_what_exists_is_not_lost(tiny_bundle_path: Path, reviews_csv: Path) -> None:
    done = train("run", "--data", reviews_csv, "--out", tiny_bundle_path)
    assert done.returncode == 1
    assert "--force replaces it" in done.stderr
    assert "Traceback" not in done.stderr
    bundle.read(tiny_bundle_path)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "training", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"the run ended before it said {words!r}: {process.communicate()[1]}")


def test_killed_and_resumed_is_as_never_killed(
    reviews_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments: tuple[str | Path, ...] = (
        "run",
        "--data",
        reviews_csv,
        "--epochs",
        "8",
        "--seed",
        "5",
        "--device",
        "cpu",
    )
    assert train(*arguments, "--out", tmp_path / "whole").returncode == 0

    # A start that failed has nothing to lose: the corrected one need not be told to.
    assert command(*arguments, "--text-column", "nowhere", "--out", tmp_path / "killed") == 1
    assert "nowhere" in capsys.readouterr().err
    process = start(*arguments, "--out", tmp_path / "killed")
    wait_for(process, "epoch 3/8")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed").exists()
    changed = write_csv(tmp_path / reviews_csv.name, [*made_up_reviews(), ("It broke, too.", "negative")])
    others: list[tuple[list[str | Path], str]] = [
        ([], "--resume goes on with it"),
        (["--seed", "6", "--resume"], "found another --seed: 6, not 5; go on"),
        (["--epochs", "4", "--min-reviews", "2", "--resume"],
         "found another --epochs: 4, not 8; another --min-reviews: 2, not 0; go on"),
        (["--learning-rate", "0.01", "--embedding-size", "8", "--hidden-size", "9", "--dropout", "0.5", "--resume"],
         "found another --learning-rate: 0.01, not 0.003; another --embedding-size: 8, not 64; another --hidden-size: "
         "9, not 64; another --dropout: 0.5, not 0.3 and 0.2; go on"),
        (["--balance", "--right", "0.9", "--resume"],
         "found another --balance: True, not False; another --right: 0.9, not 0.95; go on"),
        (["--data", changed, "--resume"], f"found another --data: {reviews_csv.name} {reviews_csv.name}, not"),
    ]  # fmt: skip
    for other, message in others:
        assert command(*arguments, *other, "--out", tmp_path / "killed") == 1
        assert message in capsys.readouterr().err
    assert command("run", "--data", changed, *arguments[3:], "--resume", "--out", tmp_path / "killed") == 1
    assert f"found changed data in --data {reviews_csv.name}; go on" in capsys.readouterr().err
    moved = write_csv(tmp_path / "moved.csv", made_up_reviews())  # what is read counts, not where it stands
    arguments = ("run", "--data", moved, *arguments[3:])

    resumed = train(*arguments, "--out", tmp_path / "killed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 1/8" not in resumed.stdout
    whole, killed = manifest(tmp_path / "whole"), manifest(tmp_path / "killed")
    assert whole["files"] == killed["files"]  # the very same weights
    assert whole["metrics"] == killed["metrics"]
    assert list((tmp_path / "killed.run").iterdir()) == []
    assert "expected an unfinished run" in train(*arguments, "--out", tmp_path / "new", "--resume").stderr


def test_what_a_person_sets_decides_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rare = [row for number, row in enumerate(made_up_reviews()) if row[1] == "positive" or number % 6 == 0]
    rare += [(f"So so, {number} days.", "mixed") for number in range(4)]
    data, out, wrong = write_csv(tmp_path / "rare.csv", rare), tmp_path / "rare", tmp_path / "wrong.csv"
    sizes = ("--hidden-size", "5", "--embedding-size", "7", "--dropout", "0.4", "--learning-rate", "0.002")
    words = ("--data", data, "--epochs", "2", *sizes, "--right", "0.8", "--misjudged", wrong)
    assert command("run", *words, "--balance", "--out", out) == 0
    told = capsys.readouterr().out
    found = manifest(out)["training"]
    recipe, plan = found["recipe"], found["recipe"]["plan"]
    assert (recipe["hidden_size"], recipe["embedding_size"], plan["epochs"], plan["learning_rate"]) == (5, 7, 2, 0.002)
    assert (recipe["embedding_dropout"], recipe["head_dropout"]) == (0.4, 0.4)
    assert (found["balance"], found["stated_rate"], found["sibling_seeds"]) == (True, 0.8, 0)
    weights = onnx_graph.read((out / "model.onnx").read_bytes())
    assert (weights.embedding.shape[1], weights.forward.recurrence.shape[1]) == (7, 5)
    history = (out / "figures" / "history.csv").read_text().splitlines()
    assert history[0] == "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy"
    assert len(history) == 3
    card, metrics = (out / "README.md").read_text(), manifest(out)["metrics"]
    assert "80% of what is not flagged" in card or "scores 80% on average" in card
    for split, figures in metrics.items():
        for label, of in figures["by_label"].items():
            assert re.search(rf"^\| {label} \| {of['reviews']} \| {of['answers']} \| ", card, re.MULTILINE)
            told_of_split = told.partition(f"\n{split}: accuracy")[2].partition("\ntest: accuracy")[0]
            warned = f"the label {label} is never answered" in told_of_split
            assert warned == (of["reviews"] > 0 == of["answers"]), (split, label)
    missed = sum(round((1 - figures["accuracy"]) * figures["reviews"]) for figures in metrics.values())
    assert f"{wrong}: {missed} misjudged texts" in told
    assert len(list(csv.DictReader(io.StringIO(wrong.read_text("utf-8-sig"))))) == missed

    assert command("evaluate", "--bundle", out, "--data", data, "--misjudged", wrong) == 0
    out_, errors = capsys.readouterr()
    every = json.loads(out_)
    rows = list(csv.DictReader(io.StringIO(wrong.read_text("utf-8-sig"))))
    assert len(rows) == every["reviews"] - round(every["accuracy"] * every["reviews"])
    texts = data.read_text().splitlines()
    for row in rows:
        assert row["split"] == "all"
        assert row["text"] in texts[int(row["place"].removeprefix("rare.csv:")) - 1]
    assert "  positive  " in errors
    assert "texts of each label (a line each), by the label answered:" in errors

    for more, message in (
        (("--from", out, "--hidden-size", "4"), "expected --embedding-size and --hidden-size without --from"),
        (("--misjudged", data), "found another: name a new one"),
    ):
        assert command("run", "--data", data, *more, "--out", tmp_path / "not") == 1
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("not*"))


def test_ctrl_c_keeps_the_best_so_far(reviews_csv: Path, tmp_path: Path) -> None:
    process = start("run", "--data", reviews_csv, "--epochs", "5000", "--preset", "article", "--out", tmp_path / "cut")
    wait_for(process, "epoch 2/5000")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "best epoch so far" in out
    assert (
        out.strip().splitlines()[-1]
        == f"OVATION_MODEL={tmp_path / 'cut'} {os.path.relpath(sys.executable)} -m service serve"
    )
    assert not Classifier(bundle.read(tmp_path / "cut"), "cpu").manifest.evidence


def test_a_warm_start_knows_what_its_bundle_knew(tiny_bundle: Bundle, tmp_path: Path) -> None:
    few = write_csv(tmp_path / "few.csv", made_up_reviews()[::6])
    out = tmp_path / "warm"
    done = train(
        "run", "--data", few, "--from", tiny_bundle.path, "--out", out, "--epochs", "1", "--test-share", "0"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = bundle.read(out)
    assert found.tokenizer.vocabulary == tiny_bundle.tokenizer.vocabulary
    assert "test" not in found.manifest.metrics  # no test rows, no test figures
    card = (out / "README.md").read_text()
    assert "no test reviews" in card
    assert f"--seed 1 --from {tiny_bundle.path.name}` on `few.csv`" in card
    before, after = (onnx_graph.read(one.model) for one in (tiny_bundle, found))
    assert abs(before.embedding - after.embedding).max() < 0.05


def test_a_warm_start_tells_the_sizes_of_its_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    few, out = write_csv(tmp_path / "few.csv", made_up_reviews()[::6]), tmp_path / "warm"
    model = BiLSTM(len(tiny_bundle.tokenizer.vocabulary), 16, 8, 2, "pooled")
    base = other(tiny_bundle, tmp_path / "base", onnx_graph.build(export.arrays(model)))
    assert command("run", "--data", few, "--from", base, "--out", out, "--epochs", "1", "--test-share", "0") == 0
    recipe = manifest(out)["training"]["recipe"]
    assert (recipe["hidden_size"], recipe["embedding_size"], recipe["head"]) == (8, 16, "pooled")
    assert "8 units a direction, embeddings of 16" in (out / "README.md").read_text()


def other(found: Bundle, path: Path, model: bytes) -> Path:
    """A bundle like `found` with another graph."""
    bundle.write(path, found.manifest, model, found.tokenizer.vocabulary)
    return path


@pytest.mark.parametrize("name", ["ngrams", "short_W"])
def test_a_warm_start_from_a_bundle_of_an_older_kind_is_refused_in_a_line(
    name: str, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = onnx.load_from_string(tiny_bundle.model)
    older.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((4, 2), np.float32), name))
    base = other(tiny_bundle, tmp_path / "older", older.SerializeToString())
    few = write_csv(tmp_path / "few.csv", made_up_reviews()[::6])
    for words in (
        ("run", "--data", few, "--from", base, "--out", tmp_path / "warm", "--epochs", "1"),
        ("inspect", "--bundle", base, "--out", tmp_path / "cell.png", "Not bad"),
    ):
        assert command(*words) == 1
        assert re.fullmatch(r"error: expected .*, found a bundle of an older kind.*\n", capsys.readouterr().err)
    assert not (tmp_path / "warm").exists()


def test_three_labels_from_json_lines_with_bad_rows(tmp_path: Path) -> None:
    rows = [*made_up_reviews(), *((f"Day {day} was so-so, I thought.", "mixed") for day in range(60))]
    lines = [json.dumps({"review": text, "stars": label}) for text, label in rows]
    path = tmp_path / "three.jsonl"
    path.write_text("\n".join(["{", *lines, json.dumps({"review": "", "stars": "mixed"})]))
    out = tmp_path / "three"
    done = train(
        "run", "--data", path, "--text-column", "review", "--label-column", "stars", "--out", out, "--epochs", "1"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "left out: invalid JSON: 1 (three.jsonl:1)" in done.stdout
    assert "left out: no text: 1 (three.jsonl:242)" in done.stdout
    assert bundle.read(out).manifest.labels == ("mixed", "negative", "positive")
    [prediction] = Classifier(bundle.read(out), "cpu")(["so-so"], evidence=True)
    assert len(prediction.probabilities) == 3


def test_the_official_layout_and_evaluate(tmp_path: Path) -> None:
    _, archive = write_imdb(tmp_path)
    out = tmp_path / "imdb"
    done = train("run", "--data", archive, "--out", out, "--epochs", "1", "--skip-test")
    assert done.returncode == 0, done.stderr
    assert "test" not in manifest(out)["metrics"]
    for split, count in (("test", 40), ("validation", 4)):
        done = train("evaluate", "--bundle", out, "--data", archive, "--split", split)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["reviews"] == count
        if split == "validation":
            expected = manifest(out)["metrics"]["validation"]
            assert {key: report[key] for key in expected} == expected
    log = (out / "README.md").read_text().split("## Readings of the test split")[1]
    assert log.count("`training evaluate` on aclImdb.tar.gz") == 1


def test_inspect_draws_the_cell(tiny_bundle_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "cell.png"
    done = train("inspect", "--bundle", tiny_bundle_path, "--out", out, "The film was not bad, café!")
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--data", "nowhere.csv", "--out", "x"), "nowhere.csv: expected a file or folder of reviews"),
        (("run", "--data", "nowhere.csv", "--out", "my model"), "expected a folder named in letters, digits"),
        (("evaluate", "--bundle", "nowhere", "--data", "x.csv"), "nowhere/manifest.json: expected a readable file"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", " \n"), "expected a text with at least one visible character, found only white space"),
        (("inspect", "--out", "{}/no/cell.png", "Good."), "no/cell.png: expected a path .*, found: No such file"),
        (
            ("run", "--data", "{}/a.csv", "--out", "{}/a.csv/made"),
            "made.run: expected a path .*, found: Not a directory",
        ),
        (("run", "--data", "{}/a.csv", "--from", "{}/no", "--out", "{}/made"), "no/manifest.json: expected a readable"),
        (("run", "--data", "{}/a.csv", "--validation", "{}/no.csv", "--out", "{}/made"), "no.csv: expected a file"),
        (("run", "--data", "{}/a.csv", "--unlabelled", "{}/no.csv", "--out", "{}/made"), "no.csv: expected a file"),
        (("evaluate", "--bundle", "{}/a.csv", "--data", "{}/a.csv"), "a.csv/manifest.json: expected a readable file"),
    ],
)
def test_paths_and_texts_of_no_use_are_told_in_a_line(
    words: tuple[str, ...], message: str, tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "a.csv", made_up_reviews())
    chosen = ["--bundle", str(tiny_bundle.path)] if words[0] == "inspect" else []
    assert command(words[0], *chosen, *(word.format(tmp_path) for word in words[1:])) == 1
    assert re.match(rf"error: .*{message}.*\n$", capsys.readouterr().err)


@pytest.mark.parametrize("head", ["pooled", "last"])
def test_a_graph_that_differs_from_the_network_is_no_bundle(head: Head) -> None:
    torch.manual_seed(0)
    model = BiLSTM(50, 8, 8, 2, head)
    model.embedding.weight.data.mul_(20)  # or every state would be near 0
    export.round_embedding(model)
    weights = export.arrays(model, 1.5)
    assert export.prove_parity(model, onnx_graph.build(weights), 1.5, 20) < 1e-5
    for array, place in (
        (weights.head["bias"], 0),
        (weights.head["kernel"], (slice(None), 1)),
        (weights.embedding, slice(None)),
        (weights.forward.recurrence, slice(None)),
        (weights.backward.bias, slice(None)),
    ):
        array[place] += 0.1
        with pytest.raises(ParityError, match="no bundle was written"):
            export.prove_parity(model, onnx_graph.build(weights), 1.5, 20)
        array[place] -= 0.1


def test_a_graph_whose_evidence_alone_differs_is_no_bundle() -> None:
    model = BiLSTM(50, 8, 8, 2, "pooled")
    export.round_embedding(model)
    graph = onnx.load_from_string(onnx_graph.build(export.arrays(model)))
    [last] = [node for node in graph.graph.node if "evidence" in node.output]
    last.output[0] = "evidence_halved"
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    graph.graph.node.append(onnx.helper.make_node("Mul", ["evidence_halved", "half"], ["evidence"]))
    onnx.checker.check_model(graph, full_check=True)
    with pytest.raises(ParityError, match="no bundle was written"):
        export.prove_parity(model, graph.SerializeToString(), 1.0, 20)


def test_embeddings_are_stored_in_half_and_the_network_has_the_same() -> None:
    model = BiLSTM(50, 8, 8, 2, "pooled")
    before = model.embedding.weight.detach().clone()
    export.round_embedding(model)
    stored = onnx_graph.read(onnx_graph.build(export.arrays(model))).embedding
    assert stored.dtype == np.float16
    after = model.embedding.weight.detach().numpy()
    assert (stored.astype(np.float32) == after).all()
    np.testing.assert_allclose(after, before.numpy(), rtol=1 / 2048, atol=1e-7)


@pytest.mark.parametrize(("head", "labels"), [("pooled", 3), ("pooled", 2), ("last", 2), ("last", 4)])
def test_a_warm_start_is_the_reverse_of_an_export(head: Head, labels: int) -> None:
    model, other = (BiLSTM(50, 8, 8, labels, head) for _ in range(2))
    export.load_arrays(other, onnx_graph.read(onnx_graph.build(export.arrays(model))))
    assert onnx_graph.build(export.arrays(other)) == onnx_graph.build(export.arrays(model))
