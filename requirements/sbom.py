"""`make sbom`: what a lock names, as a CycloneDX SBOM: each package's version, licence, purl and hashes of its files.

Runs in an environment of requirements/sbom.txt. Licences and dependencies come from the packages that are installed in
another environment, hashes from the lock. Ends with code 1 where a package of the lock is not installed as it is
locked, or has a licence that is unknown or not in ALLOWED.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from license_expression import ExpressionError, Licensing
from packaging.utils import canonicalize_name
from pip_requirements_parser import InstallRequirement, RequirementsFile

ROOT_PACKAGE = "ovation-sentiment"
# SPDX identifiers that ask for no more than a notice, or (MPL) for changes of the package's own files.
ALLOWED = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "LLVM-exception", "MIT",
    "MIT-CMU", "MPL-2.0", "PSF-2.0", "Python-2.0", "Zlib",
}  # fmt: skip
# Classifiers of packages that name no SPDX identifier.
ALLOWED_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License",
    "License :: OSI Approved :: BSD License",
    "License :: OSI Approved :: MIT License",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)",
}
# What the licence file of a package says whose metadata name none that is standard.
READ = {"protobuf": "BSD-3-Clause"}

Component = dict[str, Any]


class SbomError(Exception):
    """A package is not what was expected; the message has a line for each."""


def main() -> None:
    """Writes the SBOM, and prints a line for each package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lock", type=Path, help="requirements/NAME.txt")
    parser.add_argument("out", type=Path, help="the SBOM")
    parser.add_argument("--environment", required=True, help="the Python of an environment where the lock is installed")
    arguments = parser.parse_args()
    try:
        document = sbom(arguments.lock, arguments.environment)
    except SbomError as error:
        sys.exit(str(error))
    content = json.dumps(document, indent=1)
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator  # takes seconds to import

    if (invalid := JsonStrictValidator(SchemaVersion.V1_6).validate_str(content)) is not None:
        sys.exit(f"expected an SBOM that fits CycloneDX 1.6, found {invalid}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(content + "\n", encoding="utf-8")
    for component in document["components"]:
        print(f"{component['name']} {component['version']}: {', '.join(licences(component))}")
    print(f"{arguments.out}: {len(document['components'])} packages")


def sbom(lock: Path, environment: str) -> dict[str, Any]:
    """The SBOM of the packages in `lock` that this system needs. Raises SbomError."""
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        environment,
        "--output-reproducible",
        "--no-validate",
    ]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        raise SbomError(listed.stderr)
    document: dict[str, Any] = json.loads(listed.stdout)
    installed = {canonicalize_name(component["name"]): component for component in document["components"]}
    pinned = {
        canonicalize_name(requirement.name): requirement
        for requirement in RequirementsFile.from_file(str(lock)).requirements
        if requirement.match_marker()
    }
    problems = [problem for name, pin in pinned.items() for problem in problems_of(name, pin, installed.get(name))]
    if problems:
        raise SbomError("\n".join(problems))
    components = [with_hashes(installed[name], pin) for name, pin in pinned.items()]
    document["components"] = components
    if (root := installed.get(ROOT_PACKAGE)) is not None:
        document["metadata"]["component"] = {**root, "type": "application"}
        components = [root, *components]
    document["dependencies"] = dependencies(document["dependencies"], {each["bom-ref"] for each in components})
    return document


def problems_of(name: str, pin: InstallRequirement, component: Component | None) -> Iterator[str]:
    """What is wrong with the package `name`, as lines."""
    version = pin.get_pinned_version
    if component is None or component["version"].partition("+")[0] != version:  # torch+cpu is torch
        found = "none" if component is None else component["version"]
        yield f"{name}: expected {version}, as it is locked, found {found} installed (make setup)"
        return
    if name in READ:
        component["licenses"] = [{"license": {"id": READ[name]}}]
    found = licences(component)
    if not found:
        yield f"{name}: expected a licence, found none: read its licence file, add it to READ of requirements/sbom.py"
    for licence in found:
        if not is_allowed(licence):
            yield f"{name}: expected licences of ALLOWED of requirements/sbom.py alone, found {licence}"


def licences(component: Component) -> list[str]:
    """SPDX identifiers and expressions, classifiers, or whatever else the package's metadata have."""
    found = []
    for choice in component.get("licenses", []):
        licence = choice.get("license", {})
        found.append(choice.get("expression") or licence.get("id") or licence["name"])
    return found


def is_allowed(licence: str) -> bool:
    """Whether all that `licence` names is allowed: where it leaves a choice, each of its sides."""
    if licence in ALLOWED_CLASSIFIERS:
        return True
    licensing = Licensing()
    try:
        return set(licensing.license_keys(licence)) <= ALLOWED
    except ExpressionError:
        return False


def with_hashes(component: Component, pin: InstallRequirement) -> Component:
    """`component` with the hashes of the files that may be installed: pip takes one of them and refuses any other."""
    if not pin.hash_options:  # the locks for training have none
        return component
    hashes = [{"alg": "SHA-256", "content": option.removeprefix("sha256:")} for option in pin.hash_options]
    files = {"type": "distribution", "url": component["purl"], "comment": "its files, as locked", "hashes": hashes}
    return {**component, "externalReferences": [*component.get("externalReferences", []), files]}


def dependencies(of_all: list[dict[str, Any]], kept: Collection[str]) -> list[dict[str, Any]]:
    """Who needs whom, among those `kept`."""
    found = [each for each in of_all if each["ref"] in kept]
    return [{**each, "dependsOn": [ref for ref in each.get("dependsOn", []) if ref in kept]} for each in found]


if __name__ == "__main__":
    main()
