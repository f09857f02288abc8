"""What each mistake says, and the characters it points at."""

from __future__ import annotations

import pickle

import pytest

from graphs.language import LanguageError, parse

MISTAKES = [
    # text, the characters marked, message, part of the hint
    ("${input.text as texxt}", "texxt", "unknown type 'texxt'", "did you mean 'text'?"),
    ("${x as int}", "int", "unknown type 'int'", "did you mean 'integer'?"),
    ("${x as bool}", "bool", "unknown type 'bool'", "did you mean 'boolean'?"),
    ("${x as Text}", "Text", "unknown type 'Text'", "did you mean 'text'?"),
    ("${x as zzz}", "zzz", "unknown type 'zzz'", "types are audio, base64"),
    ("${x as text;sse-txt}", "sse-txt", "unknown format 'sse-txt'", "did you mean 'sse-text'?"),
    ("${x as text;}", "}", "expected a format after ';', got '}'", "sse-text"),
    ("${x as text; sse-txt}", "sse-txt", "unknown format 'sse-txt'", "did you mean 'sse-text'?"),
    ("${x as sse-text}", "sse-text", "'sse-text' is a format, not a type", "as text;sse-text"),
    ("${x as sse-json}", "sse-json", "'sse-json' is a format, not a type", "as json;sse-json"),
    ("${x as}", "}", "expected a type after 'as', got '}'", "write as text"),
    ("${x as select}", "select", "select needs its choices", "select/a,b,c"),
    ("${x as select/a,,b}", "a,,b", "a choice of this select is empty", "select/a,b,c"),
    ("${x as image/}", "}", "expected a kind of image after '/', got '}'", "image/png"),
    ("${}", "${}", "this binding is empty", "${input.name}"),
    ("${  }", "${  }", "this binding is empty", "${input.name}"),
    ("a ${x", "${", "this ${ is never closed", r"\${"),
    ("a ${", "${", "this ${ is never closed", r"\${"),
    ("${x | y", "${", "this ${ is never closed", "end it with }"),
    ("costs ${ 5 dollars", "${", "this ${ is never closed", r"\${"),
    ("${a | ${b }", "${", "this ${ is never closed", "end it with }"),
    ("${x = 1}", "=", "expected '}', got '='", "write == to compare"),
    ("${x === 1}", "===", "expected '}', got '==='", "write =="),
    ("${x <> 1}", "<>", "expected '}', got '<>'", "write !="),
    ("${a && b}", "&&", "expected '}', got '&&'", "write and"),
    ("${a || b}", "||", "expected '}', got '||'", "write or"),
    ("${!a}", "!", "expected a reference or a literal, got '!'", "write not"),
    ("${a ?? b}", "??", "expected '}', got '??'", "write |"),
    ("${a ? b : c}", "?", "expected '}', got '?'", "write |"),
    ("${env.X:-5}", ":-", "expected '}', got ':-'", "write |"),
    ("${a is b}", "is", "expected '}', got 'is'", "write =="),
    ("${True}", "True", "expected a reference or a literal, got 'True'", "write true"),
    ("${x == None}", "None", "expected a reference or a literal, got 'None'", "write null"),
    ("${a OR b}", "OR", "expected '}', got 'OR'", "write or"),
    ("${a + b}", "+", "expected '}', got '+'", "don't calculate"),
    ("${a - b}", "-", "expected '}', got '-'", "don't calculate"),
    ("${len(a)}", "(", "expected '}', got '('", "no functions"),
    ("${{ a }}", "{", "expected a reference or a literal, got '{'", "one pair of braces"),
    ("${ ${a} }", "${", "expected a reference or a literal, got '${'", "needs no ${ }"),
    ("${a b}", "b", "expected '}', got 'b'", None),
    ("${and}", "and", "expected a reference or a literal, got 'and'", "write input.name"),
    ("${a or}", "}", "expected a reference or a literal, got '}'", "write input.name"),
    ("${a == not b}", "not", "expected a reference or a literal, got 'not'", "parentheses"),
    ("${a not b}", "b", "expected 'in' after 'not', got 'b'", "not in"),
    ("${a < b < c}", "<", "a comparison has two sides, got a second '<'", "a < b and b < c"),
    ("${a == b in c}", "in", "a comparison has two sides, got a second 'in'", "and"),
    ("${a in b not in c}", "not", "a comparison has two sides, got a second 'not'", "and"),
    ("${(a or b}", "}", "expected ')', got '}'", None),
    ("${(a | 5) > 3}", "|", "expected ')', got '|'", "at the end of the binding"),
    ("${()}", ")", "expected a reference or a literal, got ')'", "write input.name"),
    ("${input[name]}", "name", "expected a whole number in [ ], got name", "write .name"),
    ("${input['na me']}", "'na me'", "expected a whole number in [ ], got 'na me'", "letters, digits"),
    ("${input[1.5]}", "1.5", "expected a whole number in [ ], got '1.5'", "write [0]"),
    ("${input.list[*].x}", "*", "expected a whole number in [ ], got '*'", "write [0]"),
    ("${response[*]}", "*", "expected a whole number in [ ], got '*'", "response[]"),
    ("${input[0}", "}", "expected ']', got '}'", "write [0]"),
    ("${input..x}", ".", "expected a name after '.', got '.'", "write one '.'"),
    ("${input.[0]}", "[", "expected a name after '.', got '['", "write [0] without"),
    ("${input.}", ".", "expected a name after '.', got the end", "write input.name"),
    ("${input. x}", " ", "expected a name after '.', got a space", "without spaces"),
    ("${input .x}", ".", "expected '}', got '.'", "without spaces"),
    ("${response[].x[]}", "[]", "[] names the current chunk and stands after the first name only", "response[]"),
    ("${5x}", "5x", "expected a number, got '5x'", "names start with a letter"),
    ("${x == 'abc}", "'", "this text is never closed", "another '"),
    (r"${x == 'C:\dir'}", r"\d", r"unknown escape '\d'", r"\\"),
    ("${x | }", "}", "expected a default after '|', got nothing", 'write | ""'),
    ("${x |}", "}", "expected a default after '|', got nothing", "| null"),
    ("${x | as text}", "a", "expected a default after '|', got nothing", 'write | ""'),
    ("${x | []}", "[]", "a default can't be a list as it stands", "'[]' as list"),
    ("${x | {}}", "{", "a default can't be a mapping as it stands", "'{}' as object"),
    ("${x | hello ${y}}", "hello ${", "a default is one binding or plain words, not both", "quote"),
    ("${x | a | b}", "|", "a binding has one default", "${… | …}"),
    ("${x @(description y) | a}", "|", "expected '}', got '|'", "annotations come last"),
    ("${x in ['a']}", "[", "expected a reference or a literal, got '['", "a list can't be written out"),
    ("${x | a @(description y) as text}", "as", "expected '}', got 'as'", "annotations come last"),
    ("${x | such as this}", "this", "unknown type 'this'", "quote a default"),
    ('${x | "a" b}', "b", "expected '}', got 'b'", None),
    ("${x @(foo bar)}", "foo", "unknown annotation 'foo'", "annotations are description"),
    ("${x @(descripton a)}", "descripton", "unknown annotation 'descripton'", "did you mean 'description'?"),
    ("${x @(description)}", "@(description)", "this annotation says nothing", "write @(description"),
    ("${x @(description a}", "@(", "this annotation is never closed", "end it with )"),
    ("${x @(5)}", "5", "expected a word after '@(', got '5'", "write @(description"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "marked", "message", "hint"), MISTAKES, ids=[mistake[0] for mistake in MISTAKES])
