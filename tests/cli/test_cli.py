"""The command: what it prints, where, and the status it leaves with."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from deployments.asgi import ports
from deployments.asgi.ports import free_port, require_free
from deployments.serve.start_failures import causes
from graphs.cli import main
from graphs.errors import Unavailable

GOOD = "component: {type: echo, text: '${input.text}'}\n"
WRONG = "component:\n  type: echo\n  txt: hi\nworkflow:\n  titel: Hi\n"
ODD = "component: {type: echo, text: 'say $API_KEY'}\n"


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD, encoding="utf-8")
    Path("odd.yaml").write_text(ODD, encoding="utf-8")
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
        assert json.loads(capsys.readouterr().out) == {"ok": True, "mistakes": [], "warnings": []}

    def test_a_missing_file_is_a_mistake_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "none.yaml"]) == 1
        assert capsys.readouterr().err == "there is no document none.yaml\n"
        assert main(["check", "--format", "json", "none.yaml"]) == 1
        told = json.loads(capsys.readouterr().out)
        nowhere = {"line": None, "column": None, "end_column": None, "path": "", "hint": None}
        message = "there is no document none.yaml"
        mistakes = [{"file": "none.yaml", "message": message, **nowhere}]
        assert told == {"ok": False, "mistakes": mistakes, "warnings": []}

    def test_a_broken_dotenv_is_a_mistake_with_its_file_and_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path(".env").write_text("A=1\nB='hunter2\n", encoding="utf-8")
        assert main(["check", "good.yaml"]) == 1
        assert capsys.readouterr().err.endswith(
            "/.env:2:1: expected NAME=value\n"
            "    2 | B=…\n"
            "        ^^^\n"
            "   close what is quoted; a comment begins with #\n"
            "\n1 mistake\n"
        )
        assert main(["check", "--format", "json", "good.yaml"]) == 1
        [told] = json.loads(capsys.readouterr().out)["mistakes"]
        assert (Path(told["file"]).name, told["line"], told["message"]) == (".env", 2, "expected NAME=value")

    def test_several_files_are_merged(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("more.yaml").write_text("workflows: [{id: a}, {id: b}]\n", encoding="utf-8")
        assert main(["check", "good.yaml", "more.yaml"]) == 0
        assert capsys.readouterr().out == "good.yaml, more.yaml: 1 component, 2 workflows, no mistakes\n"

    def test_warnings_stop_nothing_and_are_counted(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "odd.yaml"]) == 0
        out, err = capsys.readouterr()
        assert out == "odd.yaml: 1 component, 1 workflow, no mistakes, 1 warning\n"
        assert err == (
            "odd.yaml:1:36: warning: '$API_KEY' is plain text, not a binding\n"
            f"    1 | {ODD}"
            f"{' ' * 43}^^^^^^^^\n"
            "   write ${env.API_KEY}\n"
        )

    def test_with_strict_warnings_are_mistakes(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["check", "--strict", "good.yaml"]) == 0
        capsys.readouterr()
        assert main(["check", "--strict", "odd.yaml"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.endswith("\n\n1 warning\n")
        assert main(["check", "--strict", "--format", "json", "odd.yaml"]) == 1
        shown = json.loads(capsys.readouterr().out)
        assert (shown["ok"], shown["mistakes"]) == (False, [])
        assert [each["message"] for each in shown["warnings"]] == ["'$API_KEY' is plain text, not a binding"]

    def test_mistakes_and_warnings_are_counted_together(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("both.yaml").write_text(f"{ODD}workflow: {{titel: x}}\n", encoding="utf-8")
        assert main(["check", "both.yaml"]) == 1
        assert capsys.readouterr().err.endswith("\n\n1 mistake, 1 warning\n")


def test_serving_prints_warnings_before_it_starts(documents: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "graphs.cli", "serve", "odd.yaml", f"--port={taken.getsockname()[1]}"],
            cwd=documents, env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("odd.yaml:1:36: warning: '$API_KEY' is plain text, not a binding\n")
    assert "is taken by another program" in done.stderr


@pytest.mark.usefixtures("documents")
class TestPlan:
    def test_the_graph_as_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["plan", "good.yaml"]) == 0
        assert capsys.readouterr().out == (
            "component\n  job -> component\n\nComponents:\n  component  echo  own deployment\n"
            "\nRuns that ask for it are kept in .anabranch/runs.db\n"
        )

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


@pytest.mark.parametrize("port", ["99999", "-1", "eighty", "8080.0", "1" * 5000])
def test_a_port_that_is_none_is_told_with_what_is_one(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["serve", "any.yaml", f"--port={port}"])
    assert left.value.code == 2
    assert "argument --port: expected a port from 1 to 65535, or 0 for any that is free, got" in capsys.readouterr().err


class TestPorts:
    def test_a_port_that_is_taken_is_told(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(Unavailable, match=f"port {port} on 127.0.0.1 is taken by another program"):
                require_free("127.0.0.1", port)

    def test_a_free_port_is_free(self) -> None:
        require_free("127.0.0.1", free_port())

    @pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7"])
    def test_an_address_of_another_machine_is_told(self, host: str) -> None:
        with pytest.raises(Unavailable, match=rf"^{host} is not an address of this machine; write --host"):
            require_free(host, 8080)

    def test_a_host_that_no_name_can_be_is_told(self) -> None:
        with pytest.raises(Unavailable, match=r"^there is no host a\.\.b; write --host"):
            require_free("a..b", 8080)

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (socket.gaierror(socket.EAI_NONAME, "unknown"), "there is no host server; "),
            (PermissionError(errno.EACCES, "denied"), "this user may not listen on port 80; "),
            (OSError(errno.ENETDOWN, "Network is down"), "port 80 of server can't be listened on: Network is down"),
        ],
    )
    def test_whatever_else_keeps_from_listening_is_said(
        self, error: OSError, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refused(host: str, port: int) -> int:
            raise error

        monkeypatch.setattr(ports, "_bound", refused)
        with pytest.raises(Unavailable, match=f"^{said}"):
            require_free("server", 80)


RAY_SAYS = (
    "The deployment failed to start 3 times in a row. This may be due to a problem with its constructor or initial "
    "health check failing. See controller logs for details. Error:\n"
)
FRAME = '  File "/ray/replica.py", line 3521, in initialize\n    await self.initialize(\n          ^^^^^^^^^^\n'


class TestCauses:
    """What `anabranch serve` says of Ray's messages; these are Ray's own, with fewer frames."""

    def test_a_component_that_says_itself_why(self) -> None:
        message = (
            f"{RAY_SAYS}\x1b[36mray::ServeReplica:anabranch:c.initialize()\x1b[39m (pid=2, repr=<c object>)\n{FRAME}"
            f"RuntimeError: Traceback (most recent call last):\n{FRAME}    raise Unavailable(\n"
            "graphs.errors.Unavailable: d.yaml:4:5: component 'c' could not be set up: its server ended with status 3 "
            f"before it was ready; it said last:\nTraceback (most recent call last):\n{FRAME}ImportError: no numpy"
        )
        [told] = causes({"c": message})
        assert told == (
            "d.yaml:4:5: component 'c' could not be set up: its server ended with status 3 before it was ready; "
            "it said last: ImportError: no numpy"
        )

    def test_a_runtime_environment_that_could_not_be_made(self) -> None:
        message = (
            f"{RAY_SAYS}Exception when allocating Replica(id='q', deployment='d', app='anabranch'): "
            "Failed to set up runtime environment.\nCould not create the actor because its associated runtime env failed "
            f"to be created.\n[Node 10.0.0.2] Traceback (most recent call last):\n{FRAME}OSError: [Errno 111]\n\n"
            f"During handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n{FRAME}"
            "ValueError: working_dir local:///code points to '/code', which must already exist on every node.\n"
        )
        [told] = causes({"d": message})
        assert told == (
            "the runtime_env of component 'd' could not be set up: ValueError: working_dir local:///code points to "
            "'/code', which must already exist on every node."
        )

    def test_what_ray_says_without_a_traceback_is_told_as_it_is(self) -> None:
        messages = {"a": "", "b": f"{RAY_SAYS}Replica scheduling failed.\n", "Ingress": f"{RAY_SAYS}{'x' * 5000}"}
        first, second = causes(messages)
        assert first == "component 'b' could not be started: Replica scheduling failed."
        assert second.startswith("the ingress could not be started: xxx")
        assert len(second) < 1000

    def test_a_deployment_without_a_message_is_left_out(self) -> None:
        assert causes({"a": ""}) == []

    def test_a_message_of_another_form_is_told_whole(self) -> None:
        message = "The rolling update of this deployment failed before the controller restarted."
        assert causes({"a": message}) == [f"component 'a' could not be started: {message}"]


def test_the_tables_of_fields_are_markdown_in_whole_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert "``" not in out
    assert "e+" not in out
    assert "| `seed` | integer, at least -9223372036854775808, at most 9223372036854775807 |" in out


@pytest.mark.parametrize("package", ["anabranch", "graphs", "deployments"])
def test_authors_of_component_types_get_types(package: str) -> None:
    wheel = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"][
        "build"
    ]["targets"]["wheel"]
    assert package in wheel["packages"]
    assert files(package).joinpath("py.typed").is_file()


def test_checking_imports_nothing_heavy(documents: Path) -> None:
    script = (
        "import sys; from graphs.cli import main; status = main(['check', 'good.yaml']); "
        "print(status, sorted({name.partition('.')[0] for name in sys.modules} & "
        "{'ray', 'torch', 'fastapi', 'starlette', 'aiohttp', 'asyncio', 'transformers', 'numpy'}))"
    )
    root = Path(__file__).resolve().parents[2]
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
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "graphs.cli", "check", "wrong.yaml"],
        cwd=documents, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.endswith("2 mistakes\n")
