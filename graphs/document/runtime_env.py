"""Ray's runtime environment of replicas, as documents write it: the keys there are, and what each takes.

Ray itself drops unknown keys, and reports most other mistakes in its controller's log alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from graphs.document.field_types import AsText, SpecModel, no_boolean

SCHEMES = ("https", "http", "s3", "gs", "azure", "abfss", "gcs", "file")
ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.xz")
MODULES = (*ARCHIVES, ".whl")


def _uri(endings: tuple[str, ...]) -> Callable[[str], str]:
    def checked(uri: str) -> str:
        """Refuse a path on this machine: Ray uploads such folders for a whole Ray job, never for a replica."""
        scheme, separator, rest = uri.partition("://")
        path = rest.partition("#")[0].partition("?")[0]
        if scheme == "local" and rest.startswith("/") and not rest.endswith(MODULES):
            return uri
        if separator and scheme.lower() in SCHEMES and path.endswith(endings):
            return uri
        raise ValueError(
            f"expected the URI of a file that ends in {', '.join(endings)}, got {uri!r}; "
            f"write https://…{endings[0]}, s3://… or gs://…, or local:///folder for a folder that every node has"
        )

    return checked


def _packages(value: Any) -> Any:
    """Read packages alone as a mapping with nothing else."""
    return {"packages": value} if value is not None and not isinstance(value, dict) else value


def _listed(value: Any) -> Any:
    """Read text, the path of a requirements file, as a list of one: the checker reads that file."""
    if isinstance(value, bool | int | float):
        raise ValueError(
            "expected a list of packages, or the path of a file of them; write [requests], or requirements.txt"
        )
    return [value] if isinstance(value, str) else value


def _named(what: str) -> BeforeValidator:
    def checked(value: Any) -> Any:
        if isinstance(value, bool | int | float | list):
            raise ValueError(f"expected {what}, as text or a mapping; write its name in quotes, or what it holds")
        return value

    return BeforeValidator(checked, json_schema_input_type=str | dict[str, Any])


def _seconds(value: int) -> int:
    if value < 1 and value != -1:
        raise ValueError(f"expected 1 second or more, got {value}; write -1 for no limit")
    return value


Packages = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Pip(SpecModel):
    packages: Packages
    pip_check: bool | None = None
    pip_version: str | None = None
    pip_install_options: list[str] | None = None


class Uv(SpecModel):
    packages: Packages
    uv_check: bool | None = None
    uv_version: str | None = None
    uv_pip_install_options: list[str] | None = None


class Container(SpecModel):
    image: str
    worker_path: str | None = None
    run_options: list[str] | None = None


class RuntimeEnvConfig(SpecModel):
    """How the environment is made."""

    setup_timeout_seconds: Annotated[int, AfterValidator(_seconds), BeforeValidator(no_boolean)] | None = None
    eager_install: bool | None = None
    log_files: list[str] | None = None


ALONE = {"container": ("config", "env_vars"), "image_uri": ("config", "env_vars")}
"""Keys that bring everything a replica runs with, each with the keys that may stand beside it."""
INSTALLERS = ("pip", "uv", "conda")


class RuntimeEnv(SpecModel):
    """What replicas run with: variables, packages, code."""

    env_vars: dict[str, AsText] | None = Field(default=None, description="environment variables of the replicas")
    pip: Annotated[Pip, BeforeValidator(_packages, json_schema_input_type=str | list[str] | Pip)] | None = Field(
        default=None, description="packages to install, a requirements file, or both with pip's options"
    )
    uv: Annotated[Uv, BeforeValidator(_packages, json_schema_input_type=str | list[str] | Uv)] | None = Field(
        default=None, description="the same, installed by uv"
    )
    conda: Annotated[Any, _named("an environment of conda")] = Field(
        default=None, description="a conda environment: its name, its YAML file, or what that would hold"
    )
    working_dir: Annotated[str, AfterValidator(_uri(ARCHIVES))] | None = Field(
        default=None, description="the URI of an archive, unpacked as the working directory"
    )
    py_modules: list[Annotated[str, AfterValidator(_uri(MODULES))]] | None = Field(
        default=None, description="the URIs of archives to import from"
    )
    excludes: list[str] | None = None
    py_executable: str | None = Field(default=None, description="the Python that replicas run in")
    worker_process_setup_hook: str | None = Field(default=None, description="module.function, called when one starts")
    container: Container | None = None
    image_uri: str | None = Field(default=None, description="the container image that replicas run in")
    nsight: Annotated[Any, _named("nsight's options")] = None
    rocprof_sys: Annotated[Any, _named("rocprof-sys's options")] = None
    config: RuntimeEnvConfig | None = None

    @model_validator(mode="after")
    def _together(self) -> RuntimeEnv:
        written = [name for name in RuntimeEnv.model_fields if getattr(self, name) is not None]
        installers = [name for name in INSTALLERS if name in written]
        if len(installers) > 1:
            hint = "conda's dependencies can hold pip's packages" if "conda" in installers else "keep one"
            raise ValueError(f"{' and '.join(installers)} can't be combined in a runtime_env; {hint}")
        for name, beside in ALONE.items():
            others = [each for each in written if each not in (name, *beside)]
            if name in written and others:
                raise ValueError(
                    f"{others[0]} can't be combined with {name} in a runtime_env; build it into the image, or leave {name} out"
                )
        return self
