"""The bundle: a folder of ONNX and JSON files that `read` verifies and `write` creates completely or not at all.

`manifest.json` describes the model and pins `model.onnx` and `vocabulary.json` by size and SHA-256. Other files in
the folder (the model card, figures) are for people and are not read here. Nothing is unpickled, and a graph that is
more than a network is refused (`onnx_check`).
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import lt
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.model import onnx_check
from service.model.onnx_check import UnsafeGraph
from service.model.tokenizer import Rules, Tokenizer, Truncation

FORMAT = 1
MANIFEST, MODEL, VOCABULARY = "manifest.json", "model.onnx", "vocabulary.json"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILE_BYTES = {MODEL: 2**29, VOCABULARY: 2**26}
_MOST = 1_000  # labels, golden texts, bins

# The files of a bundle by name, unverified.
Contents = Mapping[str, bytes]

DAMAGED = 3  # exit code of a process whose bundle or provider fails its checks


class BundleError(Exception):
    """A bundle that must not be served; the message names the path, what was expected and what was found."""

    def __init__(self, path: Path, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class FileEntry(_Part):
    """Size and SHA-256 of a file of the bundle."""

    sha256: str
    bytes: Annotated[int, Field(ge=0)]


class Golden(_Part):
    """A text and the logits that the model must give for it, within the manifest's `tolerance`."""

    text: Annotated[str, Field(min_length=1, max_length=100_000)]
    logits: tuple[float, ...]  # [label]


class Histogram(_Part):
    """Counts of a quantity over the validation reviews; bin i is edges[i] <= x < edges[i + 1], the last bin closed."""

    edges: Annotated[tuple[float, ...], Field(max_length=_MOST + 1)]  # [bin + 1]
    counts: tuple[Annotated[int, Field(ge=0, le=2**53)], ...]  # [bin]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        edges, counts = self.edges, self.counts
        if len(counts) < 2 or len(edges) != len(counts) + 1 or not all(map(lt, edges, edges[1:])) or not any(counts):
            raise ValueError("expected two bins or more, ascending edges, one edge more than bins, and a count above 0")
        return self


class Reference(_Part):
    """Histograms of the model's predictions on validation, from which live traffic may drift."""

    score: Histogram
    tokens: Histogram
    unknown_share: Histogram


class Manifest(_Part):
    """The content of `manifest.json`; unknown keys are ignored."""

    format: int = FORMAT
    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=r"^[^<>\p{C}]*$", max_length=100)]
    created: datetime
    labels: Annotated[tuple[Annotated[str, Field(max_length=100)], ...], Field(min_length=2, max_length=_MOST)]
    max_tokens: Annotated[int, Field(ge=2, le=1_000_000)]
    truncation: Truncation
    rules: Rules
    evidence: bool
    bias: tuple[float, ...] | None  # [label] of the last layer, with evidence alone: bias + sum of evidence = logits
    temperature: Annotated[float, Field(gt=0, le=1_000)]  # already folded into the last weights
    uncertain_below: Annotated[float, Field(ge=0, le=1)]
    precision: Literal["fp32"] = "fp32"
    golden: Annotated[tuple[Golden, ...], Field(min_length=1, max_length=_MOST)]
    tolerance: dict[
        str, Annotated[float, Field(ge=0, le=0.1)]
    ]  # largest difference of a golden logit, by "provider/precision"
    reference: Reference | None
    metrics: dict[str, Any]
    training: dict[str, Any]
    files: dict[str, FileEntry] = {}

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        # They stand in tables, pages, headers of files and series, where a line break or a tag does harm.
        if not all(
            label.isprintable() and label.strip() == label != "" and not set(label) & {"<", ">"} for label in labels
        ):
            raise ValueError("expected labels of printable characters other than < and >, without spaces around them")
        if len(set(labels)) != len(labels):
            raise ValueError("expected distinct labels")
        return labels


@dataclass(frozen=True)
class Bundle:
    """A bundle read from `path`, whose files have the sizes and digests of its manifest."""

    path: Path
    name: str  # the manifest's `name`, "@", the first 8 hex digits of the manifest file's SHA-256
    manifest: Manifest
    model: bytes
    tokenizer: Tokenizer


def check_folder(path: Path, variable: str) -> None:
    """Raises BundleError where `path` is no folder; its message names `variable`, by which another can be named."""
    if not path.is_dir():
        expected = f"a bundle, which is a folder with {MANIFEST}, {MODEL} and {VOCABULARY}"
        raise BundleError(path, expected, f"no such folder; set {variable} to the path of a bundle")


def read(path: Path) -> Bundle:
    """Reads and verifies the bundle in the folder `path`. Raises BundleError."""
    return parse(path, contents(path))


def contents(path: Path) -> Contents:
    """The files of the bundle in the folder `path`, none larger than its manifest says. Raises BundleError."""
    raw = _read_file(path / MANIFEST, MAX_MANIFEST_BYTES)
    entries = _entries(path, _parse_manifest(path / MANIFEST, raw))
    files = {name: _read_file(path / name, min(entry.bytes, MAX_FILE_BYTES[name])) for name, entry in entries.items()}
    return {MANIFEST: raw, **files}


