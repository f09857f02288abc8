"""What holds for every text and every template."""

from __future__ import annotations

import contextlib
import json
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.errors import BindingFailed
from graphs.language import LanguageError, NeedsWhole, Scope, evaluate, parse, print_template, resolve_env
from graphs.language.nodes import Template
from graphs.stream import Stream
from tests.language.trees import bindings, heads, json_values, shape, templates, texts

SNIPPETS = [
    "${", "}", "${input.a", "\\", "\\${", "$", "{", " as ", "text", "integer", ";sse-text", "select/a,b", " | ", "'", '"',
    "x", "input", ".b", "[0]", "[]", "(", ")", " and ", " or ", " not ", " in ", " == ", " < ", "1", "-2.5e3", "true", "null",
    "@(", "description ", "가", "\n", "=", "!", "&&", "[", "]", "..", "env.A", ", ", "/", ";",
]  # fmt: skip
awkward = st.lists(st.sampled_from(SNIPPETS), max_size=14).map("".join)


@settings(max_examples=400, deadline=None)
@given(awkward | st.text(max_size=40))
def test_any_text_parses_or_raises_a_positioned_error(text: str) -> None:
    try:
        parse(text)
    except LanguageError as error:
        start, end = error.at
        assert 0 <= start <= end <= len(text)
        assert error.message


@settings(max_examples=400, deadline=None)
@given(awkward)
def test_what_parses_prints_into_what_parses_the_same(text: str) -> None:
    with contextlib.suppress(LanguageError):
        template = parse(text)
        assert shape(parse(print_template(template))) == shape(template)


@settings(max_examples=300, deadline=None)
@given(templates)
def test_every_template_prints_into_text_that_parses_into_it(template: Template) -> None:
    assert shape(parse(print_template(template))) == shape(template)


@settings(max_examples=50, deadline=None)
@given(templates)
def test_templates_pickle(template: Template) -> None:
    assert pickle.loads(pickle.dumps(template)) == template


@settings(max_examples=100, deadline=None)
@given(texts)
def test_text_without_bindings_is_itself(text: str) -> None:
    escaped = print_template(parse(text.replace("${", "")))
    assert evaluate(parse(escaped), Scope({})) == text.replace("${", "")


async def _nothing():
    for batch in ():
        yield batch


@settings(max_examples=300, deadline=None)
@given(templates, st.dictionaries(heads, json_values, max_size=3), st.booleans())
def test_evaluating_raises_nothing_but_its_own_errors(template: Template, names: dict[str, object], stream: bool) -> None:
    if stream:
        names = dict.fromkeys(names, Stream(_nothing()))
    with contextlib.suppress(BindingFailed, NeedsWhole):
        evaluate(template, Scope(names, names if not stream else {}))


@settings(max_examples=200, deadline=None)
@given(bindings, json_values)
def test_failures_are_json_and_name_the_binding(template: Template, value: object) -> None:
    names = {name: value for name in ("a", "input", "é")}
    try:
        evaluate(template, Scope(names))
    except BindingFailed as failed:
        assert "${" in failed.message
        json.dumps(failed.to_data())


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["${env.A}", "x ${env.A}", "${env.A as text}", "${env.B | ${env.A}}", "${env.A == 'x'}", "${env.A as json | 3}"]), st.none() | st.text(max_size=20))
def test_the_environment_resolves_or_says_why(text: str, value: str | None) -> None:
    resolved = resolve_env(parse(text), lambda name: value if name == "A" else None)
    complete = not resolved.unset and not resolved.errors
    if complete:
        evaluate(resolved.template, Scope({}))
    assert (value is None and bool(resolved.unset)) or bool(resolved.errors) or complete
