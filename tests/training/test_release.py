"""The command `release`: several data sets and a pretrained encoder in, a bundle with its card out."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service.model import bundle
from service.model.classifier import Classifier
from tests.support.repeatable import stopped_in_the_middle
from tests.training.test_check import command

ROOT = Path(__file__).parents[2]
SOURCES = ["imdb", "sst", "fdu-mtl", "fdu-mtl: books", "fdu-mtl: toys_games"]
pytestmark = [pytest.mark.usefixtures("repeatable"), pytest.mark.timeout(600)]
CAPTURE = pytest.CaptureFixture[str]


def data_sets(data: Path) -> list[str | Path]:
    return ["--data", data / "aclImdb", "--treebank", data / "trees", "--products", data / "fdu"]


def arguments(data: Path, encoder: Path | str, out: Path, *others: str | Path) -> list[str | Path]:
    return ["release", *data_sets(data), "--encoder", encoder, "--device", "cpu", "--out", out, *others]


def done_alone(words: list[str | Path]) -> str:
    """What the command prints in a process of its own, where the very same weights are expected.

    torch.set_num_threads, which tests of parallel_lstm call, changes how MKL adds up in the whole process, and so the
    last bits.
    """
    program = [sys.executable, "-m", "tests.support.repeatable", *map(str, words)]
    return subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def released(repeatable: None, data: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that nobody disturbed; its teacher stands in `reviews.run/teacher`."""
    out = tmp_path_factory.mktemp("models") / "reviews"
    done_alone(arguments(data, tiny_encoder, out, "--siblings", "1"))
    return out


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released, tmp_path / "reviews"))


def manifest(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "manifest.json").read_text()))


def test_a_release_knows_all_its_data_sets(released: Path, tiny_encoder: Path) -> None:
    found = bundle.read(released)
    for split, texts in (("validation", (8, 2, 12)), ("test", (8, 2, 8))):
        metrics = found.manifest.metrics[split]
        assert list(metrics["by_source"]) == SOURCES
        assert tuple(metrics["by_source"][kind]["reviews"] for kind in SOURCES[:3]) == texts
        assert metrics["reviews"] == sum(texts)
        assert set(metrics["by_rating"]) == {"2", "9"}
    training = found.manifest.training
    assert training["encoder"]["teacher"]["encoder"] == tiny_encoder.name
    assert set(training["encoder"]["sources"]) == {"imdb", "treebank", "fdu-mtl"}
    assert [entry["role"] for entry in training["data"]] == ["data", "treebank", "products"]
    assert [one["seed"] for one in training["spread"]] == [1, 2]
    assert training["spread"][0]["validation"] == found.manifest.metrics["validation"]["accuracy"]
    assert {"love", "warm", "awfully"} <= set(found.tokenizer.vocabulary)  # the last is the encoder's alone
    [prediction] = Classifier(found, "cpu")(["I love this film"], evidence=True)
    assert prediction.evidence is not None


