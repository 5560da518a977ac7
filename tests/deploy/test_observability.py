"""What watches the service: dashboard and rules ask for series that are there, and alerts fire for their reasons."""

import asyncio
import contextlib
import json
import math
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from benchmarks import drift
from benchmarks.drift import ALERTING, QUANTITIES, TEXTS, THRESHOLD, psi, source_code
from service.model import bundle
from service.model.classifier import Classifier
from tests.support.process import service
from tests.support.server import client_of, make_app

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "ovation.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [
    rule
    for name in ("recording.yml", "alerts.yml")
    for group in yaml.safe_load((PROMETHEUS / name).read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
PANELS = [
    (panel["title"], target["expr"].replace("$__rate_interval", "1m"))
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
EXPRESSIONS = [*PANELS, *((rule.get("record") or rule["alert"], rule["expr"]) for rule in RULES)]
OF_PROMETHEUS = {"namespace", "job", "instance"}  # what it gives each target's series
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "Inf"}


@pytest.fixture(scope="session")
def promtool() -> str:
    """The command; nobody may be left to think that it ran where it is not installed."""
    if found := shutil.which("promtool"):
        return found
    reason = "expected promtool, which checks deploy/prometheus, found none: apt-get install prometheus"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def samples(text: str) -> list[Sample]:
    """All that /metrics tells."""
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def metrics(request: pytest.FixtureRequest, tiny_bundle_path: Path) -> str:
    """What /metrics tells after some requests."""
    with service(tiny_bundle_path, workers=request.param) as found:
        for text in ("The film was superb.", "Awful!", ""):
            httpx.post(f"{found.url}/predict", json={"text": text}, timeout=30)
            httpx.post(f"{found.url}/hf", json={"inputs": text}, timeout=30)
        return httpx.get(f"{found.url}/metrics", timeout=30).text


def test_a_worker_that_is_replaced_is_a_restart(tiny_bundle_path: Path) -> None:
    with service(tiny_bundle_path, workers=2) as found:

        def read() -> dict[str, float]:
            text = httpx.get(f"{found.url}/metrics", timeout=30).text
            return {sample.name: sample.value for sample in samples(text) if sample.name.startswith("process_")}

        before = read()
        [first, _] = found.workers()
        resident = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in found.workers()]
        assert before["process_resident_memory_bytes"] == pytest.approx(sum(resident) * resource.getpagesize(), rel=0.1)
        os.kill(first, signal.SIGKILL)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):  # it may have been asked
                if read()["process_start_time_seconds"] > before["process_start_time_seconds"]:
                    return
            time.sleep(0.05)
        pytest.fail(f"expected a later start than {before}, found none")


def missing(expr: str, live: list[Sample]) -> list[str]:
    """The series and labels that an expression asks for and nobody has."""
    series = {"up": [{"job": "ovation"}], "ALERTS": [{"alertname": "Ovation", "alertstate": "firing"}]}
    for sample in live:
        series.setdefault(sample.name, []).append({**sample.labels, "job": "ovation"})
    recorded: dict[str, set[str]] = {}  # the words of its rule, and of those behind it: its labels are among them
    for rule in RULES:
        words = {*re.findall(r"[\w:]+", rule["expr"]), *rule.get("labels", ())}
        if "record" in rule:
            recorded.setdefault(rule["record"], set()).update(words, *(recorded.get(word, ()) for word in words))
    bare = re.sub(r"\[[^\]]*\]", "", expr)
    lists = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    grouped = re.findall(r"\w+", " ".join(re.findall(lists, bare)))
    bare = re.sub(lists, "", bare)
    selector = r"([A-Za-z_:][\w:]*)\s*\{([^}]*)\}"
    asked = re.findall(selector, bare)
    bare = re.sub(r'"[^"]*"', "", re.sub(selector, "", bare))
    asked += [(name, "") for name in re.findall(r"\b[A-Za-z_:][\w:]*\b(?!\s*\()", bare) if name not in WORDS]
    assert asked, expr
    known = OF_PROMETHEUS | set(re.findall(r'"(\w+)", "\$1"', expr))  # and what label_replace makes
    found = []
    for name, inner in asked:
        matchers = re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', inner)
        if name in recorded:
            known |= recorded[name]
            found += [f"{name}{{{label}}}" for label, _, _ in matchers if label not in recorded[name]]
        else:
            known |= {label for labels in series.get(name, ()) for label in labels}
            if not any(selected(labels, matchers) for labels in series.get(name, ())):
                found.append(f"{name}{{{inner}}}")
    return found + [label for label in grouped if label not in known]


