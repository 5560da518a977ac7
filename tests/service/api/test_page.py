"""The page's files: what they weigh, what they may ask, and how they are sent."""

import re
from pathlib import Path

import httpx
import pytest

from service.http.problems import KINDS
from tests.service.api.conftest import check_refused

FOLDER = Path(__file__).parents[3] / "service" / "page"
SCRIPTS = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js")}
MAX_BYTES = 150_000
DOCS_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/page/style.css", "/page/icon.svg", "/docs"])
async def test_a_file_is_sent_under_a_policy_and_once(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "//" not in policy
    assert answer.headers["cache-control"] == "no-cache"
    again = await client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await client.get(path, headers={"If-None-Match": '"other"'})
    assert other.content == answer.content
    head = await client.head(path)
    assert (head.status_code, head.headers["etag"]) == (200, answer.headers["etag"])


async def test_every_file_of_the_folder_is_sent(client: httpx.AsyncClient) -> None:
    types = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
    for path in FOLDER.iterdir():
        if path.suffix != ".html":
            answer = await client.get(f"/page/{path.name}")
            assert answer.content == path.read_bytes()
            assert answer.headers["content-type"] == types[path.suffix]
    assert (await client.get("/")).content == (FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize(
    "path", ["/page/", "/page/nothing.js", "/page/..%2f..%2fapp.py", "/docs/LICENSE", "/page/index.html"]
)
async def test_nothing_else_is_sent(client: httpx.AsyncClient, path: str) -> None:
    check_refused(await client.get(path), 404, "not_found")
    check_refused(await client.post("/"), 405, "method_not_allowed")


async def test_docs_has_its_files_here(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    for name in DOCS_FILES:
        assert f'"docs/{name}"' in page
        assert len((await client.get(f"/docs/{name}")).content) > 100_000


def test_it_is_light_and_asks_nobody_else() -> None:
    contents = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    assert sum(map(len, contents.values())) < MAX_BYTES
    for name, content in contents.items():
        found = re.findall(rb"(?:https?:|wss?:|[\"'(=])//[^\s\"')]+", content)
        assert set(found) <= {b"http://www.w3.org/2000/svg"}, name


def test_no_script_makes_markup_of_a_string() -> None:
    for name, script in SCRIPTS.items():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc", script
        ), name


def test_the_first_view_is_loaded_at_once() -> None:
    """The files that index.html asks for beforehand are those that the first view imports."""
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    imported, left = {"try.js"}, ["app.js", "try.js"]
    while left:
        names = re.findall(r'^import .* from "\./([\w.]+)";$', SCRIPTS[left.pop()], re.MULTILINE)
        left += [name for name in names if name not in imported]
        imported |= set(names)
    assert set(re.findall(r'modulepreload" href="page/([\w.]+)"', index)) == imported


def test_what_is_imported_exists_and_is_used() -> None:
    for name, script in SCRIPTS.items():
        for names, source in re.findall(r'^import \{ (.*) \} from "\./([\w.]+)";$', script, re.MULTILINE):
            for one in names.split(", "):
                original, _, alias = one.partition(" as ")
                exported = rf"export (?:async )?(?:const|function\*?|class) {original}\b"
                assert re.search(exported, SCRIPTS[source]), (name, one)
                assert len(re.findall(rf"\b{alias or original}\b", script)) > 1, (name, one)


def test_no_string_is_forgotten() -> None:
    """Whoever adds a language translates nothing that is not shown."""
    used = "".join(script for name, script in SCRIPTS.items() if name != "strings.js")
    names = set(re.findall(r"^ {2,6}([a-z]\w*): ", SCRIPTS["strings.js"], re.MULTILINE))
    for name in names - KINDS.keys():  # the kinds of problem are looked up by what the service says
        assert re.search(rf"\b{name}\b", used), name
