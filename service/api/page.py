"""The web page at `/` with its files, and `/docs`: static, from this origin alone, under a Content-Security-Policy."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from service.http.problems import KINDS, Problem

_FOLDER = Path(__file__).parents[1] / "page"
_DOCS_PACKAGE = "fastapi_standalone_docs"  # carries Swagger UI's files; nothing of its code is run
_DOCS_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_OWN = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
_OWN += "form-action 'none'; frame-ancestors 'none'; "
# No script of the page makes markup of a string: with trusted types a browser refuses it, too.
PAGE_POLICY = _OWN + "img-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
DOCS_POLICY = _OWN + "img-src 'self' data:"  # Swagger UI's style sheet has its icons in itself
_HEADERS = {
    "Cache-Control": "no-cache",  # kept, and asked for again each time: a 304 where it has not changed
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> "File":
        """Reads the file at `path`, whose suffix is one of _MEDIA_TYPES."""
        content = path.read_bytes()
        return cls(content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def answer(self, request: Request, policy: str) -> Response:
        """The file, or 304 where the caller has it."""
        headers = {**_HEADERS, "Content-Security-Policy": policy, "ETag": self.etag}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def router() -> APIRouter:
    """`/`, `/page/{name}`, `/docs` and `/docs/{name}`."""
    routes = APIRouter(include_in_schema=False)
    files = {path.name: File.read(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in _MEDIA_TYPES}
    index, docs = files.pop("index.html"), files.pop("docs.html")
    whole: dict[int | str, dict[str, Any]] = {200: {}, 304: {}}  # statuses, for the metrics
    part: dict[int | str, dict[str, Any]] = {**whole, 404: {}}

    @routes.get("/", responses=whole)
    async def page(request: Request) -> Response:
        return index.answer(request, PAGE_POLICY)

    @routes.get("/page/{name}", responses=part)
    async def page_file(request: Request, name: str) -> Response:
        return _file(name, files).answer(request, PAGE_POLICY)

    @routes.get("/docs", responses=whole)
    async def docs_page(request: Request) -> Response:
        return docs.answer(request, DOCS_POLICY)

    @routes.get("/docs/{name}", responses=part)
    async def docs_file(request: Request, name: str) -> Response:
        return _file(name, _docs_files()).answer(request, DOCS_POLICY)

    return routes


def _file(name: str, files: dict[str, File]) -> File:
    """Raises Problem."""
    if name not in files:
        raise Problem("not_found", KINDS["not_found"][1])
    return files[name]


@cache
def _docs_files() -> dict[str, File]:
    """Swagger UI's files, read when they are first asked for: they are 1.8 MB, and most processes never send them."""
    package = find_spec(_DOCS_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError(f"expected the package {_DOCS_PACKAGE}, found none: install requirements/cpu.txt")
    folder = Path(package.submodule_search_locations[0]) / "static" / "swagger"
    return {name: File.read(folder / name) for name in _DOCS_FILES}
