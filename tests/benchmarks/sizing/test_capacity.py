"""deploy/capacity.md is what its command writes, from what is measured."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.sizing import capacity
from benchmarks.sizing.capacity import PAGE, Assumptions, Rates, page, rates, written


def test_the_page_is_what_the_command_writes() -> None:
    assert PAGE.read_text() == written(), "python -m benchmarks.sizing.capacity writes it anew"


def test_rates_are_the_medians_of_the_closed_loop(tmp_path: Path) -> None:
    def round_of(single: float, batch: float) -> dict[str, object]:
        return {"single": {"64": {"requests_per_second": single}, "8": {"requests_per_second": 9e9}},
                "batch": {"1": {"requests_per_second": 1}, "2": {"requests_per_second": batch}}}  # fmt: skip

    rounds = [round_of(2000, 40), round_of(1500, 50), round_of(3000, 30)]
    machine = {"processor": "a processor", "git_revision": "0123456789"}
    result = {"machine": machine, "texts": "made up", "quick": False, "found": {"rounds": rounds}}
    (tmp_path / "closed.json").write_text(json.dumps(result))
    found = rates(tmp_path)
    assert (found.single, found.batch) == (2000, 40 * 64)
    assert "a processor" in found.source
    assert "Not measured" in rates(tmp_path / "nothing").source


def test_the_arithmetic(tmp_path: Path) -> None:
    sizes = asyncio.run(capacity._sizes())
    assumed = Assumptions(headroom=0.5, dollars_a_core_hour=0.036)
    text = page(Rates(2000, 4000, "Measured."), sizes, assumed, tmp_path)
    assert "| 1,000,000 | 1,000 | 500 |" in text
    # A billion at 1,000 a second: a million seconds, 277.8 hours.
    assert "| one core, requests of one, at 50% | 1,000 | 0.04 | 10.00 |" in text
    assert "| DistilBERT on an L4, published | 876 | 0.80 | 253.82 |" in text
    assert 1000 < sizes.request < 2000
    assert sizes.packets > sizes.batch_packets > (sizes.request + sizes.answer) / 1500


def test_what_else_was_measured_is_told(tmp_path: Path) -> None:
    points = [
        {"kind": "poisson", "share": share, "statuses": {"200": {"percentiles_ms": [float(share * 10)] * 101}}}
        for share in (0.5, 0.75, 1.25)
    ]
    (tmp_path / "open.json").write_text(json.dumps({"found": {"points": points}}))
    (tmp_path / "start.json").write_text(json.dumps({"found": {"seconds": [1.0, 3.0, 2.0]}}))
    text = page(Rates(2000, 4000, ""), asyncio.run(capacity._sizes()), Assumptions(), tmp_path)
    assert "5 ms at 50%, 8 ms at 75%." in text
    assert "2.0 s after its process began" in text


def test_the_command_writes_where_it_is_told(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    done = CliRunner().invoke(capacity.main, ["--out", str(out), "--headroom", "1"])
    assert done.exit_code == 0, done.output
    assert "Planned at 100% of that rate." in out.read_text()


@pytest.mark.parametrize("value", ["0", "1.5"])
def test_headroom_is_a_share(value: str) -> None:
    assert CliRunner().invoke(capacity.main, ["--headroom", value]).exit_code == 2
