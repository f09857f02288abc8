"""The server and its clients; where the clients aren't installed there is nothing to collect.

`expected_failures.toml` names the tests that fail for a limit of the product that is known. One that passes must leave the file.
"""

from __future__ import annotations

import importlib.util
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.conform import server

if TYPE_CHECKING:
    import anthropic
    import openai

THERE = importlib.util.find_spec("schemathesis") is not None
collect_ignore_glob = [] if THERE else ["test_*.py"]

HERE = Path(__file__).parent
EXPECTED: dict[str, str] = tomllib.loads((HERE / "expected_failures.toml").read_text(encoding="utf-8"))
KEY = "sk-of-the-test"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: asked in .ci/run too")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.is_relative_to(HERE)]
    for item in here:
        if pytest_asyncio.is_async_test(item):  # some clients keep their connections from one to the next
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        if reason := EXPECTED.get(f"{item.path.name}::{item.name}"):
            item.add_marker(pytest.mark.xfail(strict=True, reason=reason))
    unknown = EXPECTED.keys() - {f"{item.path.name}::{item.name}" for item in here}
    asked = {item.path.name for item in here}
    if gone := sorted(
        name for name in unknown if name.partition("::")[0] in asked or not (HERE / name.partition("::")[0]).exists()
    ):
        raise pytest.UsageError(f"expected_failures.toml names tests that there aren't: {', '.join(gone)}")


@pytest.fixture(scope="session")
def upstream() -> Iterator[str]:
    with server.upstream() as url:
        yield url


@pytest.fixture(scope="session")
def url(upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server."""
    folder = tmp_path_factory.mktemp("server")
    with server.serving(folder, upstream) as url:
        yield url
    said = (folder / "server.log").read_text(encoding="utf-8")
    assert "Traceback" not in said, f"the server has printed a traceback:\n{said[-4000:]}"


@pytest.fixture
def left(upstream: str) -> Callable[[str], None]:
    """Wait until the server has left a call of the API behind it whose last message was this."""

    def wait(said: str) -> None:
        urllib.request.urlopen(f"{upstream}/left?said={quote(said)}", timeout=30).close()

    return wait


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    import openai

    # Without retries: a test that fails says so at once.
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    import anthropic

    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def weather() -> dict[str, Any]:
    """What a function `get_weather` takes."""
    return {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
