"""`python -m tests.fuzz`: fuzzes the bundle that ships, in a server of its own with keys and the admin's routes."""

import sys
from pathlib import Path

import click

from tests.fuzz import ROOT, fuzz, fuzzed


@click.command(context_settings={"show_default": True})
@click.option("--cases", type=click.IntRange(min=1), default=20_000, help="Requests to send, at least.")
@click.option("--seed", type=int, help="Of an earlier run, to send the same requests again.")
@click.option(
    "--model", type=click.Path(path_type=Path), default=ROOT / "models/reviews-bilstm", help="Bundle to serve."
)
def main(cases: int, seed: int | None, model: Path) -> None:
    """Sends made-up requests to every route; ends with code 1 where an answer is not as OpenAPI says."""
    with fuzzed(model) as running:
        run = fuzz(running.url, cases, seed)
        alive = running.process.poll() is None
    click.echo(run.output)
    click.echo(f"{run.cases} cases, {run.failures} failures, seed {run.seed}; the server {'runs' if alive else 'DIED'}")
    sys.exit(0 if run.passed and alive else 1)


if __name__ == "__main__":
    main()
