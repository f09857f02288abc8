"""The keys of an entry of `controller.bridges`: a way in that dials out. A URL and the names of topics are checked here."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from graphs.document.field_types import AsText, Id, SpecModel
from graphs.units import Size, Timeout

FORMS = "write mqtt://broker.example.com, or mqtts:// for TLS"
URL = re.compile(
    r"(?P<scheme>mqtts?)://(?P<host>\[[0-9a-f:.]+\]|[\w.-]+)(?::(?P<port>[0-9]{1,5}))?/?", re.ASCII | re.IGNORECASE
)
WILDCARDS = re.compile(r"[+#]")
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
LONGEST_PROJECT = 512
"""The rest of a topic's 65535 bytes is for the ids of sessions, clients and requests."""


def _url(text: str) -> str:
    """Return the URL of a broker; no message shows more of it than its scheme, for it may hold a password."""
    text = text.strip()
    scheme, mark, rest = text.partition("://")
    if not mark or scheme.lower() not in ("mqtt", "mqtts"):
        raise ValueError(
            f"expected the URL of a broker, got {repr(text) if not mark else repr(scheme + '://…')}; {FORMS}"
        )
    if "@" in rest:
        raise ValueError(
            "the URL holds a user or a password; write them as `username` and `password`, from the environment"
        )
    found = URL.fullmatch(text)
    if found is None or int(found["port"] or 1) not in range(1, 65536):
        raise ValueError(f"expected mqtt://HOST:PORT; {FORMS}")
    return text


def _project(text: str) -> str:
    if (found := WILDCARDS.search(text)) is not None:
        raise ValueError(f"'{found[0]}' is a wildcard of MQTT, and no topic's name can hold one; leave it out")
    if not text or text.startswith(("/", "$")) or text.endswith("/") or "//" in text:
        raise ValueError("expected levels of a topic with a name each; write home, or buildings/north")
    if UNWRITABLE.search(text) or len(text.encode("utf-8", "replace")) > LONGEST_PROJECT:
        raise ValueError(
            f"expected at most {LONGEST_PROJECT} bytes without control characters; write home, or buildings/north"
        )
    return text


class Tls(SpecModel):
    """What proves who the broker is, and who the bridge is. Paths count from the document's folder."""

    ca: str | None = Field(default=None, description="certificates to trust in place of the system's: a PEM file")
    certificate: str | None = Field(default=None, description="the bridge's own certificate: a PEM file")
    key: str | None = Field(default=None, description="its private key, where that is a file of its own")

    @model_validator(mode="after")
    def _key_of_a_certificate(self) -> Tls:
        if self.key is not None and self.certificate is None:
            raise ValueError("a key without a certificate proves nothing; write `certificate` too")
        return self


class Mqtt(SpecModel):
    """A broker, and the topics on which questions come and answers go."""

    type: Literal["mqtt"] = Field(description="mqtt")
    id: Id | None = Field(default=None, description="what /ready and the log call it; by default its type")
    url: Annotated[str, AfterValidator(_url)] = Field(description="mqtt://HOST:PORT, or mqtts:// for TLS")
    project: Annotated[str, AfterValidator(_project)] = Field(description="what all topics begin with")
    username: AsText | None = None
    password: AsText | None = Field(default=None, description="best written as ${env.NAME}")
    tls: Tls | None = None
    client_id: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        default=None, description="what the broker knows the bridge by; by default anabranch-PROJECT"
    )
    workflow: str | None = Field(
        default=None, description="the workflow or model that answers; by default the document's default workflow"
    )
    max_message_size: Annotated[Size, Field(ge=4096, le=256 * 2**20)] = Field(
        default=256 * 2**10, description="the largest message that is read or sent"
    )
    expiry: Timeout = Field(
        default=300.0, description="how long the broker keeps an answer for a client that is away (MQTT 5)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Mqtt:
        if self.password is not None and self.username is None:
            raise ValueError("a password without a username; write `username` too")
        if self.tls is not None and not self.url.lower().startswith("mqtts:"):
            raise ValueError("`tls` is for mqtts://, and the URL says mqtt://; write mqtts://, or leave `tls` out")
        return self
