"""FDU-MTL (Liu et al. 2017): product reviews of many domains, some 2,000 labelled and 2,000 unlabelled ones in each.

Its official layout is three files a domain: `DOMAIN.task.train` and `DOMAIN.task.test` with a line `1<tab>text`
(1 positive, 0 negative; lower case, tokenised) and `DOMAIN.task.unlabel` with the text alone, as it was written.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from training.data import natural, packed
from training.data.sources import DataError

_FILE = re.compile(r"([\w&-]+)\.task\.(train|test|unlabel)")
_SPLITS = {"train": "train", "test": "test", "unlabel": "unlabelled"}
LEFT_OUT = "left out"


class ProductReview(NamedTuple):
    """One review of one domain."""

    text: str
    label: int | None  # 0 negative, 1 positive, None: unlabelled
    split: str  # "train", "test" or "unlabelled"; LEFT_OUT in a domain that is left out
    domain: str
    place: str  # for messages: file and line


@dataclass
class ProductReviews:
    """The domains in the archive or folder `path`. Iterating raises DataError and, each time anew, fills `bad`.

    Reviews of the domains in `leave_out` come with the split LEFT_OUT, whatever their file: nothing may learn from
    them, nor from their copies in other domains.
    """

    path: Path
    leave_out: tuple[str, ...] = ()
    bad: Counter[str] = field(default_factory=Counter)  # lines that hold no text, by reason

    def __iter__(self) -> Iterator[ProductReview]:
        self.bad = Counter()
        if unknown := sorted(set(self.leave_out) - set(self.domains)):
            raise DataError(
                f"{self.path}: expected to leave out some of {', '.join(self.domains)}; found {', '.join(unknown)}: "
                "name domains that are there"
            )
        for name, content in self._contents.items():
            domain, part = _named(name)
            for number, raw in enumerate(content.split(b"\n"), 1):
                if raw.strip():
                    yield from self._review(_decoded(raw), domain, part, f"{name}:{number}")

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that are there, sorted."""
        return tuple(sorted({_named(name)[0] for name in self._contents}))

    def digest(self) -> str:
        """SHA-256 of the files."""
        return packed.digest(self._contents)

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        return packed.read(self.path, _FILE, "books.task.train")

    def _review(self, line: str, domain: str, part: str, place: str) -> Iterator[ProductReview]:
        label, text = None, line
        if part != "unlabel":
            given, tab, text = line.partition("\t")
            if not tab or given not in ("0", "1"):
                raise DataError(
                    f"{place}: expected 0 or 1, a tab and a text, found {line[:20]!r}: fetch the file again"
                )
            label, text = int(given), natural.join(text.split())
        text = " ".join(text.split())
        if any(character.isalnum() for character in text):
            yield ProductReview(text, label, LEFT_OUT if domain in self.leave_out else _SPLITS[part], domain, place)
        else:
            self.bad["no text"] += 1


def _named(name: str) -> tuple[str, str]:
    match = _FILE.fullmatch(name)
    assert match is not None  # `packed.read` gives matching names alone
    return match[1], match[2]


def _decoded(line: bytes) -> str:
    """UTF-8 as most lines are; else Windows-1252, in which every byte is something."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace")
