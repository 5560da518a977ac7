"""`python -m tests.reloads`: the model is changed again and again while texts are asked for, and no answer is lost."""

import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx

from service.model import bundle
from service.model.classifier import Classifier
from tests.support.process import Service, service

ROOT = Path(__file__).parents[1]
ADMIN = "of-the-admin-of-the-tests"
TEXTS = [
    f"The film was {word}, I thought, and {word} again." for word in ("good", "dull", "wonderful", "awful", "fine")
]


@dataclass
class Load:
    """Callers who ask until they are told to stop, and what they were answered."""

    url: str
    expected: dict[str, dict[str, dict[str, float]]]  # by model, then by text: probabilities
    statuses: Counter[int] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def ask(self) -> None:
        """One caller."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.over.is_set():
                for text in TEXTS:
                    answer = client.post("/predict", json={"text": text})
                    self.statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        found = answer.json()
                        self.models[found["model"]] += 1
                        if self.expected.get(found["model"], {}).get(text) != found["probabilities"]:
                            self.wrong.append(f"{found['model']}: {text}: {found['probabilities']}")


def order(running: Service, path: str) -> httpx.Response:
    """Asks for a change as the admin."""
    return httpx.post(f"{running.url}/admin/models/{path}", headers={"X-API-Key": ADMIN}, timeout=180)


def resident(running: Service) -> int:
    """Bytes of the supervisor and its workers."""
    pids = [running.process.pid, *running.workers()]
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def until_all_serve(running: Service) -> None:
    """Waits until an order is carried out: the supervisor refuses them until it has heard of every worker."""
    end = time.monotonic() + 60
    while order(running, "reload").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.2)


def change_under_load(one: Path, other: Path, times: int, callers: int = 4, workers: int = 2) -> tuple[Load, list[int]]:
    """So many reloads, each followed by a rollback; what the callers were answered, and bytes resident after each."""
    with tempfile.TemporaryDirectory() as folder:
        served, second = (Path(shutil.copytree(path, Path(folder) / name)) for path, name in ((one, "a"), (other, "b")))
        classifiers = [Classifier(bundle.read(path), "cpu") for path in (served, second)]
        expected = {
            each.name: {text: each([text])[0].probabilities for text in TEXTS} for each in classifiers
        }  # the service promises the same bits in any batch
        with service(served, module="service", workers=workers, admin_keys=ADMIN, provider="cpu") as running:
            until_all_serve(running)
            load, sizes = Load(running.url, expected), list[int]()
            threads = [threading.Thread(target=load.ask) for _ in range(callers)]
            for thread in threads:
                thread.start()
            try:
                for _ in range(times):
                    for path, name in (("reload?folder=b", classifiers[1].name), ("rollback", classifiers[0].name)):
                        answer = order(running, path)
                        assert (answer.status_code, answer.json().get("model")) == (200, name), answer.text
                    sizes.append(resident(running))
            finally:
                load.over.set()
                for thread in threads:
                    thread.join()
    return load, sizes


@click.command(context_settings={"show_default": True})
@click.option("--times", type=click.IntRange(min=1), default=50, help="Reloads, and as many rollbacks.")
@click.option("--other", type=click.Path(path_type=Path), required=True, help="A bundle beside the one that ships.")
def main(times: int, other: Path) -> None:
    """Changes the model of two workers under load; ends with code 1 where an answer is lost or wrong."""
    load, sizes = change_under_load(ROOT / "models/reviews-bilstm", other, times)
    click.echo(
        f"{times} reloads, {times} rollbacks; answers by status {dict(load.statuses)}, by model {dict(load.models)}"
    )
    click.echo(f"{len(load.wrong)} answers that are not their model's; MiB resident {[size >> 20 for size in sizes]}")
    sys.exit(0 if set(load.statuses) == {200} and not load.wrong else 1)


if __name__ == "__main__":
    main()
