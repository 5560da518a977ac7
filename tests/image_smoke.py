"""Builds the image, runs it as docker-compose.yml says, and checks what is promised of it: `make test-image`.

Needs nothing but Python, Docker with BuildKit, and Compose. One line a check, with what was measured; the exit code is
1 if any of them failed. Prometheus is Debian's, in an image made here, so that nothing but the base image is pulled.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

ROOT = Path(__file__).parents[1]
IMAGE, BASE, PROMETHEUS = "ovation-smoke", "ovation-smoke-base", "ovation-smoke-prometheus"
MAX_LAYERS_MB, MAX_RESIDENT_MB, MAX_HEALTHY_SECONDS = 230, 220, 10
CLIENTS = 16
JOY, FLAT = "An absolute joy from start to finish.", "The plot drags and every joke falls flat."
PROMETHEUS_DOCKERFILE = f"""
FROM {BASE}
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* \\
    && mkdir -p /prometheus && chown 65534:65534 /prometheus
ENTRYPOINT ["prometheus"]
"""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


PORT, PROMETHEUS_PORT = free_port(), free_port()
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("OVATION_")},
    "DOCKER_BUILDKIT": "1",
    "COMPOSE_PROJECT_NAME": IMAGE,
    "OVATION_IMAGE": IMAGE,
    "OVATION_PORT": str(PORT),
    "OVATION_PRE_STOP_SECONDS": "3",
    "PROMETHEUS_IMAGE": PROMETHEUS,
    "PROMETHEUS_PORT": str(PROMETHEUS_PORT),
}


def run(*command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command to its end; a failure tells what it wrote."""
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT, **options, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done


def docker(*arguments: str) -> str:
    """What a docker command printed."""
    return run("docker", *arguments).stdout.strip()


def compose(*arguments: str) -> str:
    """What Compose printed: version 2 or later where Docker has it, else 1.29."""
    plugin = run("docker", "compose", "version", check=False).returncode == 0
    command = ("docker", "compose") if plugin else ("docker-compose",)
    return run(*command, "--profile", "observability", *arguments).stdout


def down() -> None:
    """Removes all that a run, this one or one that broke off, has started."""
    compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


def container(service: str = "ovation") -> str:
    """The id of a running or stopped container of the project."""
    filters = (f"label=com.docker.compose.project={IMAGE}", f"label=com.docker.compose.service={service}")
    return docker("ps", "--all", "--quiet", *(part for name in filters for part in ("--filter", name)))


def inspect(what: str = "") -> Any:
    """All that the engine knows of a container, or of the service's."""
    return json.loads(docker("inspect", what or container()))[0]


def inside(code: str, *options: str) -> Any:
    """Runs Python in the service's container, beside the service; what it printed as JSON."""
    return json.loads(docker("exec", *options, container(), "python", "-c", f"import json, os, pathlib\n{code}"))


