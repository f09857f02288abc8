"""`runtime_env`: what a document may write is what the installed Ray takes, and it arrives there as it is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray._common.runtime_env_package import RUNTIME_ENV_PACKAGE_EXTENSIONS
from ray._common.runtime_env_uri import Protocol
from ray._private.utils import parse_runtime_env_for_task_or_actor
from ray.runtime_env import RuntimeEnv as RaysRuntimeEnv
from ray.runtime_env import RuntimeEnvConfig as RaysConfig

from deployments.serve.options import actor_options
from graphs.document.runtime_env import ARCHIVES, MODULES, SCHEMES, RuntimeEnv, RuntimeEnvConfig
from graphs.load import load
from graphs.plan import Options
from graphs.source import DocumentError
from tests.checker.compiling import compiled, types


def options(environment: str, env: dict[str, str] | None = None) -> Options:
    [component] = compiled(
        f"component: {{type: echo, text: hi, runtime_env: {environment}}}\n", env=env
    ).components.values()
    return component.options


def test_the_keys_are_those_of_the_installed_ray() -> None:
    rays = {name.removeprefix("_") for name in RaysRuntimeEnv.known_fields - RaysRuntimeEnv.extensions_fields}
    assert set(RuntimeEnv.model_fields) == rays - {"java_jars"}  # of which replicas in Python have no use
    assert set(RuntimeEnvConfig.model_fields) == RaysConfig.known_fields


def test_archives_are_those_of_the_installed_ray() -> None:
    assert {each.value for each in Protocol.remote_protocols()} | {Protocol.GCS.value} == set(SCHEMES)
    assert {name: set(endings) for name, endings in RUNTIME_ENV_PACKAGE_EXTENSIONS.items()} == {
        "working_dir": set(ARCHIVES), "py_modules": set(MODULES),
    }  # fmt: skip


@pytest.mark.parametrize(
    "environment",
    [
        "{env_vars: {A: text, B: 1, C: 1.5, D: true}}",
        "{pip: [requests, 'rich>=13']}",
        "{pip: {packages: [requests], pip_check: true, pip_version: '==24.0', pip_install_options: [--no-cache-dir]}}",
        "{uv: [requests]}",
        "{uv: {packages: [requests], uv_check: false, uv_version: '==0.5', uv_pip_install_options: [--no-cache]}}",
        "{conda: tools}",
        "{conda: {dependencies: [pip, {pip: [requests]}]}}",
        "{working_dir: https://example.com/code.zip}",
        "{working_dir: 'gs://bucket/code.tar.gz?generation=1', excludes: ['*.bin']}",
        "{working_dir: local:///srv/code, py_modules: [s3://bucket/lib.whl, local:///srv/lib]}",
        "{py_executable: python, worker_process_setup_hook: package.module.hook}",
        "{image_uri: example/image, env_vars: {A: 1}, config: {setup_timeout_seconds: -1}}",
        "{container: {image: example, run_options: [--cap-drop SYS_ADMIN]}}",
        "{nsight: default, rocprof_sys: {env: {A: b}}}",
        "{config: {setup_timeout_seconds: 60, eager_install: false, log_files: [/tmp/a.log]}}",
        "{pip: , conda: , env_vars: , container: , working_dir: }",
        "{}",
    ],
)
def test_what_compiles_is_taken_by_ray(environment: str) -> None:
    handed: dict[str, Any] = actor_options(options(environment)).get("runtime_env", {})
    taken = parse_runtime_env_for_task_or_actor(handed) if handed else {}
    assert {name.removeprefix("_") for name in taken} >= handed.keys()


def test_variables_are_text_wherever_they_come_from() -> None:
    found = options("{env_vars: {A: 1, B: 0.5, C: true, D: '01', E: '${env.N | 4}'}}", {}).runtime_env
    assert found == {"env_vars": {"A": "1", "B": "0.5", "C": "true", "D": "01", "E": "4"}}


def test_an_empty_environment_is_none() -> None:
    assert options("{}").runtime_env is None
    assert options("{pip: null}").runtime_env is None


def test_the_ingress_has_one_too() -> None:
    plan = compiled("controller: {runtime_env: {env_vars: {A: 1}}}\ncomponent: {type: echo, text: hi}\n")
    assert plan.controller.options.runtime_env == {"env_vars": {"A": "1"}}


def written(folder: Path, environment: str) -> Path:
    path = folder / "document.yaml"
    path.write_text(f"component: {{type: echo, text: hi, runtime_env: {environment}}}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("environment", ["{pip: wanted.txt}", "{uv: wanted.txt}", "{pip: {packages: wanted.txt}}"])
def test_requirements_are_read_beside_the_document(environment: str, tmp_path: Path) -> None:
    (tmp_path / "wanted.txt").write_text("# ours\nrequests\nrich>=13\n", encoding="utf-8")
    found = load([written(tmp_path, environment)], types(), {}).components["component"].options.runtime_env
    assert found is not None
    [installer] = found.values()
    assert installer == {"packages": ["# ours", "requests", "rich>=13"]}


def test_requirements_that_are_no_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "wanted.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DocumentError, match=r"'wanted\.txt' can't be read as text"):
        load([written(tmp_path, "{pip: wanted.txt}")], types(), {})


def test_a_conda_file_is_found_beside_the_document(tmp_path: Path) -> None:
    (tmp_path / "tools.yaml").write_text("dependencies: [pip]\n", encoding="utf-8")
    plan = load([written(tmp_path, "{conda: tools.yaml}")], types(), {})
    assert plan.components["component"].options.runtime_env == {"conda": str(tmp_path / "tools.yaml")}
