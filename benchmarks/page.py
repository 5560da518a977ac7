"""The page in Chromium: from the start of its navigation to the first answer on the screen, and from a key to its own.

`python -m benchmarks.page` writes results/page.json and results/results.md. It needs chromium on the PATH and
`make browser`. The service has one core, the browser the other.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import click

from benchmarks import machine, results
from benchmarks.load import stream
from benchmarks.load.servers import service
from benchmarks.plan import pinned
from benchmarks.report import markdown, spread

REPEATS = 20
KEYS = 40
# Milliseconds since the navigation began, at the frame that shows the first verdict.
_FIRST_ANSWER = """() => new Promise((resolve) => {
  const look = () => {
    const state = document.querySelector('.verdict')?.dataset.state;
    if (state && state !== 'waiting' && state !== 'empty') resolve(performance.now());
    else requestAnimationFrame(look);
  };
  look();
})"""
# Milliseconds from an input event to the frame that shows its verdict.
_AFTER_KEY = """(key) => new Promise((resolve) => {
  const [box, verdict] = [document.querySelector('#text'), document.querySelector('.verdict')];
  const began = performance.now();
  box.value += key;
  box.dispatchEvent(new Event('input'));
  const look = () => {
    if (verdict.dataset.state === 'waiting') requestAnimationFrame(look);
    else resolve(performance.now() - began);
  };
  requestAnimationFrame(look);
})"""


def measure(url: str, chromium: str, repeats: int) -> dict[str, list[float]]:
    """Milliseconds: the first answer in a new profile without a cache, with the files kept, and after a key."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"new": [], "again": [], "key": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(repeats):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            for name in ("new", "again"):
                page.goto(url, wait_until="commit")
                found[name].append(page.evaluate(_FIRST_ANSWER))
            context.close()
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.evaluate(_FIRST_ANSWER)
        for _ in range(KEYS):
            found["key"].append(page.evaluate(_AFTER_KEY, "a"))
        browser.close()
    return found


def table(found: dict[str, Any]) -> str:
    """Medians, least and greatest, in ms."""
    rows = [
        ["opened for the first time", spread(found["new"], ".0f")],
        ["opened again", spread(found["again"], ".0f")],
        ["after a key", spread(found["key"], ".0f")],
    ]
    return markdown(["first answer on the screen", "ms"], rows)


@click.command()
@click.option("--quick", is_flag=True, help="Measure once, to check that it works.")
@click.option("--out", type=click.Path(path_type=Path), default=results.FOLDER, help="folder for the results")
def main(quick: bool, out: Path) -> None:
    """Measures, and writes OUT/page.json and OUT/results.md."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise click.ClickException("expected chromium on the PATH, found none: apt-get install chromium")
    cores = sorted(os.sched_getaffinity(0))
    described = machine.describe()
    with service(stream.MODEL, {cores[0]}) as server, pinned(cores[-1]):
        measured = measure(server.url, chromium, 1 if quick else REPEATS)
    result = {"machine": described, "texts": "the page's first sample", "quick": quick, "found": measured}
    out.mkdir(parents=True, exist_ok=True)
    (out / "page.json").write_text(json.dumps(result, indent=1) + "\n")
    results.write(out)
    click.echo(table(measured))


if __name__ == "__main__":
    main()
