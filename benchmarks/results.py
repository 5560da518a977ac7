"""The page of tables and the plots, made from the JSON files alone: a section can be measured again by itself."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks import plots

FOLDER = Path(__file__).parent / "results"
SECTIONS = (
    *(
        "grid",
        "floor",
        "closed",
        "sentences",
        "wires",
        "stream",
        "score",
        "peers",
        "open",
        "hostile",
        "workers",
        "soak",
    ),
    *("start", "tuning", "tracing", "keys"),
)
_COMMANDS = (
    "cuda",
    "frontier",
    "keras",
    "page",
    "small",
)  # each measured by its own command, `python -m benchmarks.NAME`


def write(folder: Path) -> None:
    """Writes results.md and the plots from the JSON files in `folder`."""
    parts = ["# Results", "Written by `python -m benchmarks`; the JSON files beside this page hold all figures."]
    for section in (*SECTIONS, *_COMMANDS):
        path = folder / f"{section}.json"
        module = import_module(f"benchmarks.{section}" if section in _COMMANDS else f"benchmarks.sections.{section}")
        if not path.exists():
            parts += [f"## {section}", "Not run."]
            continue
        result = json.loads(path.read_text())
        parts += [f"## {section}", str(module.__doc__).splitlines()[0], module.table(result["found"]), _about(result)]
        if section in plots.SECTIONS:
            parts.append(f"![{section}]({section}.png)")
    plots.write(folder)
    (folder / "results.md").write_text("\n\n".join(parts) + "\n")


def _about(result: dict[str, Any]) -> str:
    machine = result["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}, Python {machine['python']}, "
        f"onnxruntime {machine['onnxruntime']}; texts: {result['texts']}"
        f"{'; {:g} s a load'.format(result['seconds']) if 'seconds' in result else ''}"
        f"{', quick: not to be quoted' if result['quick'] else ''}; revision {str(machine['git_revision'])[:8]}"
        f"{' with changes' if machine['git_dirty'] else ''}, {machine['time_utc']}"
    )
