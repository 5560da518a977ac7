"""Who may import whom: the floors and their rooms, and the service without torch."""

import ast
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What a module of each place imports of ours, beside its own room: a folder, or a module that stands beside the rooms.
SERVICE = {
    "model": set[str](),
    "engine": {"model"},
    "telemetry": {"engine", "model", "cgroup"},
    "http": {"telemetry", "engine", "model"},
    "api": {"http", "telemetry", "engine", "model"},
    "client": set[str](),
    "bulk": {"model", "client", "cgroup"},
    "shell": {"model"},
    "settings": set[str](),
    "cgroup": set[str](),
    "healthcheck": set[str](),
    "control": {"engine", "model"},
    "supervisor": {"http", "model"},
    "app": {"api", "http", "telemetry", "engine", "model", "settings", "cgroup", "control"},
    "server": {"app", "control", "supervisor", "http", "telemetry", "model", "settings", "cgroup"},
    "__main__": {"server", "http", "model", "bulk", "shell"},
}
TRAINING = {
    "data": set[str](),
    "network": set[str](),
    "fitting": {"network"},
    "evaluation": {"data"},
    "recipe": {"data", "network", "fitting", "evaluation"},
    "release": {"data", "network", "fitting", "evaluation"},
    "options": {"data", "recipe", "fitting", "evaluation"},
    "arguments": {"data", "recipe"},
    "few": {"data", "network", "fitting", "evaluation", "recipe", "release"},
    "run": {"few", "data", "network", "fitting", "evaluation", "recipe", "release", "options", "arguments"},
    "api": {"data", "evaluation", "recipe", "options", "arguments", "run"},
    "__main__": {"few", "data", "network", "fitting", "evaluation", "recipe", "release", "options", "arguments", "run"},
}
# What the wires share, and the parts of one.
NO_WIRES = {f"service.api.{name}" for name in ("answer", "binary_tensors", "inference", "schemas")}
# Third parties that a room does without.
WITHOUT = {
    "model": {"asyncio", "starlette", "fastapi", "prometheus_client", "uvicorn"},
    "engine": {"starlette", "fastapi", "prometheus_client", "uvicorn", "structlog"},
    "telemetry": {"starlette", "fastapi", "uvicorn"},
}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """The modules that a file's import statements name, wherever they stand."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = any((ROOT / (inner.replace(".", "/") + end)).exists() for end in (".py", "/__init__.py"))
                found.add(inner if is_module else node.module)
    return found


def rooms(modules: Collection[str], package: str) -> set[str]:
    """The rooms of `package` (or modules beside them) in which `modules` stand; the package itself has no room."""
    return {module.split(".")[1] for module in modules if module.startswith(f"{package}.")}


def place(path: Path, package: str) -> str:
    return path.relative_to(ROOT / package).with_suffix("").parts[0]


@pytest.mark.parametrize("path", files("service"), ids=name)
def test_the_rooms_of_the_service(path: Path) -> None:
    modules, here = imported(path), place(path, "service")
    assert not {module.split(".")[0] for module in modules} & {"training", "benchmarks", "tests"}
    assert not {module.split(".")[0] for module in modules} & {
        "torch",
        "onnx",
        "transformers",
        "sklearn",
        "rich",
        "pandas",
    }
    assert "httpx" not in {module.split(".")[0] for module in modules} or here == "client"
    if here == "__init__":
        return
    assert rooms(modules, "service") <= SERVICE[here] | {here}
    assert not {module.split(".")[0] for module in modules} & WITHOUT.get(here, set())
    if here == "api" and path.stem != "__init__":  # no wire imports another; what they share is no wire
        wires = {module for module in modules if module.startswith("service.api.")}
        assert wires <= NO_WIRES


@pytest.mark.parametrize("path", files("training"), ids=name)
def test_the_rooms_of_training(path: Path) -> None:
    modules, here = imported(path), place(path, "training")
    assert {module for module in modules if module.startswith("service.")} == {
        module for module in modules if module.startswith(("service.model", "service.bulk.tables"))
    }
    if here == "__init__":
        return
    assert rooms(modules, "training") <= TRAINING[here] | {here}


@pytest.mark.parametrize("package", ["service", "training"])
def test_every_room_has_a_rule(package: str) -> None:
    found = {place(path, package) for path in files(package)} - {"__init__"}
    assert found == set(SERVICE if package == "service" else TRAINING)


def test_the_running_service_holds_no_training_library() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in files("service")
        if place(path, "service") not in ("client", "bulk")  # they are no part of what serves
    ]
    script = (
        "import sys, importlib\n"
        f"for module in {modules}:\n"
        "    importlib.import_module(module)\n"
        "import os\n"
        "unwanted = {'torch', 'onnx', 'training', 'sklearn', 'httpx', 'transformers', 'pandas', 'pyarrow',"
        " 'python_calamine', 'ray'}\n"
        "print(sorted(unwanted & set(sys.modules)),"
        " os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n")[0] == "[] 1"