def until(true: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Asks again and again until the answer is true, and gives it."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"expected {what} within {seconds:.0f} s"
        time.sleep(0.05)
    return found


def until_healthy() -> None:
    """Until the engine calls the service healthy."""
    until(lambda: inspect()["State"]["Health"]["Status"] == "healthy", "a healthy service")


def get(path: str, port: int = PORT) -> tuple[int, str]:
    """Status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def predict(connection: http.client.HTTPConnection, text: str) -> tuple[int, Any]:
    """Status and answer of one request."""
    connection.request("POST", "/predict", json.dumps({"text": text}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


class Load:
    """Clients that each send their next request when the last is answered, until they are told to stop."""

    def __init__(self) -> None:
        self.answered, self.refused, self.lost = 0, 0, 0
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(index,)) for index in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Lets each client have the answer that it waits for."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _client(self, index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        while not self._stop.is_set():
            kind = "lost"
            try:
                kind = "answered" if predict(connection, f"{JOY} " * (1 + index * 4))[0] == 200 else "refused"
            except ConnectionRefusedError:
                kind = "refused"
            except (OSError, http.client.HTTPException):
                connection.close()
            with self._lock:
                setattr(self, kind, getattr(self, kind) + 1)
            if kind != "answered":
                self._stop.wait(0.05)
        connection.close()

    def until_answered(self, more: int) -> None:
        """Until so many more requests have been answered."""
        aim = self.answered + more
        until(lambda: self.answered >= aim, f"{more} more answers")

    def __str__(self) -> str:
        return f"answered {self.answered:,}, refused {self.refused}, lost {self.lost}"


def build() -> str:
    """The image builds."""
    began = time.monotonic()
    # An engine without a bridge network has no other way out.
    bridge = run("docker", "network", "inspect", "bridge", check=False).returncode == 0
    network = [] if bridge else ["--network=host"]
    told = ("--build-arg", f"VERSION={version()}", "--build-arg", f"REVISION={revision()}")
    docker("build", *network, "--tag", IMAGE, *told, ".")
    docker("build", *network, "--tag", BASE, "--target", "python", ".")
    run("docker", "build", *network, "--tag", PROMETHEUS, "-", input=PROMETHEUS_DOCKERFILE)
    return f"{time.monotonic() - began:.0f} s, with Prometheus'"


def version() -> str:
    """Of the service."""
    found = re.search(r'__version__ = "(.+)"', (ROOT / "service" / "__init__.py").read_text())
    assert found
    return found[1]


def revision() -> str:
    """The commit, where there is one."""
    return run("git", "rev-parse", "HEAD", check=False).stdout.strip()


def labels() -> str:
    """Its labels tell what it is."""
    found = inspect(IMAGE)["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert (found[f"{prefix}version"], found[f"{prefix}revision"]) == (version(), revision()), found
    return f"version {version()}, revision {revision()[:12]}"


def layers() -> str:
    """Its own layers are small."""

    def megabytes(image: str) -> float:
        return sum(map(int, docker("history", "--human=false", "--format", "{{.Size}}", image).split())) / 1e6

    own = megabytes(IMAGE) - megabytes(BASE)
    assert 0 < own <= MAX_LAYERS_MB, f"{own:.0f} MB"
    return f"{own:.0f} MB <= {MAX_LAYERS_MB}"


def contents() -> str:
    """It holds what is locked, and no torch, training, pip cache, tests, data or compiler."""
    code = """
import importlib.metadata, importlib.util, json, os, shutil, sys
site = f"/venv/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
files = [os.path.join(folder, name) for top in ("/venv", "/app") for folder, _, names in os.walk(top) for name in names]
print(json.dumps({
    "packages": {one.name: one.version for one in importlib.metadata.distributions(path=[site])},
    "modules": [name for name in ("torch", "onnx", "training", "sklearn", "pip") if importlib.util.find_spec(name)],
    "files": [f for f in files if {"tests", ".cache", "figures"} & set(f.split("/")) or f.endswith((".csv", ".gz"))],
    "caches": [path for path in ("/root/.cache", "/.cache", "/tmp/pip") if os.path.exists(path)],
    "compilers": [name for name in ("cc", "gcc", "g++", "clang", "make") if shutil.which(name)],
}))"""
    found = json.loads(docker("run", "--rm", "--entrypoint", "python", IMAGE, "-c", code))
    packages = {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in found.pop("packages").items()}
    lock = (ROOT / "requirements" / "cpu.txt").read_text()
    locked = dict(re.findall(r"^([a-z0-9.-]+)==([^ ;]+)", lock, re.MULTILINE))
    assert packages == locked, (packages, locked)
    assert not any(found.values()), found
    return f"{len(packages)} packages: {', '.join(f'{name} {number}' for name, number in sorted(packages.items()))}"


def up() -> str:
    """`up` makes the service healthy in time, on 127.0.0.1 alone."""
    compose("up", "--detach", "--no-build", "ovation")
    until_healthy()
    state, ports = inspect()["State"], inspect()["NetworkSettings"]["Ports"]
    started, ended = (
        datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z?", r"\1", moment).removesuffix("Z")[:26])
        for moment in (state["StartedAt"], next(p["End"] for p in state["Health"]["Log"] if p["ExitCode"] == 0))
    )
    seconds = (ended - started).total_seconds()
    assert 0 < seconds <= MAX_HEALTHY_SECONDS, f"{seconds} s"
    assert [one["HostIp"] for some in ports.values() for one in some] == ["127.0.0.1"], ports
    assert docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={IMAGE}").count("\n") == 0
    return f"{seconds:.1f} s <= {MAX_HEALTHY_SECONDS}, probed every 5"


def answers() -> str:
    """It answers."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)) as connection:
        found = [predict(connection, text) for text in (JOY, FLAT)]
    assert [status for status, _ in found] == [200, 200], found
    assert [answer["label"] for _, answer in found] == ["positive", "negative"], found
    return f"{JOY} -> {found[0][1]['label']} {found[0][1]['score']:.3f}"


def hardened() -> str:
    """It runs as nobody in particular, can write nowhere but to /tmp, and has no capability."""
    found = inside("""
def write(path):
    try: pathlib.Path(path).write_text("x")
    except OSError as error: return error.strerror
    return "written"
status = dict(line.split(":", 1) for line in pathlib.Path("/proc/1/status").read_text().splitlines())
print(json.dumps({
    "written": {path: write(path + "/x") for path in ("", "/app", "/venv", "/tmp")},
    "capabilities": {status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16},
    "users": status["Uid"].split() + status["Gid"].split(), "no_new_privileges": status["NoNewPrivs"].strip(),
    "command": pathlib.Path("/proc/1/cmdline").read_text().split(chr(0)),
}))""")
    refused = "Read-only file system"
    assert found["written"] == {"": refused, "/app": refused, "/venv": refused, "/tmp": "written"}, found
    assert found["users"] == ["10001"] * 8, found
    assert found["command"][:4] == ["python", "-m", "service", "serve"], found
    assert (found["capabilities"], found["no_new_privileges"]) == (True, "1"), found
    host = inspect()["HostConfig"]
    assert host["Memory"] > 0, host
    assert host["NanoCpus"] > 0, host
    assert host["RestartPolicy"]["Name"] == "unless-stopped", host
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, host
    return f"10001:10001, read-only, no capabilities, {host['Memory'] >> 20} MiB, {host['NanoCpus'] / 1e9:g} CPUs"


def resident_mb() -> float:
    """Of process 1."""
    status: str = inside("print(json.dumps(pathlib.Path('/proc/1/status').read_text()))")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def memory() -> str:
    """It stays small while it serves."""
    before = resident_mb()
    with Load() as load:
        load.until_answered(3000)
    after = resident_mb()
    assert (load.refused, load.lost) == (0, 0), str(load)
    assert 50 < after <= MAX_RESIDENT_MB, f"{after:.0f} MB"
    return f"{after:.0f} MB <= {MAX_RESIDENT_MB} after {load.answered:,} requests ({before:.0f} MB at their start)"


def scraped() -> str:
    """Prometheus finds it in the network of compose, and takes our rules."""
    compose("up", "--detach", "--no-build", "prometheus")

    def ask(path: str, **query: str) -> Any:
        try:
            status, body = get(f"/api/v1/{path}?{urlencode(query)}", PROMETHEUS_PORT)
        except (OSError, http.client.HTTPException):
            return None
        return json.loads(body)["data"] if status == 200 else None

    def target() -> Any:
        active = (ask("targets") or {"activeTargets": []})["activeTargets"]
        return [one for one in active if one["health"] == "up" and one["scrapeUrl"].endswith(":8000/metrics")]

    [found] = until(target, "a target that is up", 180)
    ready = 'ovation_requests_total{route="/predict",status="200"}'
    counted = until(lambda: ask("query", query=ready)["result"], ready)
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert rules, "no rules"
    assert all(rule["health"] in ("ok", "unknown") for rule in rules), rules
    assert inspect(container("prometheus"))["HostConfig"]["ReadonlyRootfs"]
    return f"{found['scrapeUrl']} is up, {counted[0]['value'][1]} requests counted, {len(rules)} rules"


def restarted() -> str:
    """A process that ends is started again."""
    inside("os.kill(1, 15); print(1)")
    until(lambda: inspect()["RestartCount"] == 1, "a restart")
    until_healthy()
    return answers()


def stopped_under_load() -> str:
    """`docker stop` under load loses nothing: clients leave when it says that it is not ready."""
    with Load() as load:
        load.until_answered(200)
        began = time.monotonic()
        stopping = subprocess.Popen(["docker", "stop", container()], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        until(lambda: get("/health/ready")[0] == 503, "not to be ready any more", 10)
        load.until_answered(50)
    assert stopping.wait(60) == 0
    seconds, state = time.monotonic() - began, inspect()["State"]
    assert (state["ExitCode"], state["Running"], load.refused, load.lost) == (0, False, 0, 0), (str(load), state)
    return f"{load}; code 0 after {seconds:.1f} s, 3 of them still open and not ready"


def several_workers() -> str:
    """Two workers share their metrics through /tmp, the one place that can be written to."""
    ENVIRONMENT["OVATION_WORKERS"] = "2"
    compose("up", "--detach", "--no-build", "ovation")
    until_healthy()
    with Load() as load:
        load.until_answered(500)

    def counted() -> int:
        found = re.search(
            r'^ovation_requests_total\{protocol="native",route="/predict",status="200"\} (\S+)',
            get("/metrics")[1],
            re.M,
        )
        return int(float(found[1])) if found else 0

    # An answer is counted when it has been sent: the worker may still be at it.
    until(lambda: counted() >= load.answered, f"{load.answered} requests counted", 10)
    assert (counted(), load.refused, load.lost) == (load.answered, 0, 0), (counted(), str(load))
    return f"{load.answered:,} requests sent, {counted():,} counted"


def stopped_with_workers() -> str:
    """`docker stop` under load loses nothing with two workers either."""
    return stopped_under_load()


@contextlib.contextmanager
def changed_bundle(file: str, change: Callable[[str], str]) -> Iterator[Path]:
    """A copy of the bundle that ships, one of whose files is changed."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(shutil.copytree(ROOT / "models" / "reviews-bilstm", Path(folder) / "bundle"))
        (bundle / file).write_text(change((bundle / file).read_text()))
        Path(folder).chmod(0o755)
        yield bundle


def mounted() -> str:
    """A bundle that is mounted over models/default or over models/imdb-bilstm, its path before, is what it serves."""
    names = []
    with changed_bundle(
        "manifest.json", lambda text: text.replace('"name": "reviews-bilstm"', '"name": "mine"')
    ) as bundle:
        for path in ("default", "imdb-bilstm"):
            mount = f"{bundle}:/app/models/{path}:ro"
            answer = json.loads(docker("run", "--rm", "--read-only", "--volume", mount, IMAGE, "predict", JOY))
            names.append(answer["model"].split("@")[0])
    for path in ("default", "imdb-bilstm"):
        answer = json.loads(docker("run", "--rm", "--read-only", IMAGE, "predict", JOY, "--model", f"models/{path}"))
        names.append(answer["model"].split("@")[0])
    assert names == ["mine", "mine", "reviews-bilstm", "reviews-bilstm"], names
    return "both serve the mounted bundle; without a mount both are the one inside"


def damaged() -> str:
    """A damaged bundle ends it with code 3."""
    with changed_bundle("vocabulary.json", lambda text: "[]") as bundle:
        mount = f"{bundle}:/app/models/default:ro"
        done = run("docker", "run", "--rm", "--read-only", "--volume", mount, IMAGE, check=False)
    assert done.returncode == 3, done
    assert re.search(r"vocabulary\.json: expected \d+ bytes, .*, found 2 bytes", done.stderr), done.stderr
    return done.stderr.strip()[:70] + "…"


CHECKS = (
    *(build, labels, layers, contents, up, answers, hardened, memory, scraped, restarted),
    *(stopped_under_load, several_workers, stopped_with_workers, mounted, damaged),
)


def main() -> int:
    """Runs every check, whatever became of those before; how many failed."""
    failed = 0
    down()
    try:
        for check in CHECKS:
            what, outcome = (check.__doc__ or "").removesuffix("."), "ok"
            try:
                measured = check()
            except Exception as error:
                measured, outcome, failed = f"{type(error).__name__}: {error}", "FAILED", failed + 1
            print(f"{outcome:6}  {what}\n        {measured}", flush=True)
        if failed:
            print(compose("logs", "--no-color", "--tail", "30"), file=sys.stderr)
    finally:
        down()
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
