"""Which bundles a service may change to: the one that it serves, the one before, and those beside it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from service.model import bundle
from service.model.bundle import Contents

_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# What a further bundle takes of a worker's memory while it is loaded: times its bytes, and for onnxruntime and the
# tokenizer (measured: 32 MiB for one of 17 MB once it is loaded).
_TIMES, _MORE_BYTES = 2.5, 16 * 2**20


class ChangeRefused(Exception):
    """The model that is served stays; the message says why."""


class Files(NamedTuple):
    """The files of a bundle, and the folder from which they were read."""

    path: Path
    contents: Contents


@dataclass(frozen=True)
class Order:
    """What an operator asks for: another model, the one before, or one in the shadow, by the name of its folder."""

    kind: Literal["reload", "rollback", "shadow", "no_shadow"]
    folder: str | None = None  # beside the one that is served; None for that one
    share: float = 0.0  # of the texts, for the shadow


class Bundles:
    """Reads what an order asks for, and keeps the files of the model that is served and of the one before.

    A worker that starts later gets these files: what happens to a folder meanwhile changes nothing. `free_bytes` tells
    how much memory there is for `workers` processes, of which each loads what is asked for beside what it has.
    """

    def __init__(self, served: Path, current: Files | None, workers: int, free_bytes: Callable[[], float]) -> None:
        self._served, self._workers, self._free_bytes = served, workers, free_bytes
        self.current = current
        self.previous: Files | None = None
        self.shadow: tuple[Files, float] | None = None

    def plan(self, order: Order) -> Files | None:
        """The files that `order` needs; None for none. Raises BundleError, ChangeRefused."""
        if order.kind == "no_shadow":
            return None
        if order.kind == "rollback":
            if self.previous is None:
                raise ChangeRefused("expected a model before this one, found none: nothing was reloaded")
            files = self.previous
        else:
            path = self._path(order.folder)
            files = Files(path, bundle.contents(path))
            bundle.parse(*files)
        need = self._workers * (_TIMES * sum(map(len, files.contents.values())) + _MORE_BYTES)
        if need > (free := self._free_bytes()):
            what = f"{need / 2**20:.0f} MiB of memory for another model in {self._workers} workers"
            raise ChangeRefused(f"expected {what}, found {free / 2**20:.0f} MiB")
        return files

    def done(self, order: Order, files: Files | None) -> None:
        """All workers have carried out `order`."""
        if order.kind in ("shadow", "no_shadow"):
            self.shadow = None if files is None else (files, order.share)
        else:
            self.previous, self.current = self.current, files

    def _path(self, folder: str | None) -> Path:
        """Raises ChangeRefused for what is no name of a folder beside the one that is served."""
        if folder is None:
            return self._served
        if not _FOLDER.fullmatch(folder):
            raise ChangeRefused("expected the name of a folder beside that of OVATION_MODEL, found something else")
        path = self._served.parent / folder
        if path.is_symlink() and path.resolve().parent != self._served.parent.resolve():
            raise ChangeRefused("expected a folder beside that of OVATION_MODEL, found a link to elsewhere")
        return path
