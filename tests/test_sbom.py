"""`make sbom` names what a lock pins, with hashes and licences, and refuses a licence that nobody has allowed."""

import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-sbom" / "bin" / "python"


@pytest.fixture(scope="module", autouse=True)
def _tool() -> None:
    """Skips where the tool is not installed; CI has it."""
    if PYTHON.exists():
        return
    reason = "expected cyclonedx-bom in .venv-sbom, found no such environment: run make sbom"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def run(lock: Path, out: Path, python: str) -> subprocess.CompletedProcess[str]:
    """What `make sbom` runs."""
    command = [str(PYTHON), "requirements/sbom.py", str(lock), str(out), "--environment", python]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_service_is_what_its_lock_pins(tmp_path: Path) -> None:
    lock = ROOT / "requirements" / "cpu.txt"
    done = run(lock, tmp_path / "new" / "sbom.json", sys.executable)
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "new" / "sbom.json").read_text())
    assert (document["bomFormat"], document["metadata"]["component"]["name"]) == ("CycloneDX", "ovation-sentiment")
    pins = {
        (name, version): sorted(re.findall("[0-9a-f]{64}", hashes))
        for name, version, hashes in re.findall(r"^([\w.-]+)==(\S+)(.*(?:\n .*)*)", lock.read_text(), re.MULTILINE)
    }
    assert len(pins) > 20
    assert all(pins.values())
    found = {(usual(each["name"]), each["version"]): each for each in document["components"]}
    assert {key: hashes_of(each) for key, each in found.items()} == pins
    assert {usual(each["purl"]) for each in found.values()} == {f"pkg:pypi/{name}@{version}" for name, version in pins}
    assert all(each["licenses"] for each in found.values())
    refs = {each["bom-ref"] for each in [*document["components"], document["metadata"]["component"]]}
    assert {ref for each in document["dependencies"] for ref in (each["ref"], *each["dependsOn"])} == refs


def usual(name: str) -> str:
    """A package's name as the locks have it."""
    return name.lower().replace("_", "-")


def hashes_of(component: dict[str, Any]) -> list[str]:
    """SHA-256 of the files of a component."""
    references = component["externalReferences"]
    return sorted(hash_["content"] for reference in references for hash_ in reference.get("hashes", []))


# The metadata of an installed package, and what is said of it: nothing where all is well.
PACKAGES = {
    "chosen": ("License-Expression: MIT OR Apache-2.0", ""),
    "classified": ("Classifier: License :: OSI Approved :: BSD License", ""),
    "silent": ("Summary: nobody knows", "expected a licence, found none"),
    "copyleft": ("License-Expression: MIT OR AGPL-3.0-only", "found MIT OR AGPL-3.0-only"),
    "private": ("Classifier: License :: Other/Proprietary License", "found License :: Other/Proprietary License"),
    "older": ("License-Expression: MIT\nVersion: 0.9", "expected 1.0, as it is locked, found 0.9 installed"),
    "absent": ("", "expected 1.0, as it is locked, found none installed"),
}


def test_what_is_not_allowed_ends_it(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    [packages] = environment.glob("lib/python*/site-packages")
    for name, (metadata, _) in PACKAGES.items():
        if metadata:
            information = packages / f"{name}-1.0.dist-info"
            information.mkdir()
            version = "" if "Version" in metadata else "Version: 1.0\n"
            (information / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\n{version}{metadata}\n")
    lock = tmp_path / "lock.txt"
    lock.write_text("".join(f"{name}==1.0\n" for name in PACKAGES))
    done = run(lock, tmp_path / "sbom.json", str(environment / "bin" / "python"))
    assert (done.returncode, done.stdout) == (1, "")
    told = dict(line.split(": ", 1) for line in done.stderr.splitlines())
    assert told.keys() == {name for name, (_, problem) in PACKAGES.items() if problem}
    for name, problem in told.items():
        assert PACKAGES[name][1] in problem
    assert not (tmp_path / "sbom.json").exists()
