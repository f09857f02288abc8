"""The pages are true: their documents compile, their commands print what they show, their tables are what the code says."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from starlette.responses import Response

from deployments.components import registry
from graphs import document as spec
from graphs.checker import check
from graphs.cli import main
from graphs.document import job_types
from graphs.errors import AnabranchError, BindingFailed
from graphs.language import LanguageError, Scope, evaluate, parse
from graphs.load import load, load_inline
from graphs.source import Source
from tests.docs.pages import PAGES, ROOT, Block, Page, Table, blocks, code, commands
from tests.docs.served import document
from tests.transports.served import serving
from tools.parameter_tables import written

ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-of-the-pages", "SEARCH_URL": "https://search.example.com", "SEARCH_KEY": "key-of-the-pages",
    "BACKUP_KEY": "key-of-the-pages", "API_KEY": "key-of-the-pages",
}  # fmt: skip
ADDRESS = "http://localhost:8080"
FOLLOWING = ("runs.md", "portal.md")
RESPONSES = "openai-responses.md"
IN_ORDER = (*FOLLOWING, RESPONSES)
"""The pages whose requests follow on each other."""
RUN_ID = re.compile(r"run_[0-9a-f]{32}")
HEX = re.compile(r"[0-9a-f]{32}")
CHANGING = re.compile(r'[a-z]+[_-][0-9a-f]{32}|\d{4}-\d\d-\d\dT[\d:.]+Z|"created": \d+')
"""What differs from run to run: ids and times."""
TYPES = registry()

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def each(found: list[Any]) -> Any:
    assert found
    return pytest.mark.parametrize("block", found, ids=str)


@contextlib.contextmanager
def standing_in(folder: Path, page: Page) -> Iterator[None]:
    """Stand in a folder with the page's files and the repository's documents."""
    for name, text in page.files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "configs", folder / "configs", dirs_exist_ok=True)
    with mock.patch.dict("os.environ", ENVIRONMENT), contextlib.chdir(folder):
        yield


def printed(command: str) -> tuple[str, int]:
    """Run the command `anabranch` in this process; return what it prints and its status."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(shlex.split(command)[1:])
    return out.getvalue(), status


# --- documents -------------------------------------------------------------------------------------------------------


def documents() -> list[Block]:
    return [block for block in blocks("yaml") if not block.mark or block.named("over")]


@each(documents())
def test_every_document_compiles(block: Block) -> None:
    base = block.named("over")
    sources = [Source(str(block), block.text)]
    if base is not None:
        sources.insert(0, Source(base, Page(block.page).files[base]))
    check(sources, TYPES, ENVIRONMENT.get)


@each([block for block in blocks("yaml") if block.mark == "serve config"])
def test_a_serve_config_names_the_builder_and_its_arguments(block: Block) -> None:
    for application in yaml.safe_load(block.text)["applications"]:
        assert application["import_path"] == "graphs.app:build"
        assert set(application["args"]) <= {"config", "document", "revision", "check_placement"}


@every_page
def test_every_named_file_is_used(page: Path) -> None:
    read = Page(page)
    used = " ".join(block.text + block.mark for block in read.blocks if block.named("file") is None)
    assert [name for name in read.files if name not in used and name not in USED_BY_TESTS] == []


USED_BY_TESTS = {"shout.py", "shouting.yaml", "pyproject.toml", "served.yaml"}


# --- commands --------------------------------------------------------------------------------------------------------


@each([block for block in blocks("console") if "$ anabranch " in block.text])
def test_a_command_prints_what_the_page_shows(block: Block, tmp_path: Path) -> None:
    with standing_in(tmp_path, Page(block.page)):
        for command, output in commands(block):
            assert printed(command)[0].rstrip("\n") == output.rstrip("\n")


def typed() -> list[tuple[Block, str]]:
    lines = [(block, line.split("#")[0].strip()) for block in blocks("bash") for line in block.text.splitlines()]
    return [(block, line.removeprefix(".venv/bin/")) for block, line in lines]


