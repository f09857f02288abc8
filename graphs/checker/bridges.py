"""What a document says of its bridges in; where they dial, and what answers them, out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graphs import document
from graphs.checker.environment import is_secret
from graphs.document.bridges import URL, Mqtt
from graphs.document.bridges import Tls as WrittenTls
from graphs.plan import Bridge, Model, Tls
from graphs.source import MappingNode, Mistakes, Node
from graphs.suggest import did_you_mean
from graphs.validation import describe

PORT, TLS_PORT = 1883, 8883


def bridges(written: document.Controller, controller: MappingNode | None, mistakes: Mistakes) -> tuple[Bridge, ...]:
    """Return the bridges; report two of one name, two that ask the same, and files that aren't there."""
    found: list[Bridge] = []
    for bridge, node in zip(written.bridges, _nodes(controller), strict=True):
        _warn_of_password(node, mistakes)
        made = _bridge(bridge, node, mistakes)
        if any(each.id == made.id for each in found):
            message = f"two bridges are called '{made.id}'"
            mistakes.add(node.given("id") or node, message, "give this one another `id`")
        twin = next((each for each in found if _client(each) == _client(made)), None)
        if twin is not None:
            message = f"the bridge '{twin.id}' is at this broker under the same `client_id`, '{made.client_id}'"
            mistakes.add(node, message, "a broker keeps one connection of each; write another `project` or `client_id`")
        found.append(made)
    return tuple(found)


def check_models(
    found: tuple[Bridge, ...], controller: MappingNode | None, models: Mapping[str, Model], mistakes: Mistakes
) -> None:
    """Report bridges that name a workflow or model that isn't there."""
    for bridge, node in zip(found, _nodes(controller), strict=True):
        known = f"the models are {', '.join(models)}" if models else "the document has no workflow and no model"
        if bridge.model is not None and bridge.model not in models:
            at = node.get("workflow") or node
            mistakes.add(
                at, f"there is no workflow or model '{bridge.model}'", did_you_mean(bridge.model, models, known)
            )


def secrets(of: tuple[Bridge, ...]) -> frozenset[str]:
    """Return the passwords of bridges."""
    return frozenset(each.password for each in of if each.password is not None and is_secret(each.password))


def _client(bridge: Bridge) -> tuple[str, int, str]:
    """Return what a broker knows a bridge by."""
    return bridge.host, bridge.port, bridge.client_id


def _nodes(controller: MappingNode | None) -> list[MappingNode]:
    written = controller.given("bridges") if controller is not None else None
    if written is None:
        return []
    items = written.items if written.kind == "list" else [written]
    return [each for each in items if each.kind == "mapping"]


def _bridge(written: Mqtt, node: MappingNode, mistakes: Mistakes) -> Bridge:
    found = URL.fullmatch(written.url)
    assert found is not None, "the URL was checked"
    is_tls = found["scheme"].lower() == "mqtts"
    return Bridge(
        id=written.id or written.type,
        host=found["host"].strip("[]").lower(),
        port=int(found["port"] or (TLS_PORT if is_tls else PORT)),
        tls=_tls(written.tls or WrittenTls(), node, mistakes) if is_tls else None,
        project=written.project,
        client_id=written.client_id or f"anabranch-{written.project}",
        username=written.username,
        password=written.password,
        model=written.workflow,
        max_message_size=written.max_message_size,
        expiry=written.expiry,
    )


def _tls(written: WrittenTls, node: MappingNode, mistakes: Mistakes) -> Tls:
    tls = node.get("tls")
    keys = tls if tls is not None and tls.kind == "mapping" else None

    def path(name: str, value: str | None) -> str | None:
        at = keys.get(name) if keys is not None else None
        return None if value is None or at is None else _file(value, at, mistakes)

    return Tls(path("ca", written.ca), path("certificate", written.certificate), path("key", written.key))


def _file(written: str, node: Node, mistakes: Mistakes) -> str:
    found = Path(node.span.source.folder, Path(written).expanduser()).resolve()
    if not found.is_file():
        mistakes.add(node, f"there is no file {describe(node)}", "paths are relative to the document's folder")
    return str(found)


def _warn_of_password(node: MappingNode, mistakes: Mistakes) -> None:
    password = node.given("password")
    if password is not None and password.kind == "scalar" and "${env." not in (password.shown or ""):
        mistakes.warn(password, "the broker's password is written in the document", "write ${env.NAME} instead")