def test_its_card_names_what_it_was_made_of(released: Path, tiny_encoder: Path) -> None:
    card = (released / "README.md").read_text()
    for name in ("Large Movie Review Dataset", "Stanford Sentiment Treebank", "FDU-MTL", f"`{tiny_encoder.name}`"):
        assert name in card.split("## Figures")[0]
    assert "\n## By data set\n" in card
    assert re.search(r"\n\| neutral texts flagged \| \d+\.\d% of 1 \| ", card)
    training = json.loads((released / "manifest.json").read_text())["training"]
    assert "`python -m training release --siblings 1 --seed 1` on " in card
    assert f": {training['recipe']['mixing']['first']['epochs']} and {training['epochs']} epochs, " in card
    for source in SOURCES:
        assert f"\n| {source} | " in card
    log = card.split("## Readings of the test split")[1]
    assert "preset release, seed 1" in log
    assert "for the spread over seeds only, seed 2" in log
    for picture in ("curves", "reliability", "coverage", "evidence"):
        assert (released / "figures" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    assert any(line.startswith(words) for line in process.stdout), process.communicate()[1]


def test_killed_in_any_stage_it_ends_as_if_it_had_not_been(
    released: Path, data: Path, tiny_encoder: Path, tmp_path: Path, capsys: CAPTURE
) -> None:
    out = tmp_path / "reviews"
    words = arguments(data, tiny_encoder, out, "--siblings", "1")
    with stopped_in_the_middle():
        assert command(*words) == 143
    assert "fit: stopped and saved at step 3" in capsys.readouterr().err
    assert not (out.with_name("reviews.run") / "teacher" / "teacher").exists()
    program = [sys.executable, "-u", "-m", "tests.support.repeatable", *map(str, words), "--resume"]
    for stage in ("first-network: epoch 1/", "network: epoch 1/", "measuring"):
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        wait_for(process, stage)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not out.exists()
    capsys.readouterr()
    assert command(*words, "--resume") == 0
    told = capsys.readouterr().out
    assert "epoch" not in told  # every stage had ended
    assert "is there already" in told
    whole, killed = manifest(released), manifest(out)
    assert whole["files"]["model.onnx"] == killed["files"]["model.onnx"]  # the very same weights
    assert whole["metrics"] == killed["metrics"]
    assert whole["training"]["spread"] == killed["training"]["spread"]
    kept = [path.name for path in out.with_name("reviews.run").iterdir()]
    assert kept == ["teacher"]  # which another release may use again


def test_other_options_do_not_go_on_with_it(data: Path, tiny_encoder: Path, tmp_path: Path, capsys: CAPTURE) -> None:
    out = tmp_path / "reviews"
    with stopped_in_the_middle():
        assert command(*arguments(data, tiny_encoder, out)) == 143
    capsys.readouterr()
    for others, message in (
        (["--leave-out", "books"], "found another --leave-out: books, not none; go on"),
        (["--seed", "3"], "found another --seed: 3, not 1; go on"),
        (["--products", data / "trees"], "found another --products: trees, not fdu; go on"),
    ):
        assert command(*arguments(data, tiny_encoder, out), *others, "--resume") == 1
        assert message in capsys.readouterr().err


def test_a_teacher_is_used_again(released: Path, data: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    teacher = released.with_name("reviews.run") / "teacher"
    words = arguments(data, tiny_encoder, tmp_path / "reviews", "--teacher", teacher, "--siblings", "0", "--skip-test")
    assert "teacher is there already" in " ".join(done_alone(words).split())
    assert manifest(tmp_path / "reviews")["files"]["model.onnx"] == manifest(released)["files"]["model.onnx"]
    assert list(manifest(tmp_path / "reviews")["metrics"]) == ["validation"]


def test_without_an_encoder_a_linear_teacher_teaches_and_a_domain_is_left_out(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "reviews"
    assert command(*arguments(data, "none", out, "--leave-out", "books", "--siblings", "0")) == 0
    training = manifest(out)["training"]
    assert training["left_out"] == ["books"]
    assert "encoder" not in training
    assert list(training["ladder"]) == ["linear teacher", "network"]
    for metrics in manifest(out)["metrics"].values():
        assert list(metrics["by_source"]) == ["imdb", "sst", "fdu-mtl", "fdu-mtl: toys_games"]
    assert training["reviews"]["fdu-mtl: reviews of domains left out"] == 70
    vocabulary = bundle.read(out).tokenizer.vocabulary
    assert "toys" in vocabulary
    assert "books" not in vocabulary
    assert command("report", "--bundle", out, *data_sets(data)) == 0  # leaves the domain out, too
    assert list(measured(out)["validation"]["figures"]["by_source"]) == list(metrics["by_source"])


def measured(folder: Path) -> dict[str, Any]:
    """What `report.json` holds by split, without the times that it took."""
    splits: dict[str, Any] = json.loads((folder / "figures" / "report.json").read_text())["splits"]
    for split in splits.values():
        for of_kind in split["evidence"].values():
            for order in of_kind["orders"].values():
                del order["seconds_a_text"]
    return splits


def test_report_renews_the_card(copy: Path, data: Path) -> None:
    before, text = measured(copy), (copy / "README.md").read_text()
    (copy / "README.md").write_text(text.replace("## By data set", "## gone"))
    (copy / "figures" / "report.json").unlink()
    unread = json.loads((copy / "manifest.json").read_text())
    tested = unread["metrics"].pop("test")  # as --skip-test leaves it
    unread["metrics"]["validation"]["accuracy"] = 0.5  # of another machine, say: what it tells stays
    (copy / "manifest.json").write_text(json.dumps(unread))
    assert command("report", "--bundle", copy, *data_sets(data), "--split", "test") == 0
    unread["metrics"]["test"] = tested
    assert json.loads((copy / "manifest.json").read_text()) == unread
    assert measured(copy) == before
    again = (copy / "README.md").read_text()
    for source in SOURCES:
        assert f"\n| {source} | " in again.split("## By data set")[1]
    assert again.count("`training report` on aclImdb") == 1
    assert again.count("for the spread over seeds only, seed 2") == 1  # no reading was lost
