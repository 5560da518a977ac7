"""The wheel holds the service and the training package, all of their data, and the command."""

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import service

ROOT = Path(__file__).parents[1]
PAGES = {"service/README.md", "training/README.md"}  # for readers of the repository


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """What pip builds from a copy of the repository, with the setuptools that is installed and without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "models", "runs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / f"ovation_sentiment-{service.__version__}-py3-none-any.whl")


def test_it_holds_every_module_and_data_file_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    files = (path for package in ("service", "training") for path in (ROOT / package).rglob("*") if path.is_file())
    expected = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts} - PAGES
    information = f"ovation_sentiment-{service.__version__}.dist-info/"
    assert {name for name in wheel.namelist() if not name.startswith(information)} == expected
    assert f"{information}licenses/LICENSE" in wheel.namelist()


def test_it_has_the_command(wheel: zipfile.ZipFile) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(f"ovation_sentiment-{service.__version__}.dist-info/entry_points.txt").decode())
    assert {name: dict(entries[name]) for name in entries.sections()} == {
        "console_scripts": {"ovation": "service.__main__:run"}
    }
