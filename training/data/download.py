"""The official archive of the Large Movie Review Dataset, downloaded once into the user's cache folder."""

import hashlib
import os
import sys
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from training.data.sources import DataError

URL = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
MD5 = "7c2ac02c03563afcf9b574c7e56c153a"
_TIMEOUT_SECONDS = 30.0


def cache_folder() -> Path:
    """Where downloads are kept: what XDG or the Mac prescribe, under `ovation`."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ovation"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ovation"


def archive(console: Console, folder: Path | None = None, url: str = URL, md5: str = MD5) -> Path:
    """The path of the archive, downloaded to `folder` if it is not there yet. Raises DataError.

    A broken download is gone on with where it stopped; a file with another checksum is removed.
    """
    folder = cache_folder() if folder is None else folder
    target = folder / url.rsplit("/", 1)[-1]
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        _fetch(url, part, console)
    except httpx.HTTPError as error:
        raise DataError(
            f"expected to download {url}, found {type(error).__name__}: {error}. Run the command again to go on where "
            f"it stopped; or download the file elsewhere and put it at {target}, or name it with --data"
        ) from error
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != md5:
        part.unlink()
        raise DataError(f"{url}: expected a file of MD5 {md5}, found {found}; it was removed, run the command again")
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