@pytest.mark.parametrize(
    ("block", "command"), [each for each in typed() if re.match(r"anabranch (check|plan|schema)", each[1])], ids=str
)
def test_a_command_succeeds(block: Block, command: str, tmp_path: Path) -> None:
    with standing_in(tmp_path, Page(block.page)):
        assert printed(command.partition(" >")[0])[1] == 0


def test_every_make_target_is_there() -> None:
    asked = {line.split()[1] for _, line in typed() if line.startswith("make ")}
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert asked
    assert asked <= targets


# --- the HTTP API ----------------------------------------------------------------------------------------------------


def served_by(page: Page) -> Any:
    plan = load_inline(page.files["served.yaml"], TYPES, {}) if "served.yaml" in page.files else None
    return document(plan or load([ROOT / "configs/hello.yaml"], TYPES, {}), TYPES)


async def run(*command: str, given: str = "") -> tuple[int | None, str, str]:
    pipe = asyncio.subprocess.PIPE
    running = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    out, err = await running.communicate(given.encode())
    return running.returncode, out.decode(), err.decode()


async def output_of(*command: str) -> str:
    status, out, err = await run(*command)
    assert status == 0, err
    return out


def unchanging(text: str) -> str:
    return CHANGING.sub("*", text).replace("\r\n", "\n").rstrip("\n")


def requests() -> list[tuple[Block, str, str]]:
    shown = [block for block in blocks("console") if "$ curl " in block.text and block.page.name not in IN_ORDER]
    found = [(block, *each) for block in shown for each in commands(block)]
    for block in blocks("bash"):
        alone = block.text.startswith("curl ") and "$" not in block.text and block.page.name not in IN_ORDER
        if alone and not block.mark.startswith("demo"):
            found.append((block, block.text.replace("\\\n", " "), Page(block.page).after(block).text))
    return found


@pytest.mark.parametrize(("block", "command", "expected"), requests(), ids=str)
async def test_a_request_is_answered_as_the_page_shows(block: Block, command: str, expected: str) -> None:
    async with served_by(Page(block.page)) as address:
        answer = await output_of(*shlex.split(command.replace(ADDRESS, address)), "-sS")
    assert unchanging(answer) == unchanging(expected)


@pytest.mark.parametrize("name", FOLLOWING)
async def test_what_outlives_its_request_is_read_as_the_page_shows(name: str, tmp_path: Path) -> None:
    page = Page(ROOT / "docs" / name)
    plan = load_inline(page.files["served.yaml"], TYPES, {})
    store = plan.controller.store._replace(url=f"sqlite:///{tmp_path / 'runs.db'}")
    plan = replace(plan, controller=replace(plan.controller, store=store))
    typed = [each for block in page.blocks if block.language == "console" for each in commands(block)]
    assert len(typed) > 4
    id = ""
    async with document(plan, TYPES) as address:
        for command, expected in typed:
            its = RUN_ID.sub(id, command) if id else command
            answer = await output_of(*shlex.split(its.replace(ADDRESS, address)), "-sS")
            assert unchanging(answer) == unchanging(expected)
            id = RUN_ID.findall(answer)[0] if RUN_ID.search(answer) else id


async def test_a_response_is_made_streamed_read_on_and_deleted_as_the_page_shows(tmp_path: Path) -> None:
    page = Page(ROOT / "docs" / RESPONSES)
    plan = load_inline(page.files["served.yaml"], TYPES, {})
    store = plan.controller.store._replace(url=f"sqlite:///{tmp_path / 'runs.db'}")
    plan = replace(plan, controller=replace(plan.controller, store=store))
    typed = [each for block in page.blocks if block.language == "console" for each in commands(block)]
    assert len(typed) == 4
    id = "…"
    async with document(plan, TYPES) as address:
        for command, expected in typed:
            answer = await output_of(*shlex.split(HEX.sub(id, command).replace(ADDRESS, address)), "-sS")
            shown = ".*".join(map(re.escape, HEX.sub(id, expected).rstrip("\n").split("…")))
            assert re.fullmatch(shown, answer.rstrip("\n"), re.DOTALL), answer
            id = HEX.findall(answer)[0]


