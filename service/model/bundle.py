"""The bundle: a folder of ONNX and JSON files that `read` verifies and `write` creates completely or not at all.

`manifest.json` describes the model and pins `model.onnx` and `vocabulary.json` by size and SHA-256. Other files in
the folder (the model card, figures) are for people and are not read here. Nothing is unpickled.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import lt
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from service.model.tokenizer import Rules, Tokenizer, Truncation

FORMAT = 1
MANIFEST, MODEL, VOCABULARY = "manifest.json", "model.onnx", "vocabulary.json"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILE_BYTES = 2**31


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
    bytes: int


class Golden(_Part):
    """A text and the logits that the model must give for it, within the manifest's `tolerance`."""

    text: str
    logits: tuple[float, ...]  # [label]


class Histogram(_Part):
    """Counts of a quantity over the validation reviews; bin i is edges[i] <= x < edges[i + 1], the last bin closed."""

    edges: tuple[float, ...]  # [bin + 1]
    counts: tuple[Annotated[int, Field(ge=0)], ...]  # [bin]

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
    version: str
    created: datetime
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    max_tokens: Annotated[int, Field(ge=2)]
    truncation: Truncation
    rules: Rules
    evidence: bool
    bias: tuple[float, ...] | None  # [label] of the last layer, with evidence alone: bias + sum of evidence = logits
    temperature: Annotated[float, Field(gt=0)]  # already folded into the last weights
    uncertain_below: Annotated[float, Field(ge=0, le=1)]
    precision: Literal["fp32"] = "fp32"
    golden: Annotated[tuple[Golden, ...], Field(min_length=1)]
    tolerance: dict[str, float]  # largest difference of a golden logit, by "provider/precision"
    reference: Reference | None
    metrics: dict[str, Any]
    training: dict[str, Any]
    files: dict[str, FileEntry] = {}

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
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
    raw = _read_file(path / MANIFEST, MAX_MANIFEST_BYTES)
    manifest = _parse_manifest(path / MANIFEST, raw)
    contents = {}
    for name in (MODEL, VOCABULARY):
        entry = manifest.files.get(name)
        if entry is None:
            raise BundleError(path / MANIFEST, f"an entry for {name} under `files`", "none")
        data = _read_file(path / name, min(entry.bytes, MAX_FILE_BYTES))
        digest = hashlib.sha256(data).hexdigest()
        if (digest, len(data)) != (entry.sha256, entry.bytes):
            expected, found = (
                f"{entry.bytes} bytes, sha256 {entry.sha256}",
                f"{len(data)} bytes, sha256 {digest}",
            )
            raise BundleError(path / name, expected, found)
        contents[name] = data
    tokenizer = _tokenizer(path / VOCABULARY, contents[VOCABULARY], manifest)
    name = f"{manifest.name}@{hashlib.sha256(raw).hexdigest()[:8]}"
    return Bundle(path, name, manifest, contents[MODEL], tokenizer)


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
    files[MANIFEST] = (manifest.model_dump_json(indent=1) + "\n").encode()
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


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BundleError(path, "a readable file", error.strerror or type(error).__name__) from error
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
    columns = [len(golden.logits) for golden in manifest.golden] + [len(manifest.bias or manifest.labels)]
    if set(columns) != {len(manifest.labels)} or manifest.evidence != (manifest.bias is not None):
        raise BundleError(path, f"{len(manifest.labels)} logits per golden text and a bias iff `evidence`", "others")
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
