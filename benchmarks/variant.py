"""`python -m benchmarks.variant`: the service, its interpreter set otherwise; settings are OVATION_* as ever."""

import gc
import sys
from contextlib import nullcontext
from unittest.mock import patch

import click

from service.__main__ import main as service_main


@click.command()
@click.option("--switch-seconds", type=float, default=sys.getswitchinterval())
@click.option("--freeze/--no-freeze", default=True)
def main(switch_seconds: float, freeze: bool) -> None:
    """Serves until SIGTERM with this interval between switches of threads, with or without `gc.freeze`."""
    sys.setswitchinterval(switch_seconds)
    with nullcontext() if freeze else patch.object(gc, "freeze"):
        service_main(["serve"])


if __name__ == "__main__":
    main()
