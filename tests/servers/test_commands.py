"""What documents write -> what is run."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.servers.commands import HttpServerConfig, command, fill, tells_port


def config(**written: Any) -> HttpServerConfig:
    return HttpServerConfig.model_validate({"start": "serve", **written})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${port}", "8123"),
        ("--port=${port}", "--port=8123"),
        ("${port | 1}", "8123"),
        ("${port as text}:x", "8123:x"),
        ("$PORT", "$PORT"),
        ("${HOME}/${port}", "${HOME}/${port}"),  # what was `\\${HOME}` in the document reaches us as it is
        ("\\${HOME} ${port}", "${HOME} 8123"),
        ("${a b", "${a b"),
    ],
)
def test_the_port_is_filled_in(text: str, filled: str):
    assert fill(text, 8123) == filled


def test_the_environment_is_the_replicas_with_what_the_document_adds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SAYS", "hello")
    asked = command(config(env={"SAYS": "bye", "PORT": "${port}"}), ["serve", "${port}"], 9)
    assert asked.words == ("serve", "9")
    assert {**asked.env, "CUDA_VISIBLE_DEVICES": "3", "SAYS": "bye", "PORT": "9"} == asked.env


def test_output_is_not_held_back_unless_the_document_says_so():
    assert command(config(), ["serve"], 9).env["PYTHONUNBUFFERED"] == "1"
    assert command(config(env={"PYTHONUNBUFFERED": ""}), ["serve"], 9).env["PYTHONUNBUFFERED"] == ""


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"start": ["a", "${port}"]}, True),
        ({"env": {"P": "${port}"}}, True),
        ({"start": "a 8000", "port": 8000}, False),
    ],
)
def test_whether_the_server_learns_its_port_from_us(written: dict[str, Any], told: bool):
    assert tells_port(config(**written)) is told