def selected(labels: dict[str, str], matchers: list[tuple[str, str, str]]) -> bool:
    """Whether a series with these labels is one that Prometheus would take."""
    for label, sign, wanted in matchers:
        value = labels.get(label, "")
        alike = re.fullmatch(wanted, value) is not None if "~" in sign else value == wanted
        if alike == sign.startswith("!"):
            return False
    return True


def test_every_expression_asks_for_what_is_there(metrics: str) -> None:
    live = samples(metrics)
    assert {place: gone for place, expr in EXPRESSIONS if (gone := missing(expr, live))} == {}
    assert len(EXPRESSIONS) > 40


@pytest.mark.parametrize(
    ("expr", "gone"),
    [
        ("rate(ovation_request_total[5m])", ["ovation_request_total{}"]),
        ('ovation_requests_total{status="418"} > 1', ['ovation_requests_total{status="418"}']),
        ('ovation_requests_total{rute=~"/predict.*"}', ['ovation_requests_total{rute=~"/predict.*"}']),
        ("sum by (job, rute) (ovation_requests_total)", ["rute"]),
        (
            "max(ovation:slow_ratio:rate2m) or ovation_workers * 2",
            ["ovation:slow_ratio:rate2m{}", "ovation_workers{}"],
        ),
        ('ovation:drift_psi:increase30m{status="200"}', ["ovation:drift_psi:increase30m{status}"]),
    ],
)
def test_a_wrong_name_would_be_found(metrics: str, expr: str, gone: list[str]) -> None:
    assert sorted(missing(expr, samples(metrics))) == sorted(gone)


def test_no_expression_leaves_out_or_splits_by_a_wire() -> None:
    for place, expr in EXPRESSIONS:
        for selector in re.findall(r"ovation_request(?:s_total|_seconds_\w+)\{([^}]*)\}", expr):
            assert re.search(r'protocol!="none"|route=~', selector), place
        assert not re.search(r"\bby \([^)]*\bprotocol\b", expr), place
        assert not re.search(r'protocol(=|=~|!~)"|protocol!="(?!none")', expr), place


def test_every_alert_says_what_to_do_and_is_tested() -> None:
    page = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", page, re.MULTILINE)}
    tests = (PROMETHEUS / "tests.yml").read_text(encoding="utf-8")
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (path, anchor in headings, anchor) == ("deploy/README.md", True, rule["alert"].lower())
        fired = (
            rf'ALERTS\{{alertname="{rule["alert"]}", alertstate="firing"[^}}]*severity="{rule["labels"]["severity"]}"'
        )
        assert re.search(fired, tests), rule


def test_the_benchmark_of_drift_is_of_the_alert_that_there_is() -> None:
    [rule] = [rule for rule in ALERTS if rule["alert"] == "OvationDrift"]
    window = f"increase{drift.WINDOW_MINUTES}m"
    assert f'ovation:drift_psi:{window}{{of=~"{"|".join(ALERTING)}"}} > {THRESHOLD}' in rule["expr"]
    assert f'ovation:texts_up_to:{window}{{up_to="+Inf"}} >= {TEXTS}' in rule["expr"]
    assert rule["for"] == f"{drift.FOR_MINUTES}m"
    assert sum(f"_bucket[{drift.WINDOW_MINUTES}m]" in rule["expr"] for rule in RULES) == len(QUANTITIES)


