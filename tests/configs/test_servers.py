"""The documents that start a vLLM server run as they are written, with a little server's command in its place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphs.load import load, load_inline
from tests.configs.running import TYPES, serving

ROOT = Path(__file__).parent.parent.parent
LITTLE = ROOT / "tests" / "servers" / "little.py"
EXAMPLES = {"05": "vllm-server", "16": "local-model-server"}


def document(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("seed", "name"), EXAMPLES.items())
def test_a_document_is_the_seeds(seed: str, name: str):
    written = ROOT / "tests" / "seeds" / "en" / f"{seed}.yaml"
    assert document(ROOT / "configs" / f"{name}.yaml") == document(written)


@pytest.mark.parametrize("name", EXAMPLES.values())
def test_its_command_is_run_as_it_is_written(name: str):
    (component,) = load([ROOT / "configs" / f"{name}.yaml"], TYPES, {}).components.values()
    config: Any = component.config
    assert config["start"][:2] == ["vllm", "serve"]
    assert config["start"][config["start"].index("--port") + 1] == "8000"
    assert config["port"] == 8000


@pytest.mark.parametrize("name", EXAMPLES.values())
async def test_the_managed_servers_answer_streams(name: str):
    data = document(ROOT / "configs" / f"{name}.yaml")
    data["component"] |= {"start": [sys.executable, "-S", str(LITTLE), "${port}"], "port": 0}
    async with serving(load_inline(data, TYPES, {})) as served:
        told = await served.run({"prompt": "Hello"})
    assert told.streamed
    assert told.chunks == ["한국어 ", "and ", "🙂"]