def parse(path: Path, files: Contents) -> Bundle:
    """The bundle that `files`, read from the folder `path`, are, once they are verified. Raises BundleError."""
    raw = files[MANIFEST]
    manifest = _parse_manifest(path / MANIFEST, raw)
    for name, entry in _entries(path, manifest).items():
        data = files[name]
        digest = hashlib.sha256(data).hexdigest()
        if (digest, len(data)) != (entry.sha256, entry.bytes):
            expected, found = (
                f"{entry.bytes} bytes, sha256 {entry.sha256}",
                f"{len(data)} bytes, sha256 {digest}",
            )
            raise BundleError(path / name, expected, found)
    try:
        onnx_check.check(files[MODEL])
    except UnsafeGraph as error:
        raise BundleError(path / MODEL, "a network as data", str(error)) from None
    tokenizer = _tokenizer(path / VOCABULARY, files[VOCABULARY], manifest)
    return Bundle(path, name_of(files), manifest, files[MODEL], tokenizer)


def name_of(files: Contents) -> str:
    """The name of the bundle that `files` are: the manifest's `name`, "@", and eight digits of its digest."""
    raw = files[MANIFEST]
    return f"{json.loads(raw)['name']}@{hashlib.sha256(raw).hexdigest()[:8]}"


def write(
    path: Path,
    manifest: Manifest,
    model: bytes,
    vocabulary: Sequence[str],
    extras: Mapping[str, bytes] | None = None,
    force: bool = False,
) -> None:
    """Writes a bundle to the folder `path`, and into the same folder `extras` (relative name -> content) for people.

    Fills a sibling folder, reads it back and renames it, so that `path` never holds an incomplete bundle. An existing
    `path` raises FileExistsError; with `force` it is replaced, and restored on failure. Raises BundleError.
    """
    if path.exists() and not force:
        raise FileExistsError(f"{path}: expected no such folder (--force replaces it), found one")
    files = {MODEL: model, VOCABULARY: json.dumps(list(vocabulary), ensure_ascii=False).encode()}
    entries = {n: FileEntry(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)) for n, data in files.items()}
    manifest = manifest.model_copy(update={"files": entries})
    files[MANIFEST] = in_json(manifest)
    path.parent.mkdir(parents=True, exist_ok=True)
    new, old = (path.with_name(f".{path.name}.{kind}-{os.getpid()}") for kind in ("new", "old"))
    try:
        for name, data in {**files, **(extras or {})}.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            (new / name).write_bytes(data)
        read(new)
        _replace(new, path, old)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def in_json(manifest: Manifest) -> bytes:
    """The content of a bundle's `MANIFEST`."""
    return (manifest.model_dump_json(indent=1) + "\n").encode()


def _replace(new: Path, path: Path, old: Path) -> None:
    """Renames `new` to `path`; an existing `path` is kept as `old` until then, and restored on failure."""
    existed = path.exists()
    if existed:
        path.rename(old)  # rename cannot replace a folder that is not empty
    try:
        new.rename(path)
    except BaseException:
        if existed:
            old.rename(path)
        raise
    if existed:
        shutil.rmtree(old, ignore_errors=True)


def _entries(path: Path, manifest: Manifest) -> dict[str, FileEntry]:
    """The manifest's entries for the other files. Raises BundleError."""
    for name in (MODEL, VOCABULARY):
        if name not in manifest.files:
            raise BundleError(path / MANIFEST, f"an entry for {name} under `files`", "none")
    return {name: manifest.files[name] for name in (MODEL, VOCABULARY)}


def _read_file(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file. A link could lead anywhere, and a pipe have no end. Raises BundleError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise BundleError(path, "a regular file", "another kind of file")
            data = file.read(max_bytes + 1)
    except OSError as error:
        found = "a link" if path.is_symlink() else error.strerror or type(error).__name__
        raise BundleError(path, "a readable file", found) from error
    if len(data) > max_bytes:
        raise BundleError(path, f"at most {max_bytes} bytes", "more")
    return data


def _parse_manifest(path: Path, raw: bytes) -> Manifest:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(path, "JSON", str(error)) from error
    number = content.get("format") if isinstance(content, dict) else None
    if number != FORMAT:
        raise BundleError(path, f"bundle format {FORMAT}", f"format {number!r}")
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(path, f"a valid `{place}`", first["msg"]) from error
    labels, bias = len(manifest.labels), manifest.bias
    sizes = sorted({len(golden.logits) for golden in manifest.golden})
    if sizes != [labels]:
        raise BundleError(path, f"{labels} logits for each golden text, one for each label", f"{sizes}")
    if (None if bias is None else len(bias)) != (labels if manifest.evidence else None):
        expected = f"a `bias` of {labels} numbers" if manifest.evidence else "no `bias` without `evidence`"
        raise BundleError(path, expected, "none" if bias is None else f"{len(bias)} numbers")
    return manifest


def _tokenizer(path: Path, raw: bytes, manifest: Manifest) -> Tokenizer:
    try:
        vocabulary = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(path, "a JSON list of tokens", str(error)) from error
    if not isinstance(vocabulary, list) or not all(isinstance(token, str) for token in vocabulary):
        raise BundleError(path, "a JSON list of tokens", "something else")
    try:
        return Tokenizer(vocabulary, manifest.max_tokens, manifest.truncation, manifest.rules)
    except ValueError as error:
        raise BundleError(path, "a vocabulary that fits", str(error)) from error
