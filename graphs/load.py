"""Read documents and their `.env` from disk: paths, or an inline document, in; a checked Plan out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from graphs.checker import check
from graphs.component import Registry
from graphs.errors import BadRequest, NotFound
from graphs.plan import Plan
from graphs.source import DocumentError, Mistakes, Source

INLINE = "<document>"


def load(
    paths: Sequence[str | Path],
    registry: Registry,
    environ: Mapping[str, str] | None = None,
    mistakes: Mistakes | None = None,
) -> Plan:
    """Return the plan of the files, merged in order; `mistakes` takes the warnings."""
    sources = [read(Path(path)) for path in paths]
    folders = dict.fromkeys(Path(path).resolve().parent for path in paths)
    return check(sources, registry, _environment(list(folders), environ).get, mistakes)


def load_inline(
    document: str | Mapping[str, Any],
    registry: Registry,
    environ: Mapping[str, str] | None = None,
    mistakes: Mistakes | None = None,
) -> Plan:
    """Return the plan of a document given as YAML text or as data; `.env` is looked for in the working directory."""
    text = document if isinstance(document, str) else _as_yaml(document)
    return check([Source(INLINE, _lines(text))], registry, _environment([Path.cwd()], environ).get, mistakes)


def _as_yaml(document: Mapping[str, Any]) -> str:
    """Write data as JSON, which is YAML in which every text is quoted: none is taken for a number or a date."""
    try:
        return json.dumps(document, indent=2, ensure_ascii=False, default=_date)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"the document can't be written as YAML: {error}") from None


def _date(value: object) -> str:
    if isinstance(value, date):  # a YAML reader's own: 2030-01-01 is text to us
        return value.isoformat()
    raise TypeError(f"expected mappings, lists, text, numbers and booleans, got {type(value).__name__}")


def read(path: Path) -> Source:
    """Read one file; an error says why it can't be read, with the file in its details."""
    name = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"there is no document {path}", file=name) from None
    except IsADirectoryError:
        raise BadRequest(f"{path} is a folder; write the path of a YAML file in it", file=name) from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8", file=name) from None
    except OSError as error:
        raise BadRequest(f"{path} can't be read: {error.strerror}", file=name) from None
    return Source(name, _lines(text))


def _lines(text: str) -> str:
    """Return the text with its lines ended as Unix does."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _environment(folders: Sequence[Path], environ: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return `.env` of the documents' folders, later ones winning, below the process environment, which wins over all."""
    known: dict[str, str] = {}
    for folder in folders:
        path = folder / ".env"
        if path.is_file():
            from graphs.source.dotenv import variables

            mistakes = Mistakes()
            known |= variables(read(path), mistakes)
            if mistakes:
                raise DocumentError(mistakes.found)
    return {**known, **(os.environ if environ is None else environ)}
