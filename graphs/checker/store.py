"""What a document says of its store in; where runs are kept out: the path of a file made absolute, a password in plain sight told."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from graphs import document
from graphs.checker.environment import is_secret
from graphs.plan import SQLITE, Store
from graphs.source import MappingNode, Mistakes, Node

DEFAULT = Path(".anabranch", "runs.db")
"""Where runs are kept that a document says nothing about, from its folder."""

PASSWORD = re.compile(r"(?:://[^:/?#@]*:(?P<login>[^@/]+)@)|(?:[?&]password=(?P<option>[^&\s]+))")


def store(written: document.Store, controller: MappingNode | None, folder: Path, mistakes: Mistakes) -> Store:
    """Return where runs are kept; `folder` is that of the first document, for a store that has no URL."""
    node = _url_node(controller)
    if written.url is None or node is None:
        url = f"{SQLITE}{(folder / DEFAULT).resolve()}"
    else:
        _warn_of_password(node, mistakes)
        url = _absolute(written.url, node, mistakes)
    is_written = controller is not None and controller.given("store") is not None
    return Store(url, written.record, written.keep_for, written.max_size, is_written)


def secrets(of: Store) -> frozenset[str]:
    """Return the passwords in a store's URL, as they are written there and as they are meant."""
    found = (each for match in PASSWORD.finditer(of.url or "") for each in match.groups() if each)
    return frozenset(form for each in found for form in (each, unquote(each)) if is_secret(form))


def _url_node(controller: MappingNode | None) -> Node | None:
    node = controller.given("store") if controller else None
    return node.given("url") if node is not None and node.kind == "mapping" else node


def _absolute(url: str, node: Node, mistakes: Mistakes) -> str:
    """Return the URL with the path of a file absolute: a relative one counts from the document's folder."""
    if not url.startswith(SQLITE):
        return url
    path = Path(node.span.source.folder, Path(url.removeprefix(SQLITE)).expanduser()).resolve()
    if path.is_dir():
        mistakes.add(node, "the store must be a file, and this is a folder", "write the path of a file in it")
    return f"{SQLITE}{path}"


def _warn_of_password(node: Node, mistakes: Mistakes) -> None:
    written = (node.shown or str(node.value)) if node.kind == "scalar" else ""
    found = PASSWORD.search(written)
    if found is not None and "${env." not in (found["login"] or found["option"]):
        message = "the store's password is written in the document"
        mistakes.warn(node, message, "write ${env.NAME} instead of it, or instead of the whole URL")
