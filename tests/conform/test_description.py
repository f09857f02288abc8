"""The server is as `/openapi.json` describes it: schemathesis draws requests from there, and holds the answers against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conform.server import ROOT

CHECKS = (
    "not_broken",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
LONGEST = 115
DOORS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/models")


def test_the_doors_stand_in_the_description(url: str):
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert [door for door in DOORS if door not in paths] == []


def test_no_request_breaks_the_server_or_its_description(url: str, tmp_path: Path):
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{url}/openapi.json",
        "--checks",
        ",".join(CHECKS),
    ]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "25", "--seed", "1", "--continue-on-failure"]
    command += ["--request-timeout", "20", "--no-color"]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.conform.drawing", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)
