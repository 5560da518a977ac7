"""Training from Python."""

import json
import re
import shutil
from pathlib import Path

import pytest

from service.model import bundle
from tests.conftest import made_up_reviews
from training.api import train
from training.data.sources import DataError
from training.recipe.tuning import Tuning

README = Path(__file__).parents[2] / "README.md"


def test_the_example_of_the_readme(
    reviews_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    [code] = [block for block in blocks if "training.api" in block]
    assert len([line for line in code.splitlines() if line]) <= 10
    shutil.copy(reviews_csv, tmp_path / "reviews.csv")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, README.name, "exec"), {})
    told = capsys.readouterr().out.splitlines()
    made = bundle.read(tmp_path / "models" / "mine")
    assert told[-2] == f"{made.name} {made.manifest.metrics['test']['accuracy_interval_95']}"
    assert re.fullmatch(r"(negative|positive) (0\.\d+|1\.0)", told[-1])


def test_what_is_in_memory_is_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews = [(text, int(label == "positive")) for text, label in made_up_reviews()[::3]]
    made = train([*reviews, (" \n", 1)], tmp_path / "made", tuning=Tuning(epochs=1), test_share=0, quiet=True)
    assert capsys.readouterr() == ("", "")
    assert made.name == bundle.read(tmp_path / "made").name
    assert made.manifest.labels == ("0", "1")
    assert made.manifest.training["reviews"]["bad rows: no text"] == 1
    assert list(made.manifest.metrics) == ["validation"]
    assert not re.search("/tmp|" + re.escape(str(tmp_path)), json.dumps(made.manifest.training))
    with pytest.raises(DataError, match="expected reviews of at least two labels, found 1: 1"):
        train([("Fine.", 1)], tmp_path / "other", quiet=True)
