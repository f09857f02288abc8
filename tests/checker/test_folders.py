"""A folder that a component names stands beside the document that names it, wherever its replicas run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.components import registry
from graphs.load import load, load_inline
from graphs.source import DocumentError

DOCUMENT = """
component:
  type: model
  task: text-generation
  model: {model}
  text: ${{input.text}}
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with the documents `a/one.yaml`, and models in `a/tiny` and `b/tiny`."""
    for name in ("a", "b"):
        (tmp_path / name / "tiny").mkdir(parents=True)
        (tmp_path / name / "tiny" / "config.json").write_text("{}")
    (tmp_path / "a" / "gpt2").mkdir()  # a folder, but no model
    return tmp_path


def written(folder: Path, model: str, name: str = "one.yaml") -> Path:
    path = folder / name
    path.write_text(DOCUMENT.format(model=model))
    return path


def config(*paths: Path, environ: dict[str, str] | None = None) -> Any:
    (component,) = load(paths, registry(), environ or {}).components.values()
    return component.config


@pytest.mark.parametrize("model", ["./tiny", "tiny", "../a/tiny", "./../b/../a/tiny"])
def test_a_folder_beside_the_document_becomes_absolute(models: Path, model: str, monkeypatch: pytest.MonkeyPatch):
    path = written(models / "a", model)
    monkeypatch.chdir(models / "b")
    assert config(path)["model"] == str(models / "a" / "tiny")
    assert config(Path("../a/one.yaml"))["model"] == str(models / "a" / "tiny")


def test_an_absolute_folder_and_one_at_home_are_where_they_are(models: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(models / "b"))
    assert config(written(models / "a", str(models / "b" / "tiny")))["model"] == str(models / "b" / "tiny")
    assert config(written(models / "a", "~/tiny"))["model"] == str(models / "b" / "tiny")


@pytest.mark.parametrize("model", ["gpt2", "org/tiny", "Qwen/Qwen2.5-0.5B-Instruct"])
def test_a_name_that_is_no_models_folder_is_a_hub_id(models: Path, model: str):
    assert config(written(models / "a", model))["model"] == model


def test_of_several_documents_the_one_that_names_the_folder_counts(models: Path):
    below = written(models / "a", "./tiny")
    above = models / "b" / "two.yaml"
    above.write_text("component:\n  model: ./tiny\n")
    assert config(below, above)["model"] == str(models / "b" / "tiny")


def test_a_folder_from_the_environment_begins_beside_the_document_too(models: Path):
    path = written(models / "a", "${env.MODEL | ./tiny}")
    assert config(path)["model"] == str(models / "a" / "tiny")
    assert config(path, environ={"MODEL": "../b/tiny"})["model"] == str(models / "b" / "tiny")


def test_each_of_several_models_may_be_a_folder(models: Path):
    path = models / "a" / "one.yaml"
    path.write_text(
        "component:\n  type: model\n  task: text-generation\n  models: [./tiny, gpt2]\n"
        "  action: {text: '${input.text}', model: ./tiny}\n"
    )
    assert config(path)["models"] == [str(models / "a" / "tiny"), "gpt2"]


@pytest.mark.parametrize("model", ["./none", "../none", "/none/at/all", "~/none"])
def test_a_folder_that_is_plainly_meant_must_be_there(models: Path, model: str):
    with pytest.raises(DocumentError, match=f"there is no folder '{model}'"):
        config(written(models / "a", model))


def test_a_document_without_a_file_begins_in_the_working_directory(models: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(models / "a")
    plan = load_inline(DOCUMENT.format(model="./tiny"), registry(), {})
    (component,) = plan.components.values()
    assert component.config["model"] == str(models / "a" / "tiny")
