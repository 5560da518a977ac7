"""Who may import whom (the service is served without torch)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRAINING_MAY = {"service.tokenizer", "service.bundle", "service.cell", "service.classifier", "service"}


def imported(path: Path) -> set[str]:
    """The modules that a file's import statements name, wherever they stand."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = (ROOT / inner.replace(".", "/")).with_suffix(".py").exists()
                found.add(inner if is_module else node.module)
    return found


def ours(path: Path) -> set[str]:
    return {name for name in imported(path) if name.split(".")[0] in ("service", "training", "tests")}


@pytest.mark.parametrize("path", sorted((ROOT / "service").rglob("*.py")), ids=lambda path: path.stem)
def test_the_service_imports_only_itself(path: Path) -> None:
    assert {name.split(".")[0] for name in ours(path)} <= {"service"}
    assert not imported(path) & {"torch", "onnx", "sklearn", "rich", "httpx"}
    if path.stem in ("batcher", "grouping"):
        assert ours(path) <= {"service.grouping"}
    if path.stem not in ("app", "__main__", "routes"):
        assert "service.settings" not in ours(path)


@pytest.mark.parametrize("path", sorted((ROOT / "training").rglob("*.py")), ids=lambda path: path.stem)
def test_training_imports_little_of_the_service(path: Path) -> None:
    assert {name for name in ours(path) if name.startswith("service")} <= TRAINING_MAY


def test_the_running_service_holds_no_training_library() -> None:
    script = (
        "import sys, pkgutil, importlib, service\n"
        "for module in pkgutil.iter_modules(service.__path__):\n"
        "    if module.name != '__main__': importlib.import_module('service.' + module.name)\n"
        "import service.__main__, os\n"
        "print(sorted({'torch', 'onnx', 'training', 'sklearn', 'httpx'} & set(sys.modules)),"
        " os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split("\n")[0] == "[] 1"