def test_a_mistake_says_what_is_wrong_where_and_what_to_write(
    text: str, marked: str, message: str, hint: str | None
) -> None:
    with pytest.raises(LanguageError) as caught:
        parse(text)
    error = caught.value
    assert error.message == message
    assert text[slice(*error.at)] == marked
    assert hint is None or hint in (error.hint or "")


def test_the_second_binding_of_a_text_is_pointed_at_in_the_whole_text() -> None:
    with pytest.raises(LanguageError) as caught:
        parse("${a} and ${b as texxt}")
    assert caught.value.at == (16, 21)


@pytest.mark.parametrize("opening", ["${" + "(" * 5000, "${" + "not " * 5000 + "a}", "${a | " * 5000])
def test_nesting_without_end_is_refused(opening: str) -> None:
    with pytest.raises(LanguageError, match="nested too deeply"):
        parse(opening)


def test_a_long_wrong_word_is_shortened() -> None:
    with pytest.raises(LanguageError) as caught:
        parse("${x as " + "y" * 500 + "}")
    assert len(caught.value.message) < 80


def test_the_error_pickles_with_its_position() -> None:
    with pytest.raises(LanguageError) as caught:
        parse("${}")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.at, again.hint) == (caught.value.message, (0, 3), caught.value.hint)
