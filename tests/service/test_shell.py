"""`ovation predict`, in a pipe and on a terminal."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from service.model.classifier import Classifier

ROOT = Path(__file__).parents[2]
TEXT = "The film was wonderful. It was awful!"


def command(bundle: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "service", "predict", "--bundle", str(bundle), *arguments]


def environment(**others: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", **others}


def on_terminal(*words: str, **others: str) -> str:
    """What the command shows on a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdout=theirs, stderr=subprocess.PIPE, env=environment(**others)) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def test_lines_of_standard_input(tiny_bundle_path: Path, tiny_classifier: Classifier) -> None:
    lines = f"{TEXT}\n\n--dull\n".encode()
    done = subprocess.run(
        command(tiny_bundle_path, "-"), input=lines, capture_output=True, check=False, env=environment()
    )
    assert done.returncode == 1
    assert done.stderr.decode().startswith("Error: line 2: expected a text with at least one visible character")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["score"] for answer in answers] == [one.score for one in tiny_classifier([TEXT, "--dull"])]


def test_texts_that_begin_with_a_dash_and_a_blank_one(tiny_bundle_path: Path, tiny_classifier: Classifier) -> None:
    words = command(tiny_bundle_path, "--sentences", "--", "--dull", " ", TEXT)
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 1
    assert "Error: text 2: expected" in done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["label"] == tiny_classifier(["--dull"])[0].label
    assert [TEXT[one["start"] : one["end"]] for one in second["sentences"]] == [
        "The film was wonderful.",
        "It was awful!",
    ]
    assert [one["score"] for one in second["sentences"]] == [
        tiny_classifier([sentence])[0].score for sentence in ("The film was wonderful.", "It was awful!")
    ]


def test_a_terminal_shows_words_in_colours(tiny_bundle_path: Path) -> None:
    text = TEXT + " \x1b[31mRed\x1b[0m"
    shown = on_terminal(*command(tiny_bundle_path, "--evidence", "--sentences", text))
    assert re.search("\x1b\\[3[12]m", shown)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "The film was wonderful. It was awful! \ufffd[31mRed\ufffd[0m" in plain  # its own codes do nothing
    assert re.search(r"^  \w+ 0\.\d{3}(, uncertain)?: It was awful!", plain, re.MULTILINE)
    assert "{" not in plain


def test_a_terminal_without_colours_shows_json(tiny_bundle_path: Path) -> None:
    assert json.loads(on_terminal(*command(tiny_bundle_path, "--evidence", TEXT), NO_COLOR="1"))["evidence"]
    assert json.loads(on_terminal(*command(tiny_bundle_path, TEXT)))["label"]
