"""Where runs are kept: a URL or a mapping in, an absolute URL and its limits out; passwords are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphs.checker import check
from graphs.load import load_inline
from graphs.plan import Store
from graphs.source import DocumentError, Mistakes, Source
from tests.checker.compiling import compiled, types

ECHO = "component: {type: echo, text: hi}\n"


def kept(written: str, env: dict[str, str] | None = None) -> Store:
    return compiled(f"controller: {{store: {written}}}\n{ECHO}", env=env).controller.store


def test_a_document_that_says_nothing_keeps_runs_beside_itself(tmp_path: Path) -> None:
    for written in (ECHO, f"controller: {{store: }}\n{ECHO}"):
        plan = check([Source(str(tmp_path / "my.yaml"), written)], types(), {}.get)
        assert plan.controller.store == Store(f"sqlite:///{tmp_path}/.anabranch/runs.db", "asked", 604_800.0, 5 << 30)


def test_of_several_documents_the_first_has_the_default_beside_it(tmp_path: Path) -> None:
    sources = [Source(str(tmp_path / name / "my.yaml"), ECHO) for name in ("first", "second")]
    assert check(sources, types(), {}.get).controller.store.file == f"{tmp_path}/first/.anabranch/runs.db"


def test_a_relative_path_counts_from_the_document_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    sources = [
        Source(str(tmp_path / "first" / "my.yaml"), ECHO),
        Source(str(tmp_path / "second" / "over.yaml"), "controller: {store: 'sqlite:///../runs.db'}\n"),
    ]
    assert check(sources, types(), {}.get).controller.store.file == f"{tmp_path}/runs.db"


def test_an_inline_document_counts_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inline = {"component": {"type": "echo", "text": "hi"}}
    assert load_inline(inline, types()).controller.store.file == f"{tmp_path}/.anabranch/runs.db"
    over = {**inline, "controller": {"store": "sqlite:///runs.db"}}
    assert load_inline(over, types()).controller.store.file == f"{tmp_path}/runs.db"


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("sqlite:////var/lib/runs.db", "sqlite:////var/lib/runs.db"),
        ("SQLite:////var/lib/runs.db", "sqlite:////var/lib/runs.db"),
        ("postgres://db.example.com/runs", "postgresql://db.example.com/runs"),
        ("postgresql:///runs", "postgresql:///runs"),
        ('"postgresql://anna@[::1]:5433/runs?sslmode=require"', "postgresql://anna@[::1]:5433/runs?sslmode=require"),
    ],
)
def test_a_url_is_written_as_databases_write_it(written: str, url: str) -> None:
    assert kept(written).url == kept(f"{{url: {written}}}").url == url
    assert (kept(written).file is None) == url.startswith("postgresql")


def test_a_mapping_says_which_runs_are_kept_and_for_how_long() -> None:
    store = kept("{url: 'sqlite:////runs.db', record: all, keep_for: 12h, max_size: 1GiB}")
    assert store == Store("sqlite:////runs.db", "all", 43_200.0, 1 << 30, written=True)
    assert kept("{record: all}").file == str(Path.cwd() / ".anabranch" / "runs.db")


def test_the_environment_may_give_the_url_or_leave_it_to_a_default() -> None:
    written = "'${env.STORE_URL | sqlite:////runs.db}'"
    assert kept(written).url == "sqlite:////runs.db"
    assert kept(written, {"STORE_URL": "postgres://anna@db/runs"}).url == "postgresql://anna@db/runs"
    assert kept("{record: '${env.RECORD}'}", {"RECORD": "all"}).record == "all"


def test_a_password_is_a_secret_wherever_it_comes_from() -> None:
    def secrets(written: str, env: dict[str, str] | None = None) -> frozenset[str]:
        return compiled(f"controller: {{store: '{written}'}}\n{ECHO}", env=env).secrets

    assert {"p%40ssword", "p@ssword"} <= secrets("postgresql://anna:p%40ssword@db/runs")
    assert "correct-horse" in secrets("${env.STORE_URL}", {"STORE_URL": "postgres://anna:correct-horse@db/runs"})
    assert "correct-horse" in secrets("postgresql://db/runs?user=anna&password=correct-horse")
    assert secrets("postgresql://anna:5432@db/runs") == frozenset()  # it would be hidden in every other number


@pytest.mark.parametrize(
    ("written", "warned"),
    [
        ("postgresql://anna:hunter22@db/runs", True),
        ("postgresql://anna:hunter22@${env.HOST}/runs", True),
        ("postgresql://db/runs?password=hunter22", True),
        ("${env.UNSET | postgresql://anna:hunter22@db/runs}", True),
        ("postgresql://anna:${env.WORD}@db/runs", False),
        ("postgresql://${env.WORD}:${env.WORD}@db/runs", False),
        ("postgresql://anna@db/runs", False),
        ("${env.STORE_URL}", False),
        ("sqlite:////runs:a@b.db", False),
    ],
)
def test_a_password_that_is_written_in_the_document_earns_a_warning(written: str, warned: bool) -> None:
    env = {"WORD": "correct-horse", "HOST": "db", "STORE_URL": "postgresql://anna:correct-horse@db/runs"}
    mistakes = Mistakes()
    document = f"controller: {{store: '{written}'}}\n{ECHO}"
    check([Source("my.yaml", document)], types(), env.get, mistakes)
    found = ["the store's password is written in the document"] if warned else []
    assert [each.message for each in mistakes.warnings] == found


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    mistakes = Mistakes()
    document = f"controller: {{store: 'sqlite:///{tmp_path}'}}\n{ECHO}"
    with pytest.raises(DocumentError, match="the store must be a file, and this is a folder"):
        check([Source("my.yaml", document)], types(), {}.get, mistakes)
