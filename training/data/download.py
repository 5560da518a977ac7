"""The official archives, downloaded once into the user's cache folder."""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from training.data.sources import DataError

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Remote:
    """An archive on the net."""

    url: str
    algorithm: str  # of the checksum, as hashlib names it
    checksum: str
    option: str  # which names a file of one's own instead


FILMS = Remote(
    "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
    "md5",
    "7c2ac02c03563afcf9b574c7e56c153a",
    "--data",
)
TREEBANK = Remote(
    "https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip",
    "sha256",
    "5c613a4f673fc74097d523a2c83f38e0cc462984d847b82c7aaf36b01cbbbfcc",
    "--treebank",
)
_PRODUCTS = "fdu-mtl.tar.gz"


def cache_folder() -> Path:
    """Where downloads are kept: what XDG or the Mac prescribe, under `ovation`."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ovation"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ovation"


def products(folder: Path | None = None) -> Path:
    """The path of FDU-MTL's archive, where somebody has put it into `folder`. Raises DataError."""
    path = (cache_folder() if folder is None else folder) / _PRODUCTS
    if not path.exists():
        raise DataError(
            f"{path}: expected the product reviews of FDU-MTL, found nothing. No address is known from which they can "
            "be downloaded by themselves: fetch the data set of Liu, Qiu and Huang (ACL 2017, "
            "https://aclanthology.org/P17-1001), files such as books.task.train, put them there as an archive, or name "
            "the archive or a folder of them with --products"
        )
    return path


def archive(remote: Remote, console: Console, folder: Path | None = None) -> Path:
    """The path of the archive, downloaded to `folder` if it is not there yet. Raises DataError.

    A broken download is gone on with where it stopped; a file with another checksum is removed.
    """
    folder = cache_folder() if folder is None else folder
    target = folder / remote.url.rsplit("/", 1)[-1]
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _fetch(remote.url, part, console)
    except httpx.HTTPError as error:
        raise DataError(
            f"expected to download {remote.url}, found {type(error).__name__}: {error}. Run the command again to go on "
            f"where it stopped; or download the file elsewhere and put it at {target}, or name it with {remote.option}"
        ) from error
    with part.open("rb") as file:
        found = hashlib.file_digest(file, remote.algorithm).hexdigest()
    if found != remote.checksum:
        part.unlink()
        raise DataError(
            f"{remote.url}: expected a file of {remote.algorithm.upper()} {remote.checksum}, found {found}; it was "
            "removed, run the command again"
        )
    part.replace(target)
    return target


def _fetch(url: str, part: Path, console: Console) -> None:
    """Downloads what is missing of `part`; a server that ignores the range sends, and gets written, the whole."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT_SECONDS) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the part is whole already; the checksum decides
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
        length = response.headers.get("Content-Length")
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress("downloading", *columns, console=console) as bar, part.open("ab" if have else "wb") as file:
            task = bar.add_task("", total=have + int(length) if length else None, completed=have)
            for chunk in response.iter_raw():
                file.write(chunk)
                bar.advance(task, len(chunk))
