"""What the pages say is true: settings, commands, links, examples, figures, formats."""

import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic_core import PydanticUndefined

import service
from benchmarks import results
from service.__main__ import main as service_main
from service.model import bundle
from service.model.classifier import Classifier
from service.settings import Settings
from tests.support.server import client_of, make_app
from tests.support.stream import NDJSON
from training.__main__ import main as training_main
from training.recipe.recipes import PRESETS
from training.release import card

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "reviews-bilstm"
_PLACES = (
    *("*.md", "docs/*.md", "service/*.md", "training/*.md", "benchmarks/*.md", "benchmarks/results/*.md"),
    *("deploy/**/*.md", "models/reviews-bilstm/*.md"),
)
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in _PLACES
    for path in sorted(ROOT.glob(pattern))
}
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
# What a reader makes; all else that a command names stands in the repository.
_OF_THE_READER = ("models/mine", "models/warm")
_FOLDERS = ("service", "training", "benchmarks", "tests", "deploy", "docs", "models", "requirements")
_REPOSITORY_PATH = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[\w./-]+")


def prose(page: str) -> str:
    """`page` without its fenced blocks."""
    return _FENCED.sub("", page)


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of all table rows under `heading`, up to the next heading of the same level or above."""
    level = len(heading.split()[0])
    part = f"\n{prose(page)}".partition(f"\n{heading}\n")[2]
    part = re.split(rf"^#{{1,{level}}} ", part, maxsplit=1, flags=re.MULTILINE)[0]
    lines = re.findall(r"^\| ?(.*?) ?\|$", part, re.MULTILINE)
    return [[cell.strip() for cell in re.split(r" ?\| ?", line)] for line in lines if not re.match(r"[-: |]+$", line)]


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command in the fenced `sh` blocks of `page`, and of each in its prose."""
    lines = [
        line
        for language, block in _FENCED.findall(page)
        if language == "sh"
        for line in block.replace("\\\n", " ").splitlines()
    ]
    starts = r"(?:[A-Z_]+=\S+ )*(?:(?:\.venv/bin/)?(?:python -m|ovation)|make|docker|pip) "
    lines += [code for code in _INLINE.findall(prose(page)) if re.match(starts, code)]
    for line in lines:
        if words := shlex.split(re.sub(r"<[^<>]+>", "VALUE", line), comments=True):
            yield words


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings of `page`."""
    counts, found = Counter[str](), set()
    for heading in re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{counts[slug]}" if counts[slug] else slug)
        counts[slug] += 1
    return found


# Settings and formats


def test_the_settings_table_is_the_settings() -> None:
    expected = []
    for name, field in Settings.model_fields.items():
        assert field.default is not PydanticUndefined
        expected.append([f"`OVATION_{name.upper()}`", f"`{field.default}`", field.description])
    assert rows(PAGES["docs/settings.md"], "## Settings")[1:] == expected


def test_compose_passes_every_setting_on() -> None:
    passed = re.findall(r"^    OVATION_(\w+):", COMPOSE, re.MULTILINE)
    # The image and the published port decide the others.
    assert {name.lower() for name in passed} >= Settings.model_fields.keys() - {"host", "port", "provider"}


def test_the_table_of_compose_is_of_compose() -> None:
    for names, defaults, _ in rows(PAGES["docs/docker.md"], "## Compose")[1:]:
        for name, default in zip(_INLINE.findall(names), _INLINE.findall(defaults), strict=False):
            assert f"${{{name}:-{default}}}" in COMPOSE


def test_compose_waits_for_the_longest_drain_by_default() -> None:
    patience = re.search(r"stop_grace_period: \$\{OVATION_STOP_GRACE_PERIOD:-(\d+)s\}", COMPOSE)
    assert patience
    settings = Settings.model_fields
    assert int(patience[1]) > settings["pre_stop_seconds"].default + settings["grace_seconds"].default + 2


def test_the_bundle_format_is_the_manifest() -> None:
    fields = [_INLINE.findall(row[0])[0] for row in rows(PAGES["docs/bundle.md"], "## `manifest.json`")[1:]]
    assert fields == list(bundle.Manifest.model_fields)


def test_the_tables_of_commands_are_complete() -> None:
    told = [re.findall(r"`ovation (\w+)", row[0]) for row in rows(PAGES["docs/settings.md"], "## Install and start")]
    assert {name for names in told for name in names} == set(service_main.commands)
    targets = [re.findall(r"`make ([\w-]+)`", row[0]) for row in rows(PAGES["CONTRIBUTING.md"], "# Contributing")]
    assert {name for names in targets for name in names} == TARGETS
    sections = [_INLINE.findall(row[0]) for row in rows(PAGES["benchmarks/README.md"], "## Commands")]
    assert {name for names in sections for name in names} >= set(results.SECTIONS)
    presets = [_INLINE.findall(row[0])[:1] for row in rows(PAGES["docs/training.md"], "## Presets")]
    assert {name for names in presets for name in names} == set(PRESETS)


def test_the_cell_for_learners_is_the_cell() -> None:
    [code] = [block for language, block in _FENCED.findall(PAGES["docs/learn.md"]) if language == "python"]
    lines = [line.strip() for line in (ROOT / "service/model/cell.py").read_text(encoding="utf-8").splitlines()]
    assert set(code.splitlines()) <= set(lines)


def test_how_a_run_flows_names_every_module() -> None:
    named = {name.split("/")[-1] for name in _INLINE.findall(prose(PAGES["training/README.md"]))}
    named |= {name.removesuffix(".py") for name in named}
    for path in (ROOT / "training").rglob("*.py"):
        assert path.stem in named | {"__init__"}, path


def test_the_changelog_names_this_version() -> None:
    newest = re.search(r"^## (\d\S+)", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert newest
    assert newest[1] == service.__version__


def test_both_runtimes_have_the_same_version() -> None:
    assert EXTRAS["cpu"][0].split("==")[1] == EXTRAS["cuda"][0].split("==")[1]
    for name in ("cpu", "cuda"):
        lock = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert EXTRAS[name][0] in lock
        assert "--hash=sha256:" in lock
        assert "://" not in lock


# Links and commands


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    for link in re.findall(r"\]\(([^()\s]+)\)", _INLINE.sub("`code`", prose(PAGES[name]))):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent.joinpath(path).resolve() if path else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(PAGES[target.relative_to(ROOT).as_posix()]), link


@pytest.mark.parametrize("name", PAGES)
def test_files_that_are_named_exist(name: str) -> None:
    named = {code for code in _INLINE.findall(prose(PAGES[name])) if _REPOSITORY_PATH.fullmatch(code)}
    named |= {word for words in commands(PAGES[name]) for word in words if _REPOSITORY_PATH.fullmatch(word)}
    for path in named - set(_OF_THE_READER):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name: str) -> None:
    for words in commands(PAGES[name]):
        check_command(words)


def test_most_pages_have_commands() -> None:
    assert sum(any(True for _ in commands(page)) for page in PAGES.values()) >= 10


def check_command(words: list[str]) -> None:
    """Fails unless what `words` run exists, with these options; a program that is not known here fails, too."""
    while assigned := re.match(r"([A-Z_]+)=", words[0]):
        assert is_variable(assigned[1]), words
        words = words[1:]
    program, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    match program:
        case "make":
            variables = {word.partition("=")[0] for word in rest if "=" in word}
            assert {word for word in rest if "=" not in word} <= TARGETS, words
            assert all(f"$({name})" in MAKEFILE or f"$(or $({name})" in MAKEFILE for name in variables), words
        case "ovation":
            check_options(service_main, rest)
        case "python" if rest[:2] == ["-m", "pip"]:
            check_pip(rest[2:])
        case "python":
            assert rest[0] == "-m", words
            check_options(click_command(rest[1]), rest[2:])
        case "pip":
            check_pip(rest)
        case "docker":
            check_docker(rest)
        case "kubectl" | "helm" | "ray":  # others' programs: of what they are told, `test_files_that_are_named_exist`
            pass
        case "curl":  # see `test_examples_are_answered_so`
            pass
        case _:
            pytest.fail(f"no check of {program}: {words}")


def is_variable(name: str) -> bool:
    setting = name.removeprefix("OVATION_").lower()
    return f"${{{name}:-" in COMPOSE or f"{name}:" in COMPOSE or setting in Settings.model_fields


def click_command(module: str) -> click.Command:
    """The command that `python -m module` runs."""
    if module in ("service", "training"):
        return service_main if module == "service" else training_main
    found = find_spec(module)
    assert found, module
    is_package = found.submodule_search_locations is not None
    command = import_module(f"{module}.__main__" if is_package else module).main
    assert isinstance(command, click.Command)
    return command


def check_options(command: click.Command, words: list[str]) -> None:
    """Fails where `command` lacks an option, a subcommand or a choice that `words` name."""
    if isinstance(command, click.Group):
        if words and not words[0].isupper():  # else a placeholder
            check_options(command.commands[words[0]], words[1:])
        return
    options = {name: param for param in command.params for name in param.opts if isinstance(param, click.Option)}
    arguments = [param for param in command.params if isinstance(param, click.Argument)]
    given: list[tuple[click.Parameter, str]] = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if word == "--help":
            continue
        if word == "--":  # arguments alone follow
            break
        if word.startswith("--"):
            name, _, value = word.partition("=")
            option = options[name]
            if not option.is_flag:
                given.append((option, value or remaining.pop(0)))
        else:
            assert arguments, (command.name, word)
            given.append((arguments[0], word))
    for parameter, value in given:
        if isinstance(parameter.type, click.Choice):
            assert value in parameter.type.choices, (command.name, parameter.name, value)


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    for word in words[1:]:
        if extra := re.fullmatch(r"\.\[(\w+)\]", word):
            assert extra[1] in EXTRAS
        else:
            assert word in ("--require-hashes", "-r") or (ROOT / word).exists(), word


def check_docker(words: list[str]) -> None:
    """Targets, build arguments, services and profiles."""
    assert words[0] in ("build", "run", "stop", "compose"), words
    following = dict(pairwise(words))
    if target := following.get("--target"):
        assert re.search(rf"^FROM \S+ AS {target}$", DOCKERFILE, re.MULTILINE)
    for argument in [word for before, word in pairwise(words) if before == "--build-arg"]:
        assert re.search(rf"^ARG .*\b{argument.partition('=')[0]}\b", DOCKERFILE, re.MULTILINE), argument
    if words[0] == "compose":
        if profile := following.get("--profile"):
            assert f"profiles: [{profile}]" in COMPOSE
        if "train" in words and "run" in words:
            check_options(training_main, words[words.index("train") + 1 :])
        elif words[-1] not in ("up", "build"):
            assert re.search(rf"^  {words[-1]}:$", COMPOSE, re.MULTILINE), words
    if words[0] == "run" and "ovation" in words and (rest := words[words.index("ovation") + 1 :]):
        check_options(service_main, rest)


# Examples and figures


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier(bundle.read(MODEL), "cpu")


@pytest.mark.anyio
async def test_examples_are_answered_so(shipped: Classifier) -> None:
    """Every `curl` that sends a body has its answer in the block that follows."""
    count = 0
    async with client_of(make_app(shipped)) as client:
        for page in PAGES.values():
            blocks = [("", ""), *_FENCED.findall(page)]
            for (_, before), (language, block), (_, printed) in zip(blocks, blocks[1:], blocks[2:], strict=False):
                if language != "sh" or not block.startswith("curl"):
                    continue
                if NDJSON in block:
                    if "-T reviews.ndjson" in block:
                        answer = await client.post("/predict/stream", content=before, headers={"Content-Type": NDJSON})
                        for told, line in zip(printed.splitlines(), answer.text.splitlines(), strict=True):
                            check_same(json.loads(told), json.loads(line))
                    continue
                _, url, *options = shlex.split(block.replace("\\\n", " "))
                assert options[:3] == ["-H", "Content-Type: application/json", "-d"]
                assert url.startswith("http://127.0.0.1:8000/")
                sent = {"content": options[3], "headers": {"Content-Type": "application/json"}}
                answer = await client.post(url.removeprefix("http://127.0.0.1:8000"), **sent)  # type: ignore[arg-type]
                check_same(json.loads(printed), answer.json())
                count += 1
    assert count >= 5


def check_same(printed: Any, answered: Any) -> None:
    """The same keys in the same order; floats may differ in the last digits from one processor to another."""
    assert type(printed) is type(answered)
    if isinstance(printed, dict):
        assert list(printed) == list(answered)
        for key in printed.keys() - {"request_id"}:
            check_same(printed[key], answered[key])
    elif isinstance(printed, list):
        assert len(printed) == len(answered)
        for one, other in zip(printed, answered, strict=True):
            check_same(one, other)
    else:
        assert printed == (pytest.approx(answered, abs=1e-3) if isinstance(printed, float) else answered)


@pytest.mark.anyio
async def test_the_tables_of_the_api_are_of_the_api(shipped: Classifier) -> None:
    async with client_of(make_app(shipped)) as client:
        paths = (await client.get("/openapi.json")).json()["paths"]
        told = {
            path
            for row in rows(PAGES["docs/api.md"], "# The API")
            for path in re.findall(r"[ `](/[\w/.{}]*)`", " ".join(row))
        }
        assert told == {*paths, "/", "/docs", "/openapi.json"}
        named = dict(zip(("model", "version"), shipped.name.split("@"), strict=True))
        for path in told:
            assert (await client.get(path.format(**named))).status_code in (200, 405), path
    errors = {(row[0], _INLINE.findall(row[1])[0]) for row in rows(PAGES["docs/api.md"], "## Errors")[1:]}
    documented = {
        (status, kind)
        for methods in paths.values()
        for method in methods.values()
        for status, response in method["responses"].items()
        if int(status) >= 400
        for content in response["content"].values()
        for kind in content["examples"]
    }
    elsewhere = {("404", "not_found"), ("405", "method_not_allowed"), ("401", "unauthorized"), ("429", "rate_limited")}
    elsewhere |= {("421", "unknown_host"), ("403", "forbidden"), ("409", "change_refused")}
    assert errors == documented | elsewhere
    fields = {name for row in rows(PAGES["docs/api.md"], "## One text")[1:] for name in _INLINE.findall(row[0])}
    answer = json.loads(_FENCED.findall(PAGES["docs/api.md"])[1][1])
    assert fields == {*answer, "evidence", "mixed", "sentences"}


def test_the_bundle_that_ships(shipped: Classifier) -> None:
    joy, flat = shipped(["An absolute joy from start to finish.", "The plot drags and every joke falls flat."])
    assert (joy.label, flat.label) == ("positive", "negative")
    size = sum(path.stat().st_size for path in MODEL.rglob("*") if path.is_file())
    assert size < 20e6


def test_the_card_is_of_the_bundle(shipped: Classifier) -> None:
    measured = json.loads((MODEL / "figures" / "report.json").read_text(encoding="utf-8"))
    told = PAGES["models/reviews-bilstm/README.md"]
    assert card.render(shipped.manifest, measured, card.readings(MODEL)) == told
    assert " is right, in each data set. " in told


def test_the_quality_told_is_that_of_the_bundle(shipped: Classifier) -> None:
    metrics = shipped.manifest.metrics["test"]
    kinds = [metrics["by_source"][name] for name in ("imdb", "sst", "fdu-mtl")]
    accuracies = []
    for found in kinds:
        low, high = found["accuracy_interval_95"]
        accuracies.append(f"{found['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%})")
    splits = json.loads((MODEL / "figures" / "report.json").read_text(encoding="utf-8"))["splits"]
    first, held_out = (splits[name]["negation"] for name in ("validation", "test"))
    figures = [row[1] for row in rows(PAGES["README.md"], "## What it reads, how well and how fast")[1:]]
    assert figures[:8] == [
        *accuracies,
        *(
            f"{found['unflagged']['share']:.1%}, of which {found['unflagged']['accuracy']:.1%} are right"
            for found in kinds
        ),
        ", ".join(f"{found['expected_calibration_error']:.2%}" for found in kinds),
        f"{first['both_right']:.1%} of {first['pairs']} used to choose the recipe, "
        f"{held_out['both_right']:.1%} of {held_out['pairs']} held out",
    ]
    assert f"{metrics['unflagged']['accuracy']:.2%}" in PAGES["docs/api.md"]
    assert f"| {accuracies[0]} | `python -m training release` |" in PAGES["docs/training.md"]
    for accuracy in accuracies:
        assert accuracy.split(" ")[0] in PAGES["models/reviews-bilstm/README.md"]
    assert f"up to {shipped.manifest.max_tokens} tokens" in " ".join(PAGES["README.md"].split())


def measured(section: str) -> dict[str, list[str]]:
    """The rows of a section of the results by their first cell, medians alone."""
    found = rows(PAGES["benchmarks/results/results.md"], f"## {section}")
    return {row[0]: [re.sub(r" \(.*\)", "", cell) for cell in row[1:]] for row in found}


def test_the_speed_told_is_that_of_the_results() -> None:
    speed = PAGES["docs/speed.md"]
    closed = measured("closed")
    single, batched = closed["64, 1 a request"][0], closed["2, 64 a request"][0]
    figures = [row[1] for row in rows(PAGES["README.md"], "## What it reads, how well and how fast")]
    assert figures[-2:] == [single, batched]
    assert f"{batched} reviews/s" in " ".join(PAGES["docs/api.md"].split())
    told = rows(speed, "## Beside its own parts")[1:]
    for name, *figures in told:
        callers, reviews = re.findall(r"\d+", name)
        rate, p50, _, p99, *_ = closed[f"{callers}, {reviews} a request"]
        assert figures == [rate, p50, p99]
    assert len(told) == len(closed) - 1  # less its head


def test_the_peers_told_are_those_of_the_results() -> None:
    names = ("ovation", "fastapi-inline", "fastapi-threadpool", "mlserver", "litserve", "bentoml", "ray-serve")
    by_connections = {tuple(row[:2]): row for row in rows(PAGES["benchmarks/results/results.md"], "## peers")}
    expected = []
    for name in names:
        cells = [by_connections[name, connections] for connections in ("8", "64")]
        medians = [(row[2].split(" (")[0], float(row[4].split(" (")[0])) for row in cells]
        expected.append([f"{rate}, {p99:.0f} ms" for rate, p99 in medians])
    assert [row[1:] for row in rows(PAGES["docs/speed.md"], "## Beside other servers")[1:]] == expected
    assert by_connections["ovation", "1"][2].split(" (")[0] in PAGES["docs/speed.md"]


def test_the_models_told_are_those_of_the_results() -> None:
    names = (
        *("reviews-bilstm, fp32", "reviews-bilstm, int8", "imdb-bilstm, fp32", "NB-weighted linear, fp32"),
        *("NB-weighted linear, as a dict, fp32", "hashed 3-grams, fp32", "fastText bigrams, fp32"),
    )
    found = measured("frontier")
    expected = [found[name][:2] for name in names]
    assert [row[1:] for row in rows(PAGES["docs/speed.md"], "## Beside other models")[1:]] == expected


def test_overload_is_told_as_measured() -> None:
    doubled = measured("open")["200%, poisson"]
    page = " ".join(PAGES["docs/speed.md"].split())
    assert f"answers {doubled[1]} reviews/s" in page
    assert f"within {float(doubled[4]) / 1e3:.2f} s" in page
