"""What holds for every text and every template."""

from __future__ import annotations

import contextlib
import json
import pickle

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.errors import BindingFailed
from graphs.language import LanguageError, NeedsWhole, Scope, evaluate, parse, print_template, references, resolve_env
from graphs.language.nodes import Template
from graphs.stream import Stream
from tests.language.trees import bindings, json_values, shape, templates, texts


def examples(count: int) -> settings:
    """A busy machine is no reason to fail."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


SNIPPETS = [
    "${", "}", "${input.a", "\\", "\\${", "$", "{", " as ", "text", "integer", ";sse-text", "select/a,b", " | ", "'", '"',
    "x", "input", ".b", "[0]", "[]", "(", ")", " and ", " or ", " not ", " in ", " == ", " < ", "1", "-2.5e3", "true", "null",
    "@(", "description ", "가", "\n", "=", "!", "&&", "[", "]", "..", "env.A", ", ", "/", ";",
]  # fmt: skip
awkward = st.lists(st.sampled_from(SNIPPETS), max_size=14).map("".join)


@examples(250)
@given(awkward | st.text(max_size=40))
def test_any_text_parses_or_raises_a_positioned_error(text: str) -> None:
    mistake = None
    try:
        parse(text)
    except LanguageError as error:
        mistake = error
    assert mistake is None or (0 <= mistake.at[0] <= mistake.at[1] <= len(text) and mistake.message)


@examples(250)
@given(awkward)
def test_what_parses_prints_into_what_parses_the_same(text: str) -> None:
    with contextlib.suppress(LanguageError):
        template = parse(text)
        assert shape(parse(print_template(template))) == shape(template)


@examples(200)
@given(templates)
def test_every_template_prints_into_text_that_parses_into_it(template: Template) -> None:
    assert shape(parse(print_template(template))) == shape(template)


@examples(50)
@given(templates)
def test_templates_pickle(template: Template) -> None:
    assert pickle.loads(pickle.dumps(template)) == template


@examples(100)
@given(texts)
def test_text_without_bindings_is_itself(text: str) -> None:
    plain = text.replace("{", "")
    escaped = print_template(parse(plain))
    assert evaluate(parse(escaped), Scope({})) == plain


async def _nothing():
    for batch in ():
        yield batch


@examples(250)
@given(templates, st.data(), st.booleans())
def test_evaluating_raises_nothing_but_its_own_errors(template: Template, data: st.DataObject, stream: bool) -> None:
    read = sorted({reference.name for reference in references(template)})
    names = {name: Stream(_nothing()) if stream else data.draw(json_values) for name in read}
    with contextlib.suppress(BindingFailed, NeedsWhole):
        evaluate(template, Scope(names, {} if stream else names))


@examples(150)
@given(bindings, json_values)
def test_failures_are_json_and_name_the_binding(template: Template, value: object) -> None:
    names = {reference.name: value for reference in references(template)}
    failure = None
    try:
        evaluate(template, Scope(names))
    except BindingFailed as failed:
        failure = failed
    assert failure is None or "${" in json.loads(json.dumps(failure.to_data()))["message"]


@examples(100)
@given(
    st.sampled_from(
        ["${env.A}", "x ${env.A}", "${env.A as text}", "${env.B | ${env.A}}", "${env.A == 'x'}", "${env.A as json | 3}"]
    ),
    st.none() | st.text(max_size=20),
)
def test_the_environment_resolves_or_says_why(text: str, value: str | None) -> None:
    resolved = resolve_env(parse(text), lambda name: value if name == "A" else None)
    complete = not resolved.unset and not resolved.errors
    if complete:
        evaluate(resolved.template, Scope({}))
    assert (value is None and bool(resolved.unset)) or bool(resolved.errors) or complete
