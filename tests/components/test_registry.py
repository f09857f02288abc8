"""The registry finds every type by its name, light as air, and names the plug-in that is broken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from deployments import components
from deployments.components import registry
from deployments.components.echo import Echo
from graphs.errors import AnabranchError

PlugIn = Callable[[str, dict[str, str]], None]
ROOT = Path(__file__).parents[2]

SHOUT = """
from graphs.component import Component, Whole

class Base(Component):
    pass

class Shout(Base):
    type = "{type}"

    async def run(self, input):
        yield Whole("!")
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PlugIn]:
    """`plug_in(value, files)`: a plug-in called `shout` that names `value`; files are sources by module path."""
    monkeypatch.syspath_prepend(tmp_path)

    def add(value: str, files: dict[str, str]) -> None:
        for name, source in files.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        entry = EntryPoint("shout", value, components.GROUP)
        monkeypatch.setattr(components, "entry_points", lambda group: [entry])

    before = set(sys.modules)
    yield add
    for name in set(sys.modules) - before:
        if name.startswith("plugged_"):
            del sys.modules[name]


def test_every_type_is_found_by_its_name():
    found = registry()
    assert set(found) == {"echo", "http-client", "http-server", "model", "workflow"}
    assert found["echo"] is Echo
    assert all(name == cls.type for name, cls in found.items())


def test_what_is_heavy_is_not_imported():
    script = "import sys; from deployments.components import registry; registry(); print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"aiohttp", "ray", "torch", "transformers", "asyncio", "fastapi"} & set(ran.stdout.split())


@pytest.mark.parametrize("value", ["plugged_one", "plugged_one:Shout"])
def test_a_plug_in_names_a_module_or_a_class(plug_in: PlugIn, value: str):
    plug_in(value, {"plugged_one": SHOUT.format(type="shout")})
    assert registry()["shout"].__module__ == "plugged_one"


def test_a_plug_in_that_names_a_package_has_it_walked(plug_in: PlugIn):
    plug_in("plugged_many", {"plugged_many/__init__": "", "plugged_many/loud": SHOUT.format(type="loud")})
    assert "loud" in registry()


def test_a_plug_in_that_cannot_be_imported_is_named_with_the_reason(plug_in: PlugIn):
    plug_in("plugged_bad", {"plugged_bad": "import no_such_module_anywhere"})
    with pytest.raises(
        AnabranchError, match=r"plug-in 'shout' \(plugged_bad\) can't be loaded: .*no_such_module_anywhere"
    ):
        registry()


@pytest.mark.parametrize("value", ["plugged_raw:Base", "plugged_raw:number", "plugged_raw:missing"])
def test_a_plug_in_that_names_no_component_type_is_refused(plug_in: PlugIn, value: str):
    plug_in(value, {"plugged_raw": SHOUT.format(type="raw") + "\nnumber = 5\n"})
    with pytest.raises(AnabranchError, match=r"plug-in .* be loaded"):
        registry()


def test_a_plug_in_without_any_type_is_refused(plug_in: PlugIn):
    plug_in("plugged_empty", {"plugged_empty": "from graphs.component import Component\n"})
    with pytest.raises(AnabranchError, match="holds no component type"):
        registry()


def test_a_type_that_is_there_twice_names_both_places(plug_in: PlugIn):
    plug_in("plugged_twice", {"plugged_twice": SHOUT.format(type="echo")})
    with pytest.raises(
        AnabranchError, match=r"called 'echo': deployments.components.echo:Echo and plugged_twice:Shout"
    ):
        registry()
