"""Few labelled texts: what is measured, resumed and refused, on made-up reviews."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import small
from benchmarks.small.__main__ import main
from tests.support import data_sets
from training.few import BUNDLED


def measured(data: Path, base: Path, out: Path, *words: str) -> tuple[int, str]:
    arguments = ["--data", data, "--bundle", base, "--domains", "books", "--sizes", "40", "--seeds", "1", "--out", out]
    done = CliRunner().invoke(main, [*map(str, arguments), *words])
    return done.exit_code, done.output


def test_the_command_measures_every_arm_once_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    data, out = data_sets.products(tmp_path / "fdu", count=60), tmp_path / "out"
    code, told = measured(data, BUNDLED, out)
    assert code == 0, told
    found = json.loads((out / "small.json").read_text())["found"]
    assert [cell["arm"] for cell in found["cells"]] == list(small.ARMS)
    for cell in found["cells"]:
        assert 0 <= cell["accuracy"] <= 1
        if cell["arm"] != small.LINEAR:
            (low, high), (least, most) = cell["interval"], cell["expected"]
            assert least <= low <= cell["told"] <= high <= most  # 4 test reviews move a figure more than all
    assert not found["left_out"]
    assert "its column means nothing" in told  # the bundle left nothing out
    assert (out / "small.png").stat().st_size

    kept = (out / "small.json").read_bytes()
    code, again = measured(data, BUNDLED, out)
    assert code == 0, again
    assert (out / "small.json").read_bytes() == kept
    code, told = measured(data_sets.products(tmp_path / "other", count=61), BUNDLED, out)
    assert code == 1
    assert "on the same data" in told


def test_an_unknown_domain_is_named(tmp_path: Path) -> None:
    data = data_sets.products(tmp_path / "fdu")
    code, told = measured(data, BUNDLED, tmp_path / "out", "--domains", "books,songs")
    assert code == 1
    assert "found songs" in told


@pytest.mark.parametrize(("accuracy", "held"), [(0.8, "1 of 1"), (0.5, "0 of 1")])
def test_a_test_figure_is_held_against_the_interval_that_was_told(accuracy: float, held: str) -> None:
    told = {"told": 0.82, "interval": [0.75, 0.88], "expected": [0.7, 0.9], "seconds": 3.0}
    cells = [
        {"domain": "books", "size": 100, "seed": 1, "arm": arm, "accuracy": accuracy, "seconds": 1.0}
        | (told if arm != small.LINEAR else {})
        for arm in small.ARMS
    ]
    page = small.table({"bundle": "mine@1", "left_out": True, "cells": cells})
    assert f"| the run's interval holds its test figure | - | {held} | {held} |" in page
    assert f"| 100, books | {accuracy:.1%} | {accuracy:.1%} | {accuracy:.1%} |" in page
