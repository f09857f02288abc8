"""`${env.NAME}`: what a value from the environment becomes, and that it can't become anything else."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphs.errors import BadRequest, NotFound
from graphs.load import load, load_inline
from graphs.source import DocumentError
from tests.checker.compiling import compiled, messages, types

PORT = "controller: {port: '${env.PORT | 8080}'}\ncomponent: {type: echo, text: hi}\n"


def text_of(document: str, env: dict[str, str]) -> object:
    [component] = compiled(document, env=env).components.values()
    return component.actions["action"].input.value["text"]  # type: ignore[union-attr,index]


@pytest.mark.parametrize(("env", "port"), [({"PORT": "9000"}, 9000), ({}, 8080)])
def test_a_whole_value_takes_the_type_its_text_spells(env: dict[str, str], port: int) -> None:
    assert compiled(PORT, env=env).controller.port == port


@pytest.mark.parametrize(
    ("value", "typed"), [("5", 5), ("true", True), ("1.5", 1.5), ("null", None), ("hi", "hi"), ("", "")]
)
def test_a_whole_value_is_typed_as_yaml_would(value: str, typed: object) -> None:
    found = text_of("component: {type: echo, text: '${env.X}'}\n", {"X": value})
    assert found == typed
    assert type(found) is type(typed)


@pytest.mark.parametrize("value", ["a: b", "- x", "x\nreplicas: 9", "*alias", '"', "{", "# no", "${input.secret}"])
def test_a_value_never_becomes_yaml_or_a_binding(value: str) -> None:
    assert text_of("component: {type: echo, text: '${env.X}'}\n", {"X": value}) == value
    assert text_of("component: {type: echo, text: 'is ${env.X}!'}\n", {"X": value}) == f"is {value}!"


def test_comments_dont_count() -> None:
    assert compiled("# ${env.NOPE}\ncomponent: {type: echo, text: hi} # ${env.NOPE}\n")


def test_all_that_is_unset_is_told_once_each_where_it_is_used_first() -> None:
    assert messages(
        "component: {type: http-client, base_url: '${env.B}', headers: {a: '${env.A}', b: '${env.B}'}, path: /}\n"
    ) == ["the environment variable B is not set", "the environment variable A is not set"]


def test_an_unset_variable_has_a_path() -> None:
    with pytest.raises(DocumentError) as caught:
        compiled("components: [{type: echo, text: {a: ['${env.B}']}}]\n")
    assert caught.value.diagnostics[0].path == "components[0].text.a[0]"


def test_the_plan_knows_what_must_not_be_shown() -> None:
    document = "component: {type: echo, text: '${env.KEY} ${env.ON} ${env.NUMBER} ${env.PIN}'}\n"
    env = {"KEY": "sk-123456789", "ON": "true", "NUMBER": "8080", "PIN": "123456789"}
    assert compiled(document, env=env).secrets == {"sk-123456789", "123456789"}


def test_a_secret_in_a_default_is_no_default_of_the_schema() -> None:
    from tests.checker.compiling import workflow

    plan = workflow("component: {type: echo, text: '${input.key | ${env.KEY}}'}\n", env={"KEY": "sk-123456789"})
    assert [(field.name, field.required, field.default) for field in plan.inputs] == [("key", False, None)]


@pytest.mark.parametrize("value", ["", "a", "hunter2", "it's\n5"])
def test_a_message_shows_the_reference_and_not_the_value(value: str) -> None:
    document = "component: {type: echo, interval: '${env.X}', text: hi}\n"
    assert messages(document, env={"X": value}) == ["expected a duration, got ${env.X}"]


# --- .env and files ----------------------------------------------------------------------------------------------------


def written(folder: Path, **files: str) -> list[Path]:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return [folder / name.replace("_", ".") for name in files]


def test_dotenv_beside_the_document_is_read_and_the_process_environment_wins(tmp_path: Path) -> None:
    document, _ = written(tmp_path, doc_yaml=PORT, _env="PORT=9001\n")
    assert load([document], types(), {}).controller.port == 9001
    assert load([document], types(), {"PORT": "9002"}).controller.port == 9002


def test_dotenv_is_taken_as_it_stands(tmp_path: Path) -> None:
    document, _ = written(tmp_path, doc_yaml="component: {type: echo, text: '${env.A}'}\n", _env="B=x\nA='$B ${B}'\n")
    assert load([document], types(), {}).components["component"].actions["action"].input.value == {"text": "$B ${B}"}  # type: ignore[union-attr]


def test_a_bom_and_windows_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "doc.yaml"
    path.write_bytes("\ufeffcomponent:\r\n  type: echo\r\n  text: hi\r\n".encode())
    assert list(load([path], types(), {}).components) == ["component"]


def test_a_missing_file_a_folder_and_other_bytes_are_told_plainly(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no document"):
        load([tmp_path / "none.yaml"], types(), {})
    with pytest.raises(BadRequest, match="is a folder"):
        load([tmp_path], types(), {})
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(BadRequest, match="is not UTF-8"):
        load([tmp_path / "latin.yaml"], types(), {})


def test_a_dotenv_that_is_not_text_is_told(tmp_path: Path) -> None:
    [document] = written(tmp_path, doc_yaml=PORT)
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(BadRequest, match=r"\.env is not UTF-8"):
        load([document], types(), {})


@pytest.mark.parametrize(
    ("dotenv", "places", "lines"),
    [
        ("A=1\n\nTOKEN 'hunter2\nB=2\n", ["3:1"], ["…"]),
        ("TOKEN='hunter2\nB=2\n", ["1:1"], ["TOKEN=…"]),
        ('export KEY = "hunter2" hunter2\n=hunter2\n', ["1:1", "2:1"], ["export KEY =…", "…"]),
    ],
)
def test_a_dotenv_that_is_broken_is_told_line_by_line_without_its_values(
    dotenv: str, places: list[str], lines: list[str], tmp_path: Path
) -> None:
    document, env = written(tmp_path, doc_yaml=PORT, _env=dotenv)
    with pytest.raises(DocumentError) as caught:
        load([document], types(), {})
    found = caught.value.diagnostics
    assert [str(each.span) for each in found] == [f"{env}:{place}" for place in places]
    assert [each.message for each in found] == ["expected NAME=value"] * len(places)
    assert [each.span.text for each in found] == lines
    assert "hunter2" not in caught.value.message


def test_a_dotenv_may_hold_what_other_readers_of_it_take(tmp_path: Path) -> None:
    dotenv = "\ufeff# comment\nexport A='a\nb'  # comment\nB\nC = c d # e\r\n\nD=\"x\\ny\"\nC=last\n"
    document = "component: {type: echo, text: ['${env.A}', '${env.B | none}', '${env.C}', '${env.D}']}\n"
    path, _ = written(tmp_path, doc_yaml=document, _env=dotenv)
    plan = load([path], types(), {})
    assert plan.components["component"].actions["action"].input.value == {"text": ["a\nb", "none", "last", "x\ny"]}  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["1e3", "0o17", "yes", "null", "5", "a: b", "2030-01-01", "한글 👋", "a\nb", "\\${x}"])
def test_an_inline_document_keeps_its_texts(text: str) -> None:
    plan = load_inline({"component": {"type": "echo", "text": text}}, types(), {})
    assert plan.components["component"].actions["action"].input.value == {"text": text.replace("\\${", "${")}  # type: ignore[union-attr]


def test_an_inline_document_may_be_yaml() -> None:
    assert list(load_inline("component:\r\n  type: echo\r\n  text: hi\r\n", types(), {}).workflows) == ["component"]


def test_an_inline_document_of_other_things_is_told() -> None:
    with pytest.raises(BadRequest, match="can't be written as YAML"):
        load_inline({"component": {"type": "echo", "text": object()}}, types(), {})


@pytest.mark.parametrize("written", ["${env.PIN}", "${env.PIN | 7}"])
def test_a_condition_is_told_as_it_is_written_and_not_with_its_value(written: str) -> None:
    document = f"component: {{type: echo, text: hi}}\nworkflow: {{condition: '{written}'}}\n"
    [workflow] = compiled(document, env={"PIN": "12345678"}).workflows.values()
    assert [job.condition_text for job in workflow.jobs.values()] == [written]
