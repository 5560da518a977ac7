"""The training command, as a person types it."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.model import bundle, cell
from service.model.bundle import Bundle
from service.model.classifier import Classifier
from tests.conftest import made_up_reviews, train, write_csv
from tests.training.data.test_sources import write_imdb
from tests.training.test_check import command
from training.network.bilstm import BiLSTM
from training.options import Options
from training.recipe import short_reader
from training.recipe.recipes import PRESETS
from training.release import export, onnx_graph
from training.release.export import ParityError


def manifest(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "manifest.json").read_text()))


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
    assert list((tmp_path / "killed.run").iterdir()) == [tmp_path / "killed.run" / "draft"]
    assert "expected an unfinished run" in train(*arguments, "--out", tmp_path / "new", "--resume").stderr


@pytest.mark.timeout(600)
def test_a_release_killed_in_every_stage_is_as_never_killed(tmp_path: Path) -> None:
    _, archive = write_imdb(tmp_path, count=40)
    arguments = ("release", "--data", archive, "--siblings", "1", "--device", "cpu")
    done = train(*arguments, "--out", tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    plan, _, rest = done.stdout.partition("in all about")
    for stage in (
        "language-model",
        "deep-teacher: 3 epochs of .* 2 times",
        "network: 2 epochs of .* 2 times",
        "short-lessons: 1 epochs of .* 2 times",
        "short-reader: 1 epochs of .* 2 times",
    ):
        assert re.search(stage, plan)
    assert "linear-teacher" in rest  # the plan stood first

    resume: tuple[str, ...] = ()
    stages = (
        "linear-teacher: right",
        "language-model: epoch 2/6",
        "deep-teacher: epoch 1/3",
        "deep-teacher-2: epoch 1/3",
        "network: epoch 1/2",
        "short-lessons: epoch 1/1",
        "short-reader: epoch 1/1",
        "network-2: epoch 1/2",
        "short-lessons-2: epoch 1/1",
        "short-reader-2: epoch 1/1",
        "measuring",
    )
    for words in stages:
        process = start(*arguments, "--out", tmp_path / "killed", *resume)
        wait_for(process, words)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "killed").exists()
        resume = ("--resume",)
    done = train(*arguments, "--out", tmp_path / "killed", "--resume")
    assert done.returncode == 0, done.stderr
    assert "linear-teacher" not in done.stdout
    assert "epoch" not in done.stdout  # every stage had ended
    whole, killed = manifest(tmp_path / "whole"), manifest(tmp_path / "killed")
    assert whole["files"]["model.onnx"] == killed["files"]["model.onnx"]  # the very same weights
    assert whole["metrics"] == killed["metrics"]
    assert whole["training"]["spread"] == killed["training"]["spread"]
    assert whole["training"]["ladder"] == killed["training"]["ladder"]
    ladder = whole["training"]["ladder"]
    assert ladder["deep teacher"] != ladder["deep teacher 2"]
    assert list(ladder) == [*("linear teacher", "deep teacher", "deep teacher 2", "all teachers", "network")]
    assert (tmp_path / "killed" / "figures" / "ladder.png").read_bytes().startswith(b"\x89PNG")
    assert [found["seed"] for found in whole["training"]["spread"]] == [1, 2]
    machines = killed["training"]["machines"]
    assert list(machines) == [
        *("deep-teacher-2", "deep-teacher", "language-model", "network-2", "network"),
        *("short-lessons-2", "short-lessons", "short-reader-2", "short-reader"),
    ]
    for [machine] in machines.values():
        assert re.fullmatch(r"\d+ CPU threads in (bf16|fp32)", machine)
    card = (tmp_path / "killed" / "README.md").read_text()
    assert f" minutes on {machine}, source" in card
    assert "Texts of up to 40 tokens are read by a second LSTM, too, trained on short texts alone (64 units" in card
    assert "70% of their logits are its own; from there to 80 tokens it gives way" in card
    assert "for the spread over seeds only, seed 2" in card.split("## Readings of the test split")[1]
    assert list((tmp_path / "killed.run").iterdir()) == [tmp_path / "killed.run" / "draft"]


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


def test_a_warm_start_tells_the_sizes_of_its_bundle(tmp_path: Path) -> None:
    few, out = write_csv(tmp_path / "few.csv", made_up_reviews()[::6]), tmp_path / "warm"
    shipped = Path(__file__).parents[2] / "models" / "imdb-bilstm"
    done = train("run", "--data", few, "--from", shipped, "--out", out, "--epochs", "1", "--test-share", "0")
    assert done.returncode == 0, done.stderr
    assert "the short reader of the bundle to start from stays behind" in " ".join(done.stdout.split())
    recipe = manifest(out)["training"]["recipe"]
    assert (recipe["hidden_size"], recipe["embedding_size"], recipe["ngram_buckets"]) == (48, 64, 2**18)
    card = (out / "README.md").read_text()
    assert "48 units a direction, embeddings of 64" in card
    assert "a table of 262,144 hashed pairs" in card
    assert "a second LSTM" not in card


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


@pytest.mark.parametrize("short_tokens", [0, 12])
def test_a_graph_that_differs_from_the_network_is_no_bundle(short_tokens: int) -> None:
    model = BiLSTM(50, 8, 8, 2, "pooled", ngram_buckets=30, short_tokens=short_tokens)
    model.ngrams.weight.data.normal_()
    weights = export.arrays(model, 1.5)
    assert export.prove_parity(model, onnx_graph.build(weights), 1.5, 20) < 1e-5
    with pytest.raises(ParityError, match="no bundle was written"):
        export.prove_parity(model, onnx_graph.build(replace(weights, short_tokens=short_tokens + 4)), 1.5, 20)
    ngrams = weights.ngrams
    assert ngrams is not None
    for array, places in ((weights.head["bias"], 0), (ngrams, slice(None))):
        array[places] += 0.01
        with pytest.raises(ParityError, match="no bundle was written"):
            export.prove_parity(model, onnx_graph.build(weights), 1.5, 20)
        array[places] -= 0.01


def test_both_readers_are_proven_and_read_back() -> None:
    model = BiLSTM(50, 8, 8, 2, "pooled", ngram_buckets=30, short_tokens=12)
    model.ngrams.weight.data.normal_()
    model.short, model.short_weight = BiLSTM(50, 6, 4, 2, "pooled"), 0.75
    model.short.embedding.weight.data.copy_(model.short.embedding.weight.half())
    model.short.output.bias.data.copy_(model.output.bias.data)
    weights = export.arrays(model, 1.5)
    graph = onnx_graph.build(weights)
    assert export.prove_parity(model, graph, 1.5, 40) < 1e-5
    assert onnx_graph.build(onnx_graph.read(graph)) == graph
    assert weights.short is not None
    for wrong in (
        replace(weights, short=None),
        replace(weights, short_tokens=11),
        replace(weights, short_weight=0.74),
    ):
        with pytest.raises(ParityError, match="no bundle was written"):
            export.prove_parity(model, onnx_graph.build(wrong), 1.5, 40)
    weights.short.backward.bias[0] += 0.5
    with pytest.raises(ParityError, match="no bundle was written"):
        export.prove_parity(model, onnx_graph.build(weights), 1.5, 40)


def test_who_trains_a_short_reader() -> None:
    options = Options("release", PRESETS["release"], (), Path("made"))
    assert short_reader.wanted(options, ("positive", "negative")) == PRESETS["release"].short_reader
    assert short_reader.wanted(options, ("good", "bad")) is None
    assert short_reader.wanted(replace(options, warm_start=Path("other")), ("positive", "negative")) is None
    assert short_reader.wanted(replace(options, preset=PRESETS["base"]), ("positive", "negative")) is None


def test_a_warm_start_leaves_the_short_reader_behind() -> None:
    model = BiLSTM(50, 8, 8, 2, "pooled", short_tokens=12)
    model.short = BiLSTM(50, 6, 4, 2, "pooled")
    other = BiLSTM(50, 8, 8, 2, "pooled")
    export.load_arrays(other, onnx_graph.read(onnx_graph.build(export.arrays(model))))
    assert other.short is None
    assert (other.output.weight == model.output.weight).all()


def test_what_older_graphs_do_not_say_is_as_it_was_with_them() -> None:
    def older(model: BiLSTM, unsaid: str) -> cell.Network:
        graph = onnx.load_from_string(onnx_graph.build(export.arrays(model)))
        kept = [tensor for tensor in graph.graph.initializer if tensor.name != unsaid]
        del graph.graph.initializer[:]
        graph.graph.initializer.extend(kept)
        return onnx_graph.read(graph.SerializeToString())

    model = BiLSTM(50, 8, 8, 2, "pooled", ngram_buckets=30, short_tokens=12)
    assert older(model, "short_tokens").short_tokens == 0  # n-grams count in full
    model.short, model.short_weight = BiLSTM(50, 6, 4, 2, "pooled"), 0.75
    model.short.output.bias.data.copy_(model.output.bias.data)
    found, text = older(model, "short_weight"), np.arange(2, 14, dtype=np.int32)
    assert found.short is not None
    assert np.array_equal(cell.logits(text, found)[0], cell.logits(text, found.short)[0])  # it alone answers


def test_a_warm_start_is_the_reverse_of_an_export() -> None:
    for head, labels, buckets in (("pooled", 3, 0), ("pooled", 2, 30), ("last", 2, 0), ("last", 4, 0)):
        model, other = (BiLSTM(50, 8, 8, labels, head, ngram_buckets=buckets) for _ in range(2))  # type: ignore[arg-type]
        model.short_tokens = 9 if buckets else 0  # of the table: how it was trained
        if buckets:
            model.ngrams.weight.data.normal_()
        export.load_arrays(other, onnx_graph.read(onnx_graph.build(export.arrays(model))))
        assert onnx_graph.build(export.arrays(other)) == onnx_graph.build(export.arrays(model))
