"""Models come from a folder, the hub, or the cache; when they can't, one line says why and what to do."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from deployments.engines import fetching
from deployments.engines.fetching import fetch, fetch_config, hub_errors, in_bytes, wanted
from graphs.errors import Unavailable
from tests.engines import tiny
from tests.engines.hub import Hub, served

NAME = "someone/tiny"
REFUSALS = {
    "someone/gated": (403, "GatedRepo"),
    "someone/broken": (418, ""),
    "someone/unlabelled": (404, "RevisionNotFound"),
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Have the hub's client talk to a hub of our own, with a cache of its own."""
    from huggingface_hub import constants, file_download

    folder = tmp_path / "repository"
    shutil.copytree(tiny.model("gpt2"), folder)
    (folder / "pytorch_model.bin").write_bytes(b"the same weights")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "README.md").write_text("nothing")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with served(Hub({NAME: folder, "someone/empty": tmp_path / "empty"}, REFUSALS)) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", constants.HUGGINGFACE_CO_URL_TEMPLATE, False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield hub


def refused(name: str) -> str:
    with pytest.raises(Unavailable) as refusal:
        fetch(name, {})
    message = refusal.value.message
    assert "\n" not in message
    return message


def test_a_folder_is_taken_as_it_is(tmp_path: Path):
    assert fetch(str(tiny.model("gpt2")), {}) == tiny.model("gpt2")
    assert "there is no folder" in refused(str(tmp_path / "none"))
    assert "has no config.json, so it holds no model" in refused(str(tmp_path))


def test_a_model_is_downloaded_once_and_the_log_tells_of_it(hub: Hub, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "anabranch.model")
    folder = fetch(NAME, {})
    assert (folder / "config.json").is_file()
    assert "pytorch_model.bin" not in hub.sent
    assert "model.json" not in hub.sent
    assert hub.sent == sorted(file.name for file in folder.iterdir())
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith(f"downloading {NAME}: {len(hub.sent)} files, ")
    assert told[-1].startswith(f"downloaded {NAME}: ")
    hub.asked.clear()
    caplog.clear()
    assert fetch(NAME, {}) == folder
    assert hub.sent == []
    assert not caplog.records


def test_while_it_downloads_the_log_says_how_far_it_is(hub: Hub, caplog: pytest.LogCaptureFixture, monkeypatch):
    caplog.set_level(logging.INFO, "anabranch.model")
    monkeypatch.setattr(fetching, "LOG_EVERY", 0)
    folder = fetch(NAME, {})
    total = in_bytes(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
    first, *lines, last = [record.getMessage() for record in caplog.records]
    assert first == f"downloading {NAME}: {len(hub.sent)} files, {total}"
    assert all(line.startswith(f"downloading {NAME}: ") and line.endswith(f" of {total}") for line in lines)
    assert lines[-1] == f"downloading {NAME}: {total} of {total}"
    assert last.startswith(f"downloaded {NAME}: {total} in ")


def test_files_with_odd_names_are_downloaded(hub: Hub):
    (hub.folders[NAME] / "a[1].json").write_text("{}")
    assert (fetch(NAME, {}) / "a[1].json").is_file()


def test_a_hub_that_breaks_off_is_taken_for_no_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog):
    folder = fetch(NAME, {})
    hub.refusals[NAME] = (0, "")
    assert fetch(NAME, {}) == folder
    assert "the hub can't be reached; taking model someone/tiny from the cache" in caplog.text


def test_without_a_network_the_cache_is_enough(hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog):
    from huggingface_hub import constants

    folder = fetch(NAME, {})
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert fetch(NAME, {}) == folder
    assert "the hub can't be reached; taking model someone/tiny from the cache" in caplog.text
    message = refused("someone/other")
    assert "is not in the cache" in message
    assert "the hub can't be reached; download it where there is a network (hf download someone/other)" in message


def test_offline_the_hub_is_not_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    folder = fetch(NAME, {})
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(NAME, {}) == folder
    assert hub.asked == []
    assert "is not in the cache" in (message := refused("someone/other"))
    assert "HF_HUB_OFFLINE is set" in message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("someone/gated", "is gated; accept its terms at https://huggingface.co/someone/gated, then set HF_TOKEN"),
        ("someone/missing", "there is no model 'someone/missing' on the hub, or it is private"),
        ("someone/unlabelled", "has no such revision"),
        ("someone/broken", "the hub answered 418"),
        ("someone/empty", "has no config.json on the hub"),
        ("not a name", "is neither a folder here nor a hub id"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(hub: Hub, name: str, said: str):
    assert said in refused(name)


def test_a_disk_without_room_is_told_before_anything_is_downloaded(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    assert "there is no room for its" in (message := refused(NAME))
    assert "set HF_HOME to a folder on another disk" in message
    assert hub.sent == []


def test_a_disk_that_fills_meanwhile_is_told():
    with pytest.raises(Unavailable, match="the disk is full at"), hub_errors("gpt2"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), hub_errors("gpt2"):
        raise PermissionError(errno.EACCES, "not yours")


def test_the_configuration_alone_can_be_had(hub: Hub):
    assert (fetch_config(NAME, {}) / "config.json").is_file()
    assert hub.sent == ["config.json"]


def test_of_a_repository_one_copy_of_the_weights_is_wanted():
    files = [
        "config.json", "tokenizer.json", "vocab.txt", "source.spm", "README.md", "model.safetensors",
        "model.safetensors.index.json", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack",
        "consolidated.safetensors", "onnx/model.onnx", "1_Pooling/config.json", "modeling_own.py",
    ]  # fmt: skip
    found = ["config.json", "tokenizer.json", "vocab.txt", "source.spm", "model.safetensors.index.json"]
    assert wanted(files) == [*found, "model.safetensors", "1_Pooling/config.json"]
    assert "modeling_own.py" in wanted(files, code=True)
    assert wanted(["config.json", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"]) == [
        "config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin",
    ]  # fmt: skip
