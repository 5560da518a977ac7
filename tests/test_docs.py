"""What is written is true."""

import json
import re
import tomllib
from pathlib import Path

import click
import pytest
from pydantic_core import PydanticUndefined

import service
from service.__main__ import main as service_main
from service.api import schemas
from service.model import bundle
from service.model.classifier import Classifier
from service.settings import Settings
from training.__main__ import main as training_main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_FOLDERS = ("service", "training", "deploy", "benchmarks")
PAGES = [README, *((ROOT / name / "README.md").read_text(encoding="utf-8") for name in _FOLDERS)]


def test_the_settings_table_is_the_settings() -> None:
    section = README.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `OVATION_(\w+)` \| (.*?) \| (.*?) \|$", section, re.MULTILINE)
    expected = []
    for name, field in Settings.model_fields.items():
        assert field.default is not PydanticUndefined
        expected.append((name.upper(), f"`{field.default}`", field.description))
    assert rows == expected


def test_compose_passes_every_setting_on() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    passed = re.findall(r"^    OVATION_(\w+):", compose, re.MULTILINE)
    # The image and the published port decide the others.
    assert {name.lower() for name in passed} >= Settings.model_fields.keys() - {"host", "port", "provider"}


def test_compose_waits_for_the_longest_drain_by_default() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    patience = re.search(r"stop_grace_period: \$\{OVATION_STOP_GRACE_PERIOD:-(\d+)s\}", compose)
    assert patience
    settings = Settings.model_fields
    assert int(patience[1]) > settings["pre_stop_seconds"].default + settings["grace_seconds"].default + 2


def test_the_commands_exist() -> None:
    commands = re.findall(r"(python -m service|python -m training|bin/ovation) (\w+)([^\n`#]*)", "\n".join(PAGES))
    assert len(commands) >= 8
    for package, name, rest in commands:
        group = training_main if package == "python -m training" else service_main
        command = group.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (package, name, rest)
        assert isinstance(command, click.Command)


def test_the_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", "\n".join(PAGES), re.MULTILINE)) <= targets


def test_the_changelog_names_this_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert newest[1] == service.__version__


def test_both_runtimes_have_the_same_version() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["cpu"][0].split("==")[1] == extras["cuda"][0].split("==")[1]
    for name in ("cpu", "cuda"):
        lock = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert extras[name][0] in lock
        assert "--hash=sha256:" in lock
        assert "://" not in lock


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier(bundle.read(ROOT / "models" / "imdb-bilstm"), "cpu")


def test_the_first_answer_of_the_readme_is_what_is_answered(shipped: Classifier) -> None:
    text = re.search(r"""-d '(\{"text": .*?\})'""", README)
    answer = re.search(r"^(\{\"label\".*\})$", README, re.MULTILINE)
    assert text
    assert answer
    printed = schemas.Prediction.model_validate_json(answer[1], strict=True)
    [expected] = shipped([json.loads(text[1])["text"]])
    assert (printed.label, printed.tokens, printed.model) == (expected.label, expected.tokens, shipped.name)
    assert printed.score == pytest.approx(expected.score, abs=1e-3)


def test_the_evidence_of_the_readme_is_what_is_answered(shipped: Classifier) -> None:
    text = re.search(r'`\{"text": "(.*?)",\s+"evidence": true\}`', README)
    answer = re.search(r'^ *"evidence":(\{.*\})$', README, re.MULTILINE)
    assert text
    assert answer
    printed = schemas.Evidence.model_validate_json(answer[1], strict=True)
    [expected] = shipped([text[1]], evidence=True)
    assert expected.evidence is not None
    assert [(token.start, token.end) for token in printed.tokens] == [span[:2] for span in expected.evidence.tokens]
    found = [printed.bias, *(token.weight for token in printed.tokens)]
    bare = [expected.evidence.bias, *(span[2] for span in expected.evidence.tokens)]
    assert found == pytest.approx(bare, abs=1e-3)


def test_the_bundle_that_ships(shipped: Classifier) -> None:
    joy, flat = shipped(["An absolute joy from start to finish.", "The plot drags and every joke falls flat."])
    assert (joy.label, flat.label) == ("positive", "negative")
    size = sum(path.stat().st_size for path in shipped.bundle.path.rglob("*") if path.is_file())
    assert size < 20e6
    metrics = shipped.manifest.metrics["test"]
    card = (shipped.bundle.path / "README.md").read_text(encoding="utf-8")
    for page in (README, card):
        assert f"{metrics['accuracy']:.2%}" in page
    assert f"{metrics['expected_calibration_error']:.2%}" in README


def test_the_bundle_format_in_the_readme_names_every_field() -> None:
    for name in bundle.Manifest.model_fields:
        assert f"`{name}`" in README, name
