"""Component types are imported anew when their files change; what can't be imported leaves the old ones alone."""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from deployments import components
from deployments.dev.code import Code
from graphs.errors import AnabranchError

WORD = """
from graphs.component import Component, Whole
from plugged_helper import WORD

class Word(Component):
    type = WORD

    async def run(self, input):
        yield Whole(WORD)
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """`write(name, text)`: a module of a plug-in that names `plugged_word`."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    entry = EntryPoint("word", "plugged_word", components.GROUP)
    monkeypatch.setattr(components, "entry_points", lambda group: [entry])

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path.resolve()

    write("plugged_word", WORD)
    write("plugged_helper", "WORD = 'one'")
    yield write
    for name in [name for name in sys.modules if name.startswith("plugged_")]:
        del sys.modules[name]


def words(code: Code) -> set[str]:
    return set(code.registry()) - {"echo", "http-client", "http-server", "model", "workflow"}


def test_the_files_of_plug_ins_are_known_with_what_they_import_and_no_others(write: Write, tmp_path: Path):
    code = Code()
    assert words(code) == {"one"}
    assert code.files == {tmp_path.resolve() / "plugged_word.py", tmp_path.resolve() / "plugged_helper.py"}


def test_types_are_imported_anew_when_one_of_their_files_has_changed_and_only_then(write: Write, tmp_path: Path):
    code = Code()
    before = code.registry()
    path = write("plugged_helper", "WORD = 'another'")
    code.changed([tmp_path / "some.yaml"])
    assert code.registry() is before
    code.changed([path])
    after = code.registry()
    assert words(code) == {"another"}
    assert after["echo"] is before["echo"]


def test_code_that_breaks_says_so_as_long_as_it_is_broken_and_is_taken_once_it_is_repaired(write: Write):
    code = Code()
    before = code.registry()["one"]
    for broken in ("WORD = ", "WORD = 1 / 0", "import no_such_module_anywhere", "raise SystemExit(3)"):
        path = write("plugged_helper", broken)
        code.changed([path])
        for _ in range(2):
            with pytest.raises(AnabranchError, match=r"the plug-in 'word' \(plugged_word\) can't be loaded"):
                code.registry()
        assert sys.modules["plugged_word"].Word is before
        assert path in code.files
    code.changed([write("plugged_helper", "WORD = 'repaired'")])
    assert words(code) == {"repaired"}


@pytest.mark.parametrize("broken", ["WORD = ", "raise ValueError"])
def test_code_that_is_broken_from_the_start_is_watched_too(write: Write, broken: str):
    path = write("plugged_helper", broken)
    code = Code()
    with pytest.raises(AnabranchError, match="can't be loaded"):
        code.registry()
    assert path in code.files
    code.changed([write("plugged_helper", "WORD = 'repaired'")])
    assert words(code) == {"repaired"}


def test_modules_that_something_else_imported_stay(write: Write):
    import_of = __import__("plugged_helper")
    code = Code()
    assert words(code) == {"one"}
    write("plugged_word", WORD + "\n")
    code._stale = True
    code.registry()
    assert sys.modules["plugged_helper"] is import_of
