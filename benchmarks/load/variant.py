"""`python -m benchmarks.load.variant`: the service with other settings of the interpreter and of the batches."""

import gc
import sys
from contextlib import nullcontext
from unittest.mock import patch

import click

from service.__main__ import main as service_main
from service.model import grouping


@click.command()
@click.option("--switch-seconds", type=float, default=sys.getswitchinterval())
@click.option("--freeze/--no-freeze", default=True)
@click.option("--rows", type=click.IntRange(1), default=max(grouping.ROWS["cpu"]))
def main(switch_seconds: float, freeze: bool, rows: int) -> None:
    """Serves until SIGTERM with this interval between switches of threads, with or without `gc.freeze`, and with at
    most so many texts a batch."""
    sys.setswitchinterval(switch_seconds)
    with (
        nullcontext() if freeze else patch.object(gc, "freeze"),
        patch.dict(grouping.ROWS, cpu=range(1, rows + 1)),
    ):
        service_main(["serve"])


if __name__ == "__main__":
    main()
