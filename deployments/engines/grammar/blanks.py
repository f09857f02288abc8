"""Where blanks may stand between the tokens of JSON, in the words of llguidance; it is checked that they are understood.

A model that has lost its way would fill its whole answer with blanks where any number of them is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from graphs.errors import Unavailable
from graphs.requirements import installed_version

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

BLANK = r"\x20|\r?\n[\x20\x09]{0,64}"
"""A space, or a line break and an indentation."""

OVERRIDES: JsonCompileOptions = {"whitespace_pattern": BLANK}
"""For `grammar_from_json_schema`."""

KEYWORD: Mapping[str, Any] = {
    "x-guidance": {
        "whitespace_flexible": False, "item_separator": f",({BLANK})?", "key_separator": f":({BLANK})?",
    }
}  # fmt: skip
"""For the schema itself, where vLLM makes the grammar: blanks stand behind commas and colons alone.

Elsewhere too would be as with the other driver, but the library that vLLM brings repeats what it is told of them.
"""


@cache
def require_blanks() -> None:
    """Raise Unavailable where the installed llguidance does not limit blanks as OVERRIDES and KEYWORD say."""
    from llguidance import LLMatcher

    make = LLMatcher.grammar_from_json_schema
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    own = make(json.dumps(schema), overrides=OVERRIDES)
    if _allows(own, "{\n" + 65 * " ") or not _allows(own, '{\n\t"a": 1\n}'):
        raise _changed("whitespace_pattern")
    # As vLLM makes it: blanks anywhere, unless the schema says otherwise.
    by_keyword = make(json.dumps({**schema, **KEYWORD}), defaults={"whitespace_flexible": True})
    if _allows(by_keyword, "{ ") or not _allows(by_keyword, '{"a":\n\t1}'):
        raise _changed("x-guidance")


def _allows(grammar: str, text: str) -> bool:
    from llguidance import LLMatcher, LLTokenizer

    return LLMatcher(LLTokenizer("byte"), grammar, log_level=0).consume_tokens(list(text.encode()))


def _changed(name: str) -> Unavailable:
    return Unavailable(
        f"llguidance {installed_version('llguidance')} differs from the versions that anabranch is made for: it does not "
        f"limit blanks by {name!r}; install one of those that anabranch requires"
    )
