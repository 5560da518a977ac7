"""`python -m benchmarks [SECTION ...]`: measures the sections, and writes their results, a page of tables and plots."""

import json
import os
import resource
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from benchmarks import machine, results
from benchmarks.plan import Plan, pinned

_NEED_NO_WRK = {"grid", "start"}
_QUICK_SECONDS = 1.0


@click.command()
@click.argument("sections", nargs=-1, type=click.Choice(results.SECTIONS))
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="aclImdb_v1.tar.gz; without it: made-up texts"
)
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="duration of a load")
@click.option("--quick", is_flag=True, help="Measure as briefly as possible, to check that every section works.")
@click.option("--out", type=click.Path(path_type=Path), default=results.FOLDER, help="folder for the results")
def main(sections: tuple[str, ...], data: Path | None, seconds: float, quick: bool, out: Path) -> None:
    """Measures SECTIONS, or all of them, and writes OUT/SECTION.json, OUT/results.md and OUT/*.png."""
    chosen = sections or results.SECTIONS
    if shutil.which("wrk") is None and not set(chosen) <= _NEED_NO_WRK:
        raise click.ClickException("expected wrk, the load generator, found none: apt-get install wrk")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise click.ClickException("expected two cores, one for the server and one for the load, found one")
    # The largest limit on open files: each connection is one, in the load generator and in the server.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    plan = Plan(data, _QUICK_SECONDS if quick else seconds, quick, cores[0], cores[-1], rounds=1 if quick else 3)
    out.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {
        "texts": "made up" if data is None else f"test reviews of {data.name}",
        "seconds": plan.seconds,
        "quick": quick,
    }
    for section in chosen:
        click.echo(f"{section} ...")
        described = machine.describe()
        with pinned(plan.load_core):  # keeps this process off the server's core
            result = import_module(f"benchmarks.sections.{section}").measure(plan)
        path = out / f"{section}.json"
        path.write_text(json.dumps({"machine": described, **about, "found": result}, indent=1) + "\n")
        results.write(out)
        click.echo(f"{section}: {path}")


if __name__ == "__main__":
    main()
