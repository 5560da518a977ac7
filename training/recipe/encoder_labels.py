"""The teacher's logits on many texts, kept in shards so that a killed run labels only what is missing."""

import hashlib
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.sources import DataError
from training.recipe.encoder_fit import Stop, Stopped
from training.recipe.encoder_network import Pieces, Teacher, choose_bf16, read_pieces

SHARD = 4096  # texts
_BATCH_PIECES = {"cpu": 2048, "cuda": 8192}  # padded pieces of one pass: what fits a CPU's cache takes a sixth less

Logits = NDArray[np.float32]


def label(
    teacher: Teacher,
    tokenizer: Any,
    texts: Sequence[str],
    keys: Sequence[int],
    folder: Path,
    stop: Stop,
    say: Callable[[str], None],
    device: torch.device,
) -> None:
    """Writes the logits of `texts` as `folder/00000.npz` and so on, SHARD texts each.

    A file holds `logits` float32 [text, label] and `keys` uint64 [text]; one that is there already is kept. Raises
    DataError where it is of other texts, Stopped once `stop` is wanted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    teacher.to(device).eval()
    started, done = time.monotonic(), 0
    bf16: bool | None = None
    paths = _paths(folder, len(texts))
    for number, path in enumerate(paths):
        part = slice(number * SHARD, (number + 1) * SHARD)
        wanted = np.array(keys[part], np.uint64)
        if path.exists():
            _check(path, wanted)
            continue
        pieces = read_pieces(texts[part], tokenizer, whole=True)
        if bf16 is None:
            bf16, why = choose_bf16(teacher, *pieces.batch(np.argsort(pieces.lengths)[-32:], device))
            say(f"label {folder.name}: {len(texts):,} texts in {len(paths)} shards; {why}")
        logits = predict(teacher, pieces, device, bf16, stop)
        aside = path.with_name(path.name + ".new")
        with aside.open("wb") as file:
            np.savez(file, logits=logits, keys=wanted)
        aside.replace(path)
        done += len(wanted)
        speed = done / (time.monotonic() - started)
        left = len(texts) - min(len(texts), (number + 1) * SHARD)
        place = f"{len(texts) - left:,} of {len(texts):,}"
        say(f"label {folder.name}: {place}, {speed:.0f} rows/s, {left / speed / 60:.0f} min left")


def predict(teacher: Teacher, pieces: Pieces, device: torch.device, bf16: bool, stop: Stop) -> Logits:
    """Logits [text, label], in the order of the texts: of each the mean over its windows, weighted by their lengths.

    Raises Stopped once `stop` is wanted.
    """
    order = np.argsort(pieces.lengths, kind="stable")
    logits = np.zeros((len(order), teacher.head.out_features), np.float32)
    most, start = _BATCH_PIECES[device.type], 0
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        while start < len(order):
            if stop.wanted:
                raise Stopped("label: stopped; the shards that are whole are kept")
            end = start + 1
            while end < len(order) and (end + 1 - start) * pieces.lengths[order[end]] <= most:
                end += 1
            rows = order[start:end]
            logits[rows] = teacher(*pieces.batch(rows, device)).cpu().numpy()
            start = end
    weights = pieces.lengths[:, None]
    sums = np.zeros((pieces.texts[-1] + 1, logits.shape[1]))
    np.add.at(sums, pieces.texts, weights * logits)
    return np.asarray(sums / np.bincount(pieces.texts, pieces.lengths)[:, None], np.float32)


def read(folder: Path, keys: Sequence[int]) -> Logits:
    """The logits [text, label] that `label` wrote of the texts with these `keys`, in their order. Raises DataError."""
    found = []
    for number, path in enumerate(_paths(folder, len(keys))):
        if not path.exists():
            raise DataError(
                f"{path}: expected the logits of {len(keys):,} texts, found no such shard: begin the same run again"
            )
        found.append(_check(path, np.array(keys[number * SHARD : (number + 1) * SHARD], np.uint64)))
    return np.concatenate(found)


def digest_of(folder: Path) -> str:
    """SHA-256 of the teacher in `folder`: of its weights and its head."""
    total = hashlib.sha256()
    for name in ("model.safetensors", "head.safetensors"):
        with (folder / name).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _paths(folder: Path, texts: int) -> list[Path]:
    return [folder / f"{number:05}.npz" for number in range(-(-texts // SHARD))]


def _check(path: Path, keys: NDArray[np.uint64]) -> Logits:
    """The logits of a shard that must be of the texts with `keys`."""
    try:
        with np.load(path, allow_pickle=False) as shard:
            logits, found = shard["logits"], shard["keys"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: expected a shard of logits, found a damaged one ({error}): remove it") from error
    if not np.array_equal(found, keys):
        raise DataError(f"{path}: expected the logits of other texts: remove {path.parent} if the data has changed")
    return np.asarray(logits, np.float32)
