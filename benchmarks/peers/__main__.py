"""`python -m benchmarks.peers [NAME ...]`: checks that every peer starts, answers as the classifier does, and ends."""

import os
import sys
from pathlib import Path

import click
import httpx

from benchmarks.load.servers import Unavailable
from benchmarks.peers import PEERS, serving
from benchmarks.peers.agreement import agreement
from service.model import bundle
from service.model.classifier import Classifier


@click.command()
@click.argument("names", nargs=-1, type=click.Choice([peer.name for peer in PEERS]))
@click.option("--model", type=click.Path(path_type=Path), default="models/reviews-bilstm")
@click.option("--core", type=int, default=min(os.sched_getaffinity(0)))
def main(names: tuple[str, ...], model: Path, core: int) -> None:
    """Checks the peers NAMES (or all) and prints a line for each."""
    classifier = Classifier(bundle.read(model), "cpu")
    failed = False
    for peer in PEERS:
        if names and peer.name not in names:
            continue
        try:
            with serving(peer, model, {core}) as server:
                together = agreement(peer, server.url, classifier)
            line = f"ready in {server.seconds_to_ready:.1f} s; equal alone, within {together:.1e} among others; stopped"
        except (Unavailable, ValueError, httpx.HTTPError) as error:
            failed, line = True, f"FAILED: {type(error).__name__}: {error}"
        click.echo(f"{peer.name:20} {line}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
