"""The real command line, whose bundle is never read to its end: `python -m tests.support.slow_start serve`.

It writes a line to the file that the variable REACHED names, once it has begun to read.
"""

import os
import sys
import time
from pathlib import Path

from service.__main__ import main
from service.model import bundle

REACHED = "REACHED"


def _contents(path: Path) -> bundle.Contents:
    Path(os.environ[REACHED]).write_text("reading")
    while True:
        time.sleep(0.01)


if __name__ == "__main__":
    bundle.contents = _contents
    sys.exit(main())
