"""Another model while the service runs: all workers change or none, and no answer is lost."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import httpx
import pytest

from service.model import bundle
from service.model.bundle import BundleError
from service.model.bundles import Bundles, ChangeRefused, Files, Order
from tests.reloads import ADMIN, change_under_load, order, until_all_serve
from tests.support.connection import sample, until
from tests.support.process import Service, service


@pytest.fixture
def models(tiny_bundle_path: Path, tmp_path: Path) -> Path:
    """A folder with the bundle `a`, the bundle `b`, which differs from it, and `bad`, which is none."""
    a = Path(shutil.copytree(tiny_bundle_path, tmp_path / "models" / "a"))
    found = bundle.read(a)
    changed = found.manifest.model_copy(update={"version": "2"})
    bundle.write(a.with_name("b"), changed, found.model, found.tokenizer.vocabulary)
    shutil.copytree(a, a.with_name("bad"))
    (a.with_name("bad") / "vocabulary.json").write_text("[]")
    return a.parent


def served(running: Service) -> set[str]:
    """The models that answer many new connections, which any worker takes."""
    return {httpx.get(f"{running.url}/model", timeout=30).json()["model"] for _ in range(24)}


def until_served(running: Service, name: str) -> None:
    end = time.monotonic() + 60
    while served(running) != {name}:
        assert time.monotonic() < end, f"expected {name} of all workers"


def test_changes_under_load_lose_and_confuse_nothing(models: Path) -> None:
    load, _ = change_under_load(models / "a", models / "b", times=3)
    assert set(load.statuses) == {200}
    assert load.wrong == []
    assert len(load.models) == 2


def test_what_cannot_be_served_changes_nothing(models: Path) -> None:
    name, other = (bundle.read(models / each).name for each in "ab")
    with service(models / "a", module="service", workers=2, admin_keys=f"boss={ADMIN}") as running:
        until_all_serve(running)
        until(running.url, 0, "ovation_model_change_failed")
        for folder in ("bad", "nowhere", "bad"):
            refused = order(running, f"reload?folder={folder}")
            assert (refused.status_code, refused.json()["error_type"]) == (409, "change_refused")
            assert "expected" in refused.json()["detail"]
        assert served(running) == {name}
        told = httpx.get(f"{running.url}/model").json()["last_change"]
        assert (told["kind"], told["succeeded"]) == ("reload", False)
        assert sample(running.url, "ovation_model_change_failed") >= 1
        for folder in ("../a", "/etc", "%2e%2e", ""):
            assert order(running, f"reload?folder={folder}").status_code == 422
        assert order(running, "reload?folder=b").json()["model"] == other
        until_served(running, other)
        until(running.url, 0, "ovation_model_change_failed")
        assert order(running, "rollback").json()["model"] == name
        until_served(running, name)
        assert f'ovation_model_info{{name="{other}",provider="cpu"}} 0.0' in httpx.get(f"{running.url}/metrics").text
        running.process.terminate()
        code, log = running.end()
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["key"] for line in lines if line["event"] == "change of the model ordered"} == {"boss"}
    failed = [line["reason"] for line in lines if line["event"] == "model not changed, the one before stays"]
    assert any("vocabulary.json: expected" in reason for reason in failed)
    assert ADMIN not in log


@pytest.mark.parametrize("workers", [1, 2])
def test_sighup_reads_the_folder_again(models: Path, workers: int) -> None:
    name, other = (bundle.read(models / each).name for each in "ab")
    with service(models / "a", module="service", workers=workers) as running:
        assert served(running) == {name}
        (models / "a").rename(models / "old")
        (models / "b").rename(models / "a")
        end = time.monotonic() + 60
        while served(running) != {other}:  # a worker may still be starting, and then the supervisor refuses
            running.process.send_signal(signal.SIGHUP)
            assert time.monotonic() < end


def test_a_worker_that_is_replaced_serves_what_was_verified_at_the_start(models: Path) -> None:
    name, other = (bundle.read(models / each).name for each in "ab")
    with service(models / "a", module="service", workers=2, admin_keys=ADMIN) as running:
        until_all_serve(running)
        for current in (name, other):
            for path in (models / "a").iterdir():
                if path.is_file():
                    path.write_bytes(b"damaged")
            killed = running.workers()[0]
            os.kill(killed, signal.SIGKILL)
            end = time.monotonic() + 60
            while killed in running.workers() or len(running.workers()) < 2:
                assert time.monotonic() < end
                time.sleep(0.05)
            assert served(running) == {current}
            while order(running, "reload?folder=b").status_code != 200:
                assert time.monotonic() < end
        assert running.process.poll() is None


def test_workers_end_without_their_supervisor(models: Path) -> None:
    with service(models / "a", module="service", workers=2, admin_keys=ADMIN) as running:
        until_all_serve(running)
        orphans = running.workers()
        running.process.kill()
        end = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in orphans):
            assert time.monotonic() < end, "expected the workers to stop"
            time.sleep(0.05)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{running.url}/health")
    assert len(orphans) == 2


def test_a_shadow_is_compared_and_tells_nobody(models: Path) -> None:
    name, other = (bundle.read(models / each).name for each in "ab")
    headers = {"X-API-Key": ADMIN}
    with service(models / "a", module="service", admin_keys=ADMIN) as running:
        until_all_serve(running)
        answer = order(running, "shadow?folder=b&share=1")
        assert answer.json() == {"model": name, "shadow": other}
        assert httpx.get(f"{running.url}/model").json()["shadow"] == other
        for text in ("good", "awful", "The film was wonderful. The end was not."):
            asked = httpx.post(f"{running.url}/predict", json={"text": text, "sentences": True})
            assert asked.json()["model"] == name
            until(running.url, 0, "ovation_waiting_texts")
        until(running.url, 3, "ovation_shadow_texts_total")
        assert sample(running.url, "ovation_shadow_texts_total", result="disagreed") == 0
        unknown = httpx.get(f"{running.url}/admin/models/shadow", headers=headers)
        assert (unknown.status_code, unknown.headers["allow"]) == (405, "DELETE, POST")
        ended = httpx.delete(f"{running.url}/admin/models/shadow", headers=headers, timeout=60)
        assert ended.json() == {"model": name, "shadow": None}
        for share in ("0", "1.5", "many"):
            assert order(running, f"shadow?share={share}").status_code == 422


def test_only_an_admin_changes_models(models: Path) -> None:
    paths = ("reload", "rollback", "shadow")
    with service(models / "a", module="service", api_keys="caller") as running:
        for path in paths:
            headers = {"X-API-Key": "caller"}
            assert httpx.post(f"{running.url}/admin/models/{path}", headers=headers).status_code == 404
    with service(models / "a", module="service", api_keys="caller", admin_keys=ADMIN) as running:
        for path in paths:
            url = f"{running.url}/admin/models/{path}"
            refused = httpx.post(url, headers={"X-API-Key": "caller"})
            assert (refused.status_code, refused.json()["error_type"]) == (403, "forbidden")
            assert httpx.post(url).status_code == 401
        document = httpx.get(f"{running.url}/openapi.json").json()
        assert {f"/admin/models/{path}" for path in paths} <= document["paths"].keys()


def test_what_would_not_fit_is_refused_before_it_is_loaded(models: Path) -> None:
    files = Files(models / "a", bundle.contents(models / "a"))
    bundles = Bundles(models / "a", files, 2, lambda: 20 * 2**20)
    with pytest.raises(ChangeRefused, match=r"expected \d+ MiB of memory for another model in 2 workers, found 20 MiB"):
        bundles.plan(Order("reload"))


def test_folders_lie_beside_the_one_that_is_served(models: Path) -> None:
    bundles = Bundles(models / "a", None, 1, lambda: 2**40)
    (models / "link").symlink_to("/etc")
    (models / "good").symlink_to(models / "b")
    assert bundles.plan(Order("reload", "good"))
    with pytest.raises(ChangeRefused, match="a link to elsewhere"):
        bundles.plan(Order("reload", "link"))
    for folder in ("..", ".", "a/../b", "/etc", "", ".hidden"):
        with pytest.raises(ChangeRefused, match="the name of a folder"):
            bundles.plan(Order("reload", folder))
    with pytest.raises(BundleError):
        bundles.plan(Order("reload", "bad"))
    with pytest.raises(ChangeRefused, match="a model before this one"):
        bundles.plan(Order("rollback"))
