"""Archives from a server of our own on this machine."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from training.data import download
from training.data.download import Remote
from training.data.sources import DataError

CONTENT = bytes(range(256)) * 400


class Handler(BaseHTTPRequestHandler):
    ranges = True
    asked: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start:])

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked, Handler.ranges = [], True
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/reviews.tar.gz"
        server.shutdown()
        thread.join()


def fetch(folder: Path, url: str, algorithm: str = "sha256", checksum: str | None = None) -> Path:
    checksum = hashlib.new(algorithm, CONTENT).hexdigest() if checksum is None else checksum
    return download.archive(Remote(url, algorithm, checksum, "--treebank"), Console(quiet=True), folder)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_downloaded_once(tmp_path: Path, url: str, algorithm: str) -> None:
    for _ in range(2):
        assert fetch(tmp_path / "cache", url, algorithm).read_bytes() == CONTENT
    assert Handler.asked == [None]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["reviews.tar.gz"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("have", [1, 5000, len(CONTENT)])
def test_gone_on_with_where_it_stopped(tmp_path: Path, url: str, ranges: bool, have: int) -> None:
    Handler.ranges = ranges
    (tmp_path / "reviews.tar.gz.part").write_bytes(CONTENT[:have])
    assert fetch(tmp_path, url).read_bytes() == CONTENT
    assert Handler.asked == [f"bytes={have}-"]


def test_another_checksum_is_refused_and_removed(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match=r"expected a file of MD5 0+, found"):
        fetch(tmp_path, url, "md5", "0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_it_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"and put it at .*reviews\.tar\.gz, or .* --treebank"):
        fetch(tmp_path, "http://127.0.0.1:9/reviews.tar.gz")


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert download.cache_folder() == Path("/somewhere/ovation")


def test_what_cannot_be_downloaded_is_found_where_somebody_put_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the product reviews of FDU-MTL, found nothing.* --products"):
        download.products(tmp_path)
    archive = tmp_path / "fdu-mtl.tar.gz"
    archive.touch()
    assert download.products(tmp_path) == archive