def test_promtool_accepts_configuration_rules_and_metrics(promtool: str, metrics: str) -> None:
    for what, name in (("check config", "prometheus.yml"), ("test rules", "tests.yml")):
        command = [promtool, *what.split(), str(PROMETHEUS / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([promtool, "check", "metrics"], input=metrics, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_source_code_raises_drift_and_the_reference_does_not(promtool: str, tmp_path: Path) -> None:
    """Through the bundle that ships and the real series; the index is the one that NumPy computes of the answers."""
    classifier = Classifier(bundle.read(ROOT / "models" / "reviews-bilstm"), "cpu")
    reference = classifier.manifest.reference
    assert reference is not None
    texts = [text for text in source_code() if text.strip()][: TEXTS + 50]

    async def judge() -> tuple[list[dict[str, Any]], list[Sample]]:
        async with client_of(make_app(classifier)) as client:
            answers: list[dict[str, Any]] = []
            for start in range(0, len(texts), 50):
                body = {"texts": texts[start : start + 50]}
                answer = await client.post("/predict/batch", json=body)
                assert answer.status_code == 200, answer.text
                answers += answer.json()["predictions"]
            return answers, samples((await client.get("/metrics")).text)

    answers, live = asyncio.run(judge())
    expected = {of: psi(np.array([a[of] for a in answers], float), getattr(reference, of)) for of in QUANTITIES}
    names = {"ovation_score": "score", "ovation_text_tokens": "tokens", "ovation_text_unknown_share": "unknown_share"}
    shares = [sample for sample in live if sample.name == "ovation_reference_ratio"]
    code, alike = [], []
    for sample in live:
        of = names.get(sample.name.removesuffix("_bucket"))
        if sample in shares:
            code.append((sample, f"{sample.value}x60"))
            alike.append(code[-1])
        elif of and sample.name.endswith("_bucket"):
            code.append((sample, f"0x40 {sample.value}x19"))
            end = float(sample.labels["le"])
            up_to = sum(s.value for s in shares if s.labels["of"] == of and float(s.labels["up_to"]) <= end)
            alike.append((sample, f"0+{up_to * TEXTS / 20}x60"))
    fires = [
        {"labels": f'ALERTS{{alertname="OvationDrift", alertstate="firing", job="ovation", model="{classifier.name}", '
                   f'of="{of}", severity="ticket"}}', "value": 1}
        for of in ALERTING if expected[of] > THRESHOLD
    ]  # fmt: skip
    assert len(fires) == 2
    cases = [
        {"expr": f'abs(ovation:drift_psi:increase30m{{of="{of}"}} - {value}) < bool 1e-6', "eval_time": "58m",
         "exp_samples": [{"labels": f'{{job="ovation", model="{classifier.name}", of="{of}"}}', "value": 1}]}
        for of, value in expected.items()
    ]  # fmt: skip
    silent = {"expr": "ALERTS", "eval_time": "58m", "exp_samples": []}
    near = {"expr": "count(abs(ovation:drift_psi:increase30m) < 1e-6)", "eval_time": "58m"}
    document = {
        "rule_files": [str(PROMETHEUS / name) for name in ("recording.yml", "alerts.yml")],
        "evaluation_interval": "1m",
        "tests": [
            scenario(code, [*cases, {"expr": "ALERTS", "eval_time": "52m", "exp_samples": fires}]),
            scenario(alike, [silent, {**near, "exp_samples": [{"labels": "{}", "value": len(QUANTITIES)}]}]),
        ],
    }
    path = tmp_path / "tests.yml"
    path.write_text(json.dumps(document))  # JSON is YAML
    done = subprocess.run([promtool, "test", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def scenario(series: list[tuple[Sample, str]], cases: list[dict[str, Any]]) -> dict[str, Any]:
    """One of promtool's tests: what is scraped each minute, and what comes of it."""
    inputs = [{"series": 'up{job="ovation"}', "values": "1x60"}]
    for sample, values in series:
        labels = ",".join(f'{name}="{value}"' for name, value in {**sample.labels, "job": "ovation"}.items())
        inputs.append({"series": f"{sample.name}{{{labels}}}", "values": values})
    return {"interval": "1m", "input_series": inputs, "promql_expr_test": cases}


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A real Prometheus with our rules, which looks at `target` every second, until the block ends."""
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(PROMETHEUS / name) for name in configuration["rule_files"]]
    configuration["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        with contextlib.closing(httpx.Client()) as client:
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                with contextlib.suppress(httpx.TransportError):
                    if client.get(f"http://{address}/-/ready").status_code == 200:
                        break
                time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


# Which have nothing to tell of a service without a limit, or without a model in the shadow.
MAY_BE_EMPTY = {
    "ovation_memory_limit_bytes < Inf",
    *(expr for title, expr in PANELS if title == "Disagreement of the shadow"),
}


def test_prometheus_has_an_answer_for_every_panel(promtool: str, tiny_bundle_path: Path, tmp_path: Path) -> None:
    empty = {expr: title for title, expr in PANELS if expr not in MAY_BE_EMPTY}

    def answer(client: httpx.Client, expr: str) -> list[Any]:
        found = client.get(f"{url}/api/v1/query", params={"query": expr}).json()
        assert found["status"] == "success", found
        result: list[Any] = found["data"]["result"]
        return result

    with (
        service(tiny_bundle_path) as found,
        prometheus(tmp_path, found.url.removeprefix("http://")) as url,
        httpx.Client(timeout=30) as client,
    ):
        end = time.monotonic() + 60
        while empty and time.monotonic() < end:
            for text in ("The film was superb.", "Awful!", ""):
                client.post(f"{found.url}/predict", json={"text": text})
            client.post(f"{found.url}/predict/batch", json={"texts": ["Awful!", ""], "on_error": "item"})
            for expr in list(empty):
                values = [float(series["value"][1]) for series in answer(client, expr)]
                if values and not any(map(math.isnan, values)):
                    del empty[expr]
            time.sleep(0.1)
        assert empty == {}
        groups = client.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
        assert answer(client, 'ALERTS{alertstate="firing"}') == []
