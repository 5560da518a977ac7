"""The Stanford Sentiment Treebank (Socher et al. 2013): film sentences with a grade at every phrase.

Its official layout is three files, `train.txt`, `dev.txt` and `test.txt`, one bracketed tree a line:
`(3 (2 It) (4 (2 's) (4 great)))`. A grade is 0 (very negative) to 4 (very positive); 2 is neutral.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from training.data import natural, packed
from training.data.sources import DataError

_SPLITS = {"train.txt": "train", "dev.txt": "validation", "test.txt": "test"}
_FILE = re.compile("|".join(map(re.escape, _SPLITS)))
_PART = re.compile(r"\(|\)|[^\s()]+")
NEUTRAL = 2


class Phrase(NamedTuple):
    """What one node of a tree spans."""

    text: str
    grade: int  # 0 to 4
    split: str  # "train", "validation" or "test"
    place: str  # for messages: file and line
    whole: bool  # a sentence, the root of its tree

    @property
    def label(self) -> int | None:
        """0 negative, 1 positive, None neutral. The binary task is the sentences that have one."""
        return None if self.grade == NEUTRAL else int(self.grade > NEUTRAL)


@dataclass
class Treebank:
    """The trees in the archive or folder `path`. Iterating raises DataError.

    Yields each split's sentences in the order of the file, then its phrases; a phrase with neither letter nor digit is
    no text and is left out.
    """

    path: Path

    def __iter__(self) -> Iterator[Phrase]:
        for name, split in _SPLITS.items():
            trees = [list(_phrases(line, split, place)) for place, line in self._lines(name)]
            yield from (tree[0] for tree in trees)
            yield from (phrase for tree in trees for phrase in tree[1:])

    def digest(self) -> str:
        """SHA-256 of the files."""
        return packed.digest(self._contents)

    @cached_property
    def _contents(self) -> dict[str, bytes]:
        contents = packed.read(self.path, _FILE, "train.txt, dev.txt and test.txt (the official trees)")
        if missing := sorted(_SPLITS.keys() - contents.keys()):
            raise DataError(
                f"{self.path}: expected {', '.join(_SPLITS)}, found no {', '.join(missing)}: fetch the whole treebank"
            )
        return contents

    def _lines(self, name: str) -> Iterator[tuple[str, str]]:
        try:
            text = self._contents[name].decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path}: {name}: expected UTF-8, found {error}: fetch the treebank again") from error
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield f"{name}:{number}", line


def _phrases(line: str, split: str, place: str) -> Iterator[Phrase]:
    """What every node of the tree in `line` spans, from the root down. Raises DataError."""
    tokens: list[str] = []
    nodes: list[tuple[int, int, int]] = []  # (grade, first token, end) in the order of their brackets
    unclosed: list[int] = []
    parts = iter(_PART.findall(line))
    for part in parts:
        if part == "(":
            grade = next(parts, "")
            if grade not in ("0", "1", "2", "3", "4") or (nodes and not unclosed):
                raise _damaged(place, f"{grade or 'the end'!r} where a grade from 0 to 4 should stand")
            unclosed.append(len(nodes))
            nodes.append((int(grade), len(tokens), len(tokens)))
        elif part == ")":
            if not unclosed:
                raise _damaged(place, "a bracket too many")
            node = unclosed.pop()
            if nodes[node][1] == len(tokens):
                raise _damaged(place, "a node without words")
            nodes[node] = (*nodes[node][:2], len(tokens))
        else:
            if not unclosed:
                raise _damaged(place, f"{part!r} outside of the tree")
            tokens.append(part)
    if unclosed or not nodes:
        raise _damaged(place, f"{len(unclosed)} brackets left open")
    for index, (grade, start, end) in enumerate(nodes):
        text = natural.join(tokens[start:end])
        if index == 0 or any(character.isalnum() for character in text):
            yield Phrase(text, grade, split, place, index == 0)


def _damaged(place: str, what: str) -> DataError:
    return DataError(f"{place}: expected one tree such as (3 (2 It) (3 works)), found {what}: fetch the treebank again")