@each([block for block in blocks("bash") if block.mark == "demo"])
async def test_the_demo_answers_in_the_way_that_the_page_shows(block: Block) -> None:
    async with document(load([ROOT / "configs/demo.yaml"], TYPES, {}), TYPES) as address:
        answer = await output_of(*shlex.split(block.text.replace("\\\n", " ").replace(ADDRESS, address)), "-sS")
    shown = Page(block.page).after(block).text
    for text in (answer, shown):
        *chunks, end = text.strip().split("\n\n")
        assert end == "event: end\ndata:"
        assert all(chunk.startswith("data: ") or (chunk == "…" and text is shown) for chunk in chunks)
        assert len(chunks) > 5


@each([block for block in blocks("bash") if block.mark == "demo chat"])
async def test_the_demo_answers_openais_clients(block: Block) -> None:
    async with document(load([ROOT / "configs/demo.yaml"], TYPES, {}), TYPES) as address:
        answer = await output_of(*shlex.split(block.text.replace("\\\n", " ").replace(ADDRESS, address)), "-sS")
    *chunks, done = answer.strip().split("\n\n")
    assert done == "data: [DONE]"
    said = [json.loads(chunk.removeprefix("data: "))["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "anabranch" in "".join(said)


async def test_the_head_of_a_stream_is_as_the_page_says() -> None:
    (block,) = blocks("http")
    async with served_by(Page(block.page)) as address:
        request = ["-d", '{"output_only": true}', f"{address}/api/workflows/runs"]
        answer = await output_of("curl", "-sSi", *request)
    status, *headers = unchanging(block.text).lower().splitlines()
    came = unchanging(answer).lower().splitlines()
    assert came[0] == status
    assert [header for header in headers if header not in came] == []


every_client = each(blocks("python", "javascript", page="http-api.md"))
SAID = "One word at a time"
INTERPRETERS = {
    "python": [sys.executable, "-X", "utf8", "-"],
    "javascript": ["node", "--experimental-websocket", "--input-type=module", "-"],
}


async def client(block: Block, address: str, text: str = SAID) -> tuple[int | None, str, str]:
    """Run a printed client; return its status and what it says."""
    interpreter = INTERPRETERS[block.language]
    if shutil.which(interpreter[0]) is None:
        pytest.skip(f"{interpreter[0]} is not installed")
    assert SAID in block.text
    return await run(*interpreter, given=addressed(block.text, address).replace(SAID, text))


def addressed(text: str, address: str) -> str:
    """Return a client's text with the server's own address."""
    return text.replace(ADDRESS, address).replace(ADDRESS.replace("http", "ws", 1), address.replace("http", "ws", 1))


@every_client
@pytest.mark.parametrize("text", [SAID, "안녕 세계 🦊 é", "👩‍👩‍👧 二\u2028三 a\u2029b c\x85d \u00a0e"], ids=ascii)
async def test_a_client_prints_the_text(block: Block, text: str) -> None:
    async with served_by(Page(block.page)) as address:
        assert await client(block, address, text) == (0, f"{text}\n", "")


@each(blocks("python", "javascript", page="websockets.md"))
async def test_a_client_of_a_socket_prints_the_text(block: Block) -> None:
    async with served_by(Page(block.page)) as address:
        assert await client(block, address) == (0, f"{SAID}\n", "")


@every_client
@pytest.mark.parametrize(
    ("end", "told"),
    [
        (b"", "the stream was cut"),
        (b"data: wor", "the stream was cut"),
        (b'event: error\ndata: {"error": {"type": "x", "message": "it broke"}}\n\n', "it broke"),
    ],
)
async def test_a_client_takes_no_stream_for_whole_that_did_not_end_well(block: Block, end: bytes, told: str) -> None:
    answer = Response(b"data: One\n\n" + end, headers={"Content-Type": "text/event-stream"})
    async with serving(answer) as address:
        status, _, said = await client(block, address)
    assert status != 0
    assert told in said


# --- tables ----------------------------------------------------------------------------------------------------------


def marked(mark: str) -> list[Table]:
    return [table for page in PAGES for table in Page(page).tables if table.mark.partition(": ")[0] == mark]


@each([(table, row) for table in marked("values") for row in table.rows])
def test_a_binding_gives_what_the_page_says(block: tuple[Table, tuple[str, ...]]) -> None:
    table, row = block
    (scope,) = [each.text for each in Page(table.page).blocks if each.mark == "scope"]
    value = evaluate(parse(code(row[0])), Scope(yaml.safe_load(scope)))
    assert json.dumps(value, ensure_ascii=False) == code(row[1])


@each([(table, row) for table in marked("mistakes") for row in table.rows])
def test_a_wrong_binding_earns_what_the_page_says(block: tuple[Table, tuple[str, ...]]) -> None:
    with pytest.raises(LanguageError) as wrong:
        parse(code(block[1][0]))
    assert (wrong.value.message, wrong.value.hint or "") == (block[1][1], block[1][2])


@each([(table, row) for table in marked("failures") for row in table.rows])
def test_a_binding_fails_as_the_page_says(block: tuple[Table, tuple[str, ...]]) -> None:
    table, row = block
    (scope,) = [each.text for each in Page(table.page).blocks if each.mark == "scope"]
    with pytest.raises(BindingFailed) as failed:
        evaluate(parse(code(row[0])), Scope(yaml.safe_load(scope)))
    assert failed.value.message.partition(": ")[2] == row[1]


@each(marked("keys"))
def test_a_table_names_every_key_there_is(block: Table) -> None:
    models = [{**vars(spec), **vars(job_types)}[name] for name in block.mark.partition(": ")[2].split(" + ")]
    keys = {key for model in models for key in model.model_fields}
    named = [key for row in block.rows for key in re.findall(r"`(\w+)`", row[0])]
    assert sorted(named) == sorted(keys)


def test_the_tables_of_fields_are_those_of_the_component_types() -> None:
    page = (ROOT / "docs/components.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("<!-- fields: written by `anabranch schema --format markdown` -->\n")
    assert (
        rest.partition("<!-- end of fields -->")[0].strip() == printed("anabranch schema --format markdown")[0].strip()
    )


@every_page
def test_the_tables_of_parameters_are_what_the_code_declares(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == written(text), f"run: python tools/parameter_tables.py {page.relative_to(ROOT)}"


def test_the_table_of_errors_is_the_tree_of_errors() -> None:
    def below(cls: type[AnabranchError]) -> Iterator[type[AnabranchError]]:
        yield cls
        for child in cls.__subclasses__():
            if child.__module__ in ("graphs.errors", "graphs.source.text"):
                yield from below(child)

    (table,) = marked("errors")
    told = {(code(row[1]), int(row[0])) for row in table.rows}
    assert told == {(cls.type, cls.status) for cls in below(AnabranchError)} | {("method_not_allowed", 405)}


# --- the repository --------------------------------------------------------------------------------------------------


def test_the_architecture_names_every_room() -> None:
    (table,) = marked("rooms")
    there = {
        f"{path.parent.relative_to(ROOT)}/"
        for folder in ("anabranch", "graphs", "deployments")
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert {code(row[0]) for row in table.rows} == there - {"deployments/"}


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in Page(page).links:
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors, link


# --- a component type of one's own -----------------------------------------------------------------------------------


@pytest.fixture
def plugged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """Install the page's component type beside this test, as pip would, and return the registry that finds it."""
    files = Page(ROOT / "docs/components.md").files
    project = tomllib.loads(files["pyproject.toml"])["project"]
    information = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    information.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    information.joinpath("METADATA").write_text(metadata, encoding="utf-8")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    information.joinpath("entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "shout.py").write_text(files["shout.py"], encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield registry
    sys.modules.pop("shout", None)


async def test_the_component_type_of_the_page_is_found_checked_and_run(plugged_in: Callable[[], Any]) -> None:
    types = plugged_in()
    plan = load_inline(Page(ROOT / "docs/components.md").files["shouting.yaml"], types, {})
    async with document(plan, types) as address:
        data = '{"input": {"text": "so much to say"}, "output_only": true}'
        answer = await output_of("curl", "-sS", f"{address}/workflows/runs", "-d", data)
    assert answer == "data: SO\n\ndata:  MUCH\n\ndata:  TO\n\ndata:  SAY\n\ndata: !\n\nevent: end\ndata:\n\n"
