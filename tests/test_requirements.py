"""Versions outside the ranges that anabranch states are refused in a sentence, before anything starts."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from graphs import requirements
from graphs.errors import Unavailable
from graphs.requirements import check_requirements

STATED = [
    "ray[serve]<2.61,>=2.60",
    "pyyaml>=6.0.2",
    "tzdata>=2025.2; sys_platform == 'nowhere'",
    "transformers<5.25,>=5.24; extra == 'huggingface'",
    "sacremoses>=0.1; extra == 'huggingface'",
    "vllm<0.34,>=0.33; extra == 'vllm'",
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """Versions by distribution, as if they were installed beside anabranch."""
    versions = {"ray": "2.60.3", "pyyaml": "6.0.4", "tzdata": "1", "transformers": "5.24.1", "vllm": "0.33.0"}

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(requirements, "requires", lambda name: STATED)
    monkeypatch.setattr(requirements, "version", version)
    monkeypatch.setattr(requirements, "LOCKS", tmp_path)
    return versions


def refusal(*asked: str) -> str:
    with pytest.raises(Unavailable) as refused:
        check_requirements(*asked)
    return refused.value.message


@pytest.mark.parametrize("extra", ["", "huggingface", "vllm"])
def test_versions_in_their_ranges_pass(installed: dict[str, str], extra: str):
    check_requirements(extra)


def test_a_version_out_of_its_range_is_refused_with_what_to_run(installed: dict[str, str]):
    installed["transformers"] = "5.26.0"
    assert refusal("huggingface") == (
        "transformers 5.26.0 is installed, and anabranch needs transformers>=5.24,<5.25; "
        "run: pip install 'transformers>=5.24,<5.25'"
    )


def test_in_a_clone_the_locked_version_is_what_to_install(installed: dict[str, str], tmp_path: Path):
    (tmp_path / "vllm.txt").write_text("vllm==0.33.0\n")
    installed["vllm"] = "0.40.0"
    assert refusal("vllm", "vllm").endswith(f"; run: pip install -c {tmp_path}/vllm.txt 'vllm>=0.33,<0.34'")


def test_every_version_out_of_its_range_is_named(installed: dict[str, str]):
    installed |= {"ray": "2.61.0", "transformers": "4.57.1"}
    message = refusal("huggingface")
    assert message.startswith("ray 2.61.0 is installed, and anabranch needs ray>=2.60,<2.61; transformers 4.57.1 is ")
    assert message.endswith("run: pip install 'ray>=2.60,<2.61' 'transformers>=5.24,<5.25'")


def test_the_requirements_of_an_extra_count_only_where_it_is_used(installed: dict[str, str]):
    installed["transformers"] = "5.26.0"
    check_requirements()
    check_requirements("vllm")


def test_what_is_not_installed_is_left_to_its_import(installed: dict[str, str]):
    del installed["transformers"]
    check_requirements("huggingface")


def test_builds_and_nightlies_of_a_version_in_the_range_pass(installed: dict[str, str]):
    installed |= {"transformers": "5.24.0+cpu", "vllm": "0.33.1.dev7+g12ab"}
    check_requirements("huggingface")
    check_requirements("vllm")


def test_a_checkout_that_was_never_installed_states_no_ranges(installed: dict[str, str], monkeypatch):
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(requirements, "requires", requires)
    installed["ray"] = "1.0"
    check_requirements()


def test_serve_refuses_before_it_reads_the_document(installed: dict[str, str]):
    from deployments.serve.command import serve

    installed["ray"] = "2.61.0"
    with pytest.raises(Unavailable, match=r"ray 2\.61\.0 is installed"):
        serve(["there-is-no-such.yaml"], None, None, "anabranch")
