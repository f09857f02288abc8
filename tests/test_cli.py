"""The command: what it prints, where, and the status it leaves with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from graphs.cli import main

GOOD = "component: {type: echo, text: '${input.text}'}\n"
WRONG = "component:\n  type: echo\n  txt: hi\nworkflow:\n  titel: Hi\n"


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD, encoding="utf-8")
    Path("wrong.yaml").write_text(WRONG, encoding="utf-8")
    return tmp_path


@pytest.mark.usefixtures("documents")
class TestCheck:
    def test_a_good_document_is_said_to_be_good(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "good.yaml"]) == 0
        assert capsys.readouterr().out == "good.yaml: 1 component, 1 workflow, no mistakes\n"

    def test_every_mistake_is_told_on_stderr(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "wrong.yaml"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert [line for line in err.splitlines() if line.startswith("wrong.yaml")] == [
            "wrong.yaml:3:3: unknown key 'txt' in the component (echo)",
            "wrong.yaml:5:3: unknown key 'titel' in the workflow",
        ]
        assert err.endswith("\n\n2 mistakes\n")

    def test_mistakes_as_json_have_places_for_editors(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "--format", "json", "wrong.yaml"]) == 1
        out, err = capsys.readouterr()
        told = json.loads(out)
        assert err == ""
        assert told["ok"] is False
        assert told["mistakes"][0] == {
            "file": "wrong.yaml",
            "line": 3,
            "column": 3,
            "end_column": 6,
            "path": "component.txt",
            "message": "unknown key 'txt' in the component (echo)",
            "hint": "did you mean 'text'?",
        }

    def test_a_good_document_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "--format", "json", "good.yaml"]) == 0
        assert json.loads(capsys.readouterr().out) == {"ok": True, "mistakes": []}

    def test_a_missing_file_is_a_mistake_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "none.yaml"]) == 1
        assert capsys.readouterr().err == "there is no document none.yaml\n"
        assert main(["check", "--format", "json", "none.yaml"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert told == {"ok": False, "mistakes": [{"message": "there is no document none.yaml"}]}

    def test_several_files_are_merged(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("more.yaml").write_text("workflows: [{id: a}, {id: b}]\n", encoding="utf-8")
        assert main(["check", "good.yaml", "more.yaml"]) == 0
        assert capsys.readouterr().out == "good.yaml, more.yaml: 1 component, 2 workflows, no mistakes\n"


@pytest.mark.usefixtures("documents")
class TestPlan:
    def test_the_graph_as_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "good.yaml"]) == 0
        assert capsys.readouterr().out == "component\n  job -> component\n"

    def test_the_graph_as_mermaid(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "--format", "mermaid", "good.yaml"]) == 0
        assert capsys.readouterr().out.startswith("flowchart TD\n")

    def test_mistakes_are_told_instead(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "wrong.yaml"]) == 1
        assert "unknown key 'txt'" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "anabranch document"


@pytest.mark.parametrize("line", [[], ["chekc"], ["check"], ["check", "--format", "xml", "a"], ["serve"]])
def test_a_wrong_command_line_is_another_status(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(line)
    assert left.value.code == 2
    assert "usage: anabranch" in capsys.readouterr().err


def test_checking_imports_nothing_heavy(documents: Path) -> None:
    script = (
        "import sys; from graphs.cli import main; status = main(['check', 'good.yaml']); "
        "print(status, sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'ray', 'torch', 'fastapi', 'starlette', 'aiohttp', 'asyncio', 'transformers', 'numpy'}))"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=documents,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_the_module_is_the_command(documents: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "graphs.cli", "check", "wrong.yaml"],
        cwd=documents, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("2 mistakes\n")
