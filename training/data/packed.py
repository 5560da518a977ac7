"""The files of a data set by name, out of an archive (tar or zip) or the folder that it unpacks to."""

import hashlib
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from training.data.sources import DataError


def read(path: Path, wanted: re.Pattern[str], example: str) -> dict[str, bytes]:
    """The contents of the files whose name (without folders) matches `wanted`, sorted by name. Raises DataError.

    `example` names such files in the message of what was expected.
    """
    if not path.exists():
        raise DataError(
            f"{path}: expected an archive or a folder with files such as {example}, found nothing: "
            "check the path, or fetch the data set and put it there"
        )
    contents: dict[str, bytes] = {}
    try:
        for member, content in _members(path, wanted):
            name = PurePosixPath(member).name
            if name in contents:
                raise DataError(f"{path}: expected one file {name}, found two (the second is {member}): remove one")
            contents[name] = content
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path}: expected a whole archive, found a damaged one ({error}): fetch it again") from error
    if not contents:
        raise DataError(f"{path}: expected files such as {example}, found none of them: check the path")
    return dict(sorted(contents.items()))


def digest(contents: Mapping[str, bytes]) -> str:
    """SHA-256 of names and contents: equal for an archive and the folder that it unpacks to."""
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return total.hexdigest()


def path_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's names and contents in sorted order. Raises DataError."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return digest({f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()})
    except OSError as error:
        raise DataError(f"{path}: expected a file or a folder, found none that can be read ({error})") from error


def _members(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """(path inside the archive or folder, content) of each file that is wanted."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and wanted.fullmatch(file.name):
                yield file.relative_to(path).as_posix(), file.read_bytes()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if wanted.fullmatch(PurePosixPath(name).name):
                    yield name, archive.read(name)
    else:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if wanted.fullmatch(PurePosixPath(member.name).name) and (content := archive.extractfile(member)):
                    yield member.name, content.read()
