"""Calls of tools are read out of generated text, while it is generated."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from deployments.engines.grammar.guides import JUDGE
from deployments.engines.tool_calls.choice import call_parser, tool_use
from deployments.engines.tool_calls.parser import CallParser
from deployments.engines.tool_calls.pieces import CallDelta, join_calls
from deployments.engines.tool_calls.styles import STYLES, style_of
from graphs.errors import InvalidInput

TOOLS = {"get_weather": {"properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}, "get_time": {}}


def parser(style="hermes"):
    return call_parser(STYLES[style], TOOLS)


def read(reader, pieces):
    """Feed the pieces; return the content and the calls as (name, arguments)."""
    said = [piece for text in pieces for piece in reader.feed(text)] + reader.end()
    content = "".join(piece for piece in said if isinstance(piece, str))
    calls = join_calls(piece for piece in said if isinstance(piece, CallDelta))
    assert reader.called == bool(calls)
    return content, [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


def whole(text, style="hermes"):
    return read(parser(style), [text])


SEOUL = ("get_weather", '{"city": "서울 🌦", "days": [1, {"a": "}"}]}')
NOON = ("get_time", "{}")

ANSWERS = {
    "one call": (
        "hermes",
        f'<tool_call>\n{{"name": "get_weather", "arguments": {SEOUL[1]}}}\n</tool_call>',
        ("", [SEOUL]),
    ),
    "content, then two calls": (
        "hermes",
        (
            f'Let me look.\n<tool_call>{{"name": "get_weather", "arguments": {SEOUL[1]}}}</tool_call>\n<tool_call>'
            '{"name": "get_time", "arguments": {}}</tool_call>\n'
        ),
        ("Let me look.\n", [SEOUL, NOON]),
    ),
    "content after a call": (
        "hermes",
        '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>\n\nThat was it.',
        ("\n\nThat was it.", [NOON]),
    ),
    "blanks in a list": (
        "mistral",
        f'[TOOL_CALLS] [ {{"name": "get_weather" , "arguments" : {SEOUL[1]} }} , {{"name": "get_time", "arguments": {{}}}}\n]',
        ("", [SEOUL, NOON]),
    ),
    "no arguments at all": ("hermes", '<tool_call>{"name": "get_time"}</tool_call>', ("", [NOON])),
    "null for arguments": ("hermes", '<tool_call>{"name": "get_time", "arguments": null}</tool_call>', ("", [NOON])),
    "arguments before the name": (
        "hermes",
        '<tool_call>{"arguments": {"a": 1}, "name": "get_time"}</tool_call>',
        ("", [("get_time", '{"a": 1}')]),
    ),
    "arguments as JSON in a string": (
        "hermes",
        r'<tool_call>{"name": "get_time", "arguments": "{\"zone\": \"한국\"}"}</tool_call>',
        ("", [("get_time", '{"zone": "한국"}')]),
    ),
    "quotes, backslashes and tags in strings": (
        "hermes",
        r'<tool_call>{"name": "get_time", "arguments": {"a": "\\\"}</tool_call>{\\"}}</tool_call>',
        ("", [("get_time", r'{"a": "\\\"}</tool_call>{\\"}')]),
    ),
    "a brace too few": ("hermes", '<tool_call>{"name": "get_time", "arguments": {}</tool_call>', ("", [NOON])),
    "a brace too many": ("hermes", '<tool_call>{"name": "get_time", "arguments": {}}}\n</tool_call>', ("", [NOON])),
    "no closing tag": ("hermes", '<tool_call>{"name": "get_time", "arguments": {}}', ("", [NOON])),
    "a list within a tag": (
        "hermes",
        '<tool_call>[{"name": "get_time", "arguments": {}}, {"name": "get_time", "arguments": {}}]</tool_call>',
        ("", [NOON, NOON]),
    ),
    "a tool nobody offered": ("hermes", '<tool_call>{"name": "rm", "arguments": {}}</tool_call>', ("", [("rm", "{}")])),
    "a tag without a call": ("hermes", "<tool_call>oops</tool_call>", ("<tool_call>oops</tool_call>", [])),
    "blank text, then a tag without a call": ("hermes", " \n<tool_call>no", (" \n<tool_call>no", [])),
    "a tag after a tag without a call": (
        "hermes",
        '<tool_call><tool_call>{"name": "get_time", "arguments": {}}</tool_call>',
        ("<tool_call>", [NOON]),
    ),
    "a call without a name": ("hermes", '<tool_call>{"arguments": {}}', ('<tool_call>{"arguments": {}}', [])),
    "a call cut off before its arguments": ("hermes", 'Hm <tool_call>{"name": "g', ('Hm <tool_call>{"name": "g', [])),
    "a call cut off within its arguments": (
        "hermes",
        '<tool_call>{"name": "get_time", "arguments": {"a": "b\\',
        ("", [("get_time", '{"a": "b\\')]),
    ),
    "text that is nearly a tag": ("hermes", "a <tool_cal and <<tool", ("a <tool_cal and <<tool", [])),
    "JSON without a tag": ("hermes", '{"name": "get_time"}', ('{"name": "get_time"}', [])),
    "nothing": ("hermes", "", ("", [])),
    "blanks alone": ("hermes", " \n ", (" \n ", [])),
    "Llama, alone": ("llama3_json", f'{{"name": "get_weather", "parameters": {SEOUL[1]}}}', ("", [SEOUL])),
    "Llama, its type first, and two of them": (
        "llama3_json",
        '\n{"type": "function", "name": "get_time", "parameters": {}}; {"name": "get_time", "parameters": {}}\n',
        ("", [NOON, NOON]),
    ),
    "Llama, with its tag": ("llama3_json", '<|python_tag|>{"name": "get_time", "parameters": {}}', ("", [NOON])),
    "Llama, with its tag, a tool nobody offered": (
        "llama3_json",
        '<|python_tag|>{"name": "rm", "parameters": {}}',
        ("", [("rm", "{}")]),
    ),
    "other JSON": ("llama3_json", '{"name": "Anna", "age": 3}', ('{"name": "Anna", "age": 3}', [])),
    "other JSON that names a tool": ("llama3_json", '{"name": "get_time"}', ('{"name": "get_time"}', [])),
    "other JSON with other keys": ("llama3_json", ' {"city": {"a": []}}', (' {"city": {"a": []}}', [])),
    "a call in the middle of a text": (
        "llama3_json",
        'See {"name": "get_time", "parameters": {}}',
        ('See {"name": "get_time", "parameters": {}}', []),
    ),
    "text after a call": ("llama3_json", '{"name": "get_time", "parameters": {}} and so on', (" and so on", [NOON])),
    "a list of numbers": ("json", "[1, 2]", ("[1, 2]", [])),
    "Mistral, a list": (
        "mistral",
        '[TOOL_CALLS][{"name": "get_time", "arguments": {}}, {"name": "rm", "arguments": {}, "id": "x"}]',
        ("", [NOON, ("rm", "{}")]),
    ),
    "Mistral, its tag not shown": ("mistral", ' [{"name": "get_time", "arguments": {}}]', ("", [NOON])),
    "Mistral, by name, with an id": (
        "mistral",
        "[TOOL_CALLS]get_time[CALL_ID]abcdefghi[ARGS]{}[TOOL_CALLS]rm[CALL_ID]ihgfedcba[ARGS]{}",
        ("", [NOON, ("rm", "{}")]),
    ),
    "a tag with nothing behind it": ("hermes", "Let me see.\n<tool_call>\n", ("Let me see.\n", [])),
    "Qwen, elements": (
        "qwen3_coder",
        (
            "Look:\n<tool_call>\n<function=get_weather>\n<parameter=city>\n007\n</parameter>\n<parameter=days>\n3\n"
            "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=get_time>\n</function>\n</tool_call>"
        ),
        ("Look:\n", [("get_weather", '{"city": "007", "days": 3}'), NOON]),
    ),
    "Qwen, JSON where elements are usual": (
        "qwen3_coder",
        '<tool_call>{"name": "get_time", "arguments": {}}</tool_call>',
        ("", [NOON]),
    ),
    "Qwen, talk of elements": ("qwen3_coder", "Write <function=f> here", ("Write <function=f> here", [])),
    "Qwen, a call cut off, then none": (
        "qwen3_coder",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nSeo",
        ("<tool_call>\n<function=get_weather>\n<parameter=city>\nSeo", []),
    ),
    "Qwen, a broken call before a good one": (
        "qwen3_coder",
        "<tool_call><function=get_time></tool_call>, again <tool_call><function=get_time></function></tool_call>",
        ("<tool_call><function=get_time></tool_call>, again ", [NOON]),
    ),
    "GLM": (
        "glm45",
        "<tool_call>get_weather\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call><tool_call>get_time</tool_call>",
        ("", [("get_weather", '{"days": 3}'), NOON]),
    ),
    "Kimi": (
        "kimi_k2",
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
            f"{SEOUL[1]}<|tool_call_end|><|tool_call_begin|>functions.get_time:1 <|tool_call_argument_begin|>{{}}"
            "<|tool_call_end|><|tool_calls_section_end|>"
        ),
        ("", [SEOUL, NOON]),
    ),
    "DeepSeek": (
        "deepseek_v3",
        (
            "<|tool▁calls▁begin|><|tool▁call▁begin|>function<|tool▁sep|>get_weather\n```json\n" + SEOUL[1] + "\n```"
            "<|tool▁call▁end|>\n<|tool▁call▁begin|>get_time<|tool▁sep|>{}<|tool▁call▁end|><|tool▁calls▁end|>"
        ).replace("|", "\uff5c"),
        ("", [SEOUL, NOON]),
    ),
    "DeepSeek, elements": (
        "deepseek_v32",
        (
            'Yes.\n\n<|DSML|function_calls>\n<|DSML|invoke name="get_weather">\n<|DSML|parameter name="city" string="true">3'
            '</|DSML|parameter>\n<|DSML|parameter name="days" string="false">3</|DSML|parameter>\n</|DSML|invoke>\n'
            '<|DSML|invoke name="get_time">\n</|DSML|invoke>\n</|DSML|function_calls>'
        ).replace("|", "\uff5c"),
        ("Yes.\n\n", [("get_weather", '{"city": "3", "days": 3}'), NOON]),
    ),
    "Gemma": (
        "gemma4",
        '<|tool_call>call:get_weather{city:<|"|>a}<tool_call|>"<|"|>,days:[1,{b c:null}]}<tool_call|>And?',
        ("And?", [("get_weather", r'{"city": "a}<tool_call|>\"", "days": [1, {"b c": null}]}')]),
    ),
    "Llama 4, as Python": (
        "llama4_pythonic",
        "[get_weather(city='a]', days=[1, None]), get_time()]",
        ("", [("get_weather", '{"city": "a]", "days": [1, null]}'), NOON]),
    ),
    "Llama 4, as JSON": ("llama4_pythonic", '{"name": "get_time", "parameters": {}}', ("", [NOON])),
    "Llama 4, a list of words": ("llama4_pythonic", "[get_weather] is a tool", ("[get_weather] is a tool", [])),
    "gpt-oss": (
        "openai",
        (
            "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant to=functions.get_weather<|channel|>commentary"
            f" <|constrain|>json<|message|>{SEOUL[1]}<|call|><|start|>assistant<|channel|>commentary to=functions.get_time"
            "<|message|>{}"
        ),
        ("Let me see.", [SEOUL, NOON]),
    ),
    "gpt-oss, without channels": ("openai", "Just <|so|>.", ("Just <|so|>.", [])),
    "Mistral, content before": (
        "mistral",
        'Sure.[TOOL_CALLS] [{"name": "get_time", "arguments": {}}]',
        ("Sure.", [NOON]),
    ),
    "Mistral, by name": (
        "mistral",
        f"[TOOL_CALLS]get_weather[ARGS]{SEOUL[1]}[TOOL_CALLS]rm[ARGS]{{}}",
        ("", [SEOUL, ("rm", "{}")]),
    ),
    "Mistral, by name, its tags not shown": ("mistral", f"get_weather{SEOUL[1]}get_time{{}}", ("", [SEOUL, NOON])),
    "Mistral, a text that opens with the name of a tool": (
        "mistral",
        "get_weather is a tool",
        ("get_weather is a tool", []),
    ),
    "Granite": ("granite", '<|tool_call|>[{"name": "get_time", "arguments": {}}]', ("", [NOON])),
    "Phi": ("phi4_mini_json", 'functools[{"name": "get_time", "arguments": {}}]', ("", [NOON])),
    "Phi, its tags": (
        "phi4_mini_json",
        '<|tool_call|>[{"name": "get_time", "arguments": {}}]<|/tool_call|>',
        ("", [NOON]),
    ),
    "a module that is no call": ("phi4_mini_json", "Use functools here.", ("Use functools here.", [])),
    "a list whose second item is no call": ("json", '[{"name": "get_time", "arguments": {}}, 3]', (", 3]", [NOON])),
}


@pytest.mark.parametrize(("style", "text", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_content_and_calls(style, text, expected):
    assert whole(text, style) == expected


@pytest.mark.parametrize(("style", "text", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_character_by_character_it_is_the_same(style, text, expected):
    assert read(parser(style), text) == expected


@pytest.mark.parametrize(("style", "text", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_cut_in_two_anywhere_it_is_the_same(style, text, expected):
    for cut in range(len(text)):
        assert read(parser(style), [text[:cut], text[cut:]]) == expected


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 200), max_size=8))
def test_how_the_text_is_cut_changes_nothing(name, cuts):
    style, text, expected = ANSWERS[name]
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert read(parser(style), [text[a:b] for a, b in pairwise(places)]) == expected


FRAGMENTS = (
    "<tool_call>", "</tool_call>", '{"name": "get_time"', ', "arguments": ', "{", "}", "[", "]", ",", ";", '"', "\\", "\n",
    " ", "[TOOL_CALLS]", "[ARGS]", "get_time", "a<", "<tool", '{"name": "get_time", "arguments": {"a": "b"}}', "강",
)  # fmt: skip


@given(st.sampled_from(sorted(STYLES)), st.lists(st.sampled_from(FRAGMENTS), max_size=12))
def test_whatever_a_model_writes_the_cuts_change_nothing(style, fragments):
    text = "".join(fragments)
    once = whole(text, style)
    assert read(parser(style), fragments) == once
    assert read(parser(style), text) == once


@given(st.text(alphabet='<tol_ca>{}[]":,; \nx', max_size=60))
def test_without_a_call_nothing_is_lost(text):
    content, calls = whole(text)
    assert calls == []
    assert content == text


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=5),
            st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
            max_size=4,
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
    st.integers(1, 9),
)
def test_arguments_arrive_as_they_were_generated(values, ascii, size):
    raw = [json.dumps(value, ensure_ascii=ascii) for value in values]
    text = "\n".join(f'<tool_call>\n{{"name": "get_weather", "arguments": {each}}}\n</tool_call>' for each in raw)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert read(parser(), pieces) == ("", [("get_weather", each) for each in raw])


def test_a_call_is_told_before_its_arguments_are_complete():
    reader = CallParser(STYLES["hermes"], TOOLS, lambda: "call-1")
    assert reader.feed('<tool_call>{"name": "get_weather", "argu') == []
    assert reader.feed('ments": {"ci') == [CallDelta(0, "call-1", "get_weather"), CallDelta(0, arguments='{"ci')]
    assert reader.feed('ty": "Se') == [CallDelta(0, arguments='ty": "Se')]
    assert reader.feed('oul"}') == [CallDelta(0, arguments='oul"}')]
    assert reader.feed("}\n</tool_call>") == []
    assert reader.end() == []


def test_content_is_held_back_only_where_a_tag_may_begin():
    reader = parser()
    assert reader.feed("Well ") == ["Well "]
    assert reader.feed("a < b <to") == ["a < b "]
    assert reader.feed("day") == ["<today"]


def test_text_that_is_no_json_flows_at_once_without_a_tag():
    reader = parser("llama3_json")
    assert reader.feed("The") == ["The"]
    assert reader.feed(" sky") == [" sky"]


def test_other_json_flows_as_soon_as_its_first_key_shows_it():
    reader = parser("llama3_json")
    assert reader.feed('{"answer') == []
    assert reader.feed('": ') == ['{"answer": ']
    assert reader.feed("42}") == ["42}"]


def test_a_long_answer_is_read_in_time_that_grows_with_it():
    content, calls = read(parser(), ['<tool_call>{"name": "'] * 20_000)
    assert calls == []
    assert len(content) == 20_000 * len('<tool_call>{"name": "')


def test_deltas_are_written_as_openai_writes_them():
    first, more = CallDelta(1, "call-1", "get_time"), CallDelta(1, arguments='{"a"')
    assert first.to_openai() == {
        "index": 1, "id": "call-1", "type": "function", "function": {"name": "get_time", "arguments": ""},
    }  # fmt: skip
    assert more.to_openai() == {"index": 1, "function": {"arguments": '{"a"'}}


def test_ids_are_unique_and_as_the_models_template_wants_them():
    assert style_of(None, "hermes").new_id().startswith("call_")
    short = {style_of(None, "mistral").new_id() for _ in range(50)}
    assert len(short) == 50
    assert all(len(id) == 9 and id.isalnum() for id in short)


@pytest.mark.parametrize(
    ("template", "style"),
    [
        ("{{ tools }} <tool_call> … </tool_call>", "hermes"),
        ('<|python_tag|> {"name": function name, "parameters": …}', "llama3_json"),
        ("[AVAILABLE_TOOLS] … [TOOL_CALLS]", "mistral"),
        ("<|tool_call|> {{ tools }}", "granite"),
        (
            """{{- '{"name": "' + tool.name + '"' }}{{- ', "parameters": ' }}{{- tool.parameters | tojson }}
            {{- "Write each call as JSON between tags:\\n" }}{{- "<tool_call>\\n" }}{{- '</tool_call>' }}""",
            "hermes",
        ),
        ("""{{- '"parameters": ' }}{{- tool.parameters | tojson }}{{- '<|tool_call|>' }}""", "granite"),
        ("""{{- '{"name": "' + call.name + '", ' }}{{- '"parameters": ' }}""", "llama3_json"),
        ("<tool_call>\n<function=name>\n<parameter=a>", "qwen3_coder"),
        ("<tool_call>{name}<arg_key>a</arg_key>", "glm45"),
        ("{{- '<|start|>assistant<|channel|>final<|message|>' }}", "openai"),
        ("{{- '<|tool_call>call:' }}", "gemma4"),
        ("{{- '<|tool_calls_section_begin|>' }}", "kimi_k2"),
        ("{{- '<|open|>tools<|sep|>' }}{{- '<|close|>tools<|sep|>' }}", "kimi_k3"),
        ("{{- '<\uff5ctool▁calls▁begin\uff5c>' }}", "deepseek_v3"),
        ("{{- '<\uff5cDSML\uff5cfunction_calls>' }}", "deepseek_v32"),
        ("<|header_start|>assistant<|header_end|>", "llama4_pythonic"),
        ("{{ tools }}", "json"),
        (None, "json"),
    ],
)
def test_the_chat_template_tells_the_style(template, style):
    assert style_of(template) is STYLES[style]


def test_the_id_that_a_model_gives_its_call_is_kept():
    for style, text, id in (
        ("mistral", "[TOOL_CALLS]get_time[CALL_ID]abcdefghi[ARGS]{}", "abcdefghi"),
        ("kimi_k2", "<|tool_call_begin|>functions.get_time:3<|tool_call_argument_begin|>{}", "functions.get_time:3"),
    ):
        assert parser(style).feed(text)[0].id == id


def test_an_unknown_style_is_refused_with_the_nearest():
    with pytest.raises(
        InvalidInput, match=r"expected a tool_parser, one of hermes.*got 'herms'; did you mean 'hermes'\?"
    ):
        style_of(None, "herms")


def tool(name="get_weather", **parameters):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER = tool(type="object", properties={"city": {"type": "string"}}, required=["city"])


def test_without_tools_all_is_content():
    assert tool_use(None, None).parser(STYLES["json"]) is None
    assert tool_use([], "auto").mode == "none"


def test_with_the_choice_none_the_model_is_told_of_no_tool():
    use = tool_use([WEATHER], "none")
    assert (use.tools, use.schema, use.parser(STYLES["json"])) == ((), None, None)


def test_with_the_choice_auto_the_model_decides():
    use = tool_use([WEATHER], None)
    assert use.mode == "auto"
    assert use.schema is None
    assert read(use.parser(STYLES["llama3_json"]), ['{"name": "get_weather", "parameters": {}}'])[1]


def test_a_named_tool_makes_the_answer_its_arguments():
    use = tool_use([WEATHER, tool("get_time")], {"type": "function", "function": {"name": "get_weather"}})
    assert use.schema == {
        "type": "object",
        "additionalProperties": False,
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    }
    assert read(use.parser(STYLES["json"]), ['{"city": ', '"서울"}']) == ("", [("get_weather", '{"city": "서울"}')])


def test_a_required_call_makes_the_answer_a_list_of_calls():
    use = tool_use([WEATHER, tool("get_time")], "required")
    answer = [{"name": "get_time", "arguments": {}}, {"name": "get_weather", "arguments": {"city": "서울"}}]
    accepts = Draft202012Validator(use.schema).is_valid
    assert accepts(answer)
    assert not accepts([])
    assert not accepts([{"name": "get_time", "arguments": {"city": "서울"}}])
    assert not accepts([{"name": "rm", "arguments": {}}])
    text = json.dumps(answer, ensure_ascii=False)
    assert read(use.parser(STYLES["hermes"]), text) == ("", [NOON, ("get_weather", '{"city": "서울"}')])


def test_references_within_a_tools_schema_still_lead_to_it():
    tree = {"type": "object", "properties": {"left": {"$ref": "#"}, "leaf": {"$ref": "#/$defs/leaf"}}}
    use = tool_use([tool(**tree, **{"$defs": {"leaf": {"type": "integer"}}})], "required")
    accepts = Draft202012Validator(use.schema).is_valid
    assert accepts([{"name": "get_weather", "arguments": {"left": {"leaf": 3}}}])
    assert not accepts([{"name": "get_weather", "arguments": {"left": {"leaf": "three"}}}])


NULL = {"type": "null"}
ONLY_A = {"type": "object", "properties": {"a": NULL}, "required": ["a"]}
PUT_TOGETHER = {
    "a reference": {"$ref": "#/$defs/k", "$defs": {"k": ONLY_A}},
    "a reference in a circle": {
        "$ref": "#/$defs/k",
        "$defs": {"k": {**ONLY_A, "properties": {"a": NULL, "b": {"$ref": "#/$defs/k"}}}},
    },
    "any of several": {"anyOf": [ONLY_A, {"type": "object", "properties": {"b": NULL}, "required": ["b"]}]},
    "all of several": {"allOf": [{"$ref": "#/$defs/k"}], "$defs": {"k": ONLY_A}},
    "an id of its own": {
        "$id": "http://tools.example/a", "type": "object", "properties": {"a": {"$ref": "#/$defs/k"}},
        "required": ["a"], "$defs": {"k": NULL},
    },
    "references by its id": {
        "$id": "http://tools.example/a", "type": "object", "properties": {"a": {"$ref": "http://tools.example/a#/$defs/k"}},
        "required": ["a"], "$defs": {"k": NULL},
    },
    "words said of it": {**ONLY_A, "title": "A", "examples": [{"a": None}], "x-order": 3, "additionalProperties": False},
}  # fmt: skip


@pytest.mark.parametrize("parameters", PUT_TOGETHER.values(), ids=PUT_TOGETHER)
@pytest.mark.parametrize("choice", ["required", {"function": {"name": "get_weather"}}])
async def test_parameters_that_are_put_together_can_be_demanded(parameters, choice):
    use = tool_use([tool("get_weather", **parameters)], choice)
    await use.judge()
    await JUDGE.judge(use.schema)
    accepts = Draft202012Validator(use.schema).is_valid
    good, bad, none = ({"a": None}, {"a": 3}, None)
    if choice == "required":
        good, bad, none = ([{"name": "get_weather", "arguments": each}] for each in (good, bad, none))
    assert accepts(good)
    assert not accepts(bad)
    assert not accepts(none)


def test_words_that_look_like_references_stay_as_they_are():
    use = tool_use(
        [tool(type="object", properties={"$ref": {"const": {"$ref": "#/x"}}}, required=["$ref"])], "required"
    )
    accepts = Draft202012Validator(use.schema).is_valid
    assert accepts([{"name": "get_weather", "arguments": {"$ref": {"$ref": "#/x"}}}])
    assert not accepts([{"name": "get_weather", "arguments": {"$ref": {"$ref": "#/$defs/get_weather/x"}}}])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)"}}}, "the pattern .* look-around"),
        ({"type": "object", "properties": {"a": NULL}, "requird": ["a"]}, "unknown keyword 'requird' .did you mean"),
        ({"$ref": "#"}, "no text can ever fit it"),
    ],
)
async def test_a_demanded_tool_whose_arguments_cant_be_enforced_is_named(parameters, message):
    tools = [tool("get_time"), tool("get_weather", **parameters)]
    with pytest.raises(
        InvalidInput, match=rf"'get_weather' can't be enforced: .*{message}.*tool_choice: auto"
    ) as raised:
        await tool_use(tools, "required").judge()
    assert raised.value.details["field"] == "tools[1].function.parameters"
    await tool_use(tools, {"function": {"name": "get_time"}}).judge()
    await tool_use(tools, "auto").judge()


def test_only_where_the_model_decides_do_tags_stay_in_its_text():
    style = STYLES["mistral"]
    assert tool_use([WEATHER], "auto").tags(style) == ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")
    assert tool_use([WEATHER], "required").tags(style) == tool_use([WEATHER], "none").tags(style) == ()


@pytest.mark.parametrize(
    ("tools", "choice", "message"),
    [
        (
            [tool(type="array")],
            "required",
            r"tools\[0\]: expected the JSON Schema of an object.*got one of type 'array'",
        ),
        (["get_time"], None, r"tools\[0\]: expected a function; write \{type: function"),
        ([{"type": "retrieval", "function": {"name": "a"}}], None, r"tools\[0\]: expected a function"),
        ([tool("no spaces")], None, r"tools\[0\]: expected a name of up to 64 letters.*got 'no spaces'"),
        ([WEATHER, WEATHER], None, r"tools\[1\]: there is a tool 'get_weather' before it"),
        ([{"function": {"name": "a", "parameters": [1]}}], None, r"tools\[0\]: expected the JSON Schema of an object"),
        ([], "required", r"tool_choice: a call is required, but there are no tools"),
        ([WEATHER], "requierd", r"tool_choice: .*got 'requierd'; did you mean 'required'\?"),
        ([WEATHER], {"name": "get_weather"}, r"tool_choice: .*write none, auto, required, or \{type: function"),
        ([WEATHER], {"function": {"name": "x"}}, r"tool_choice: there is no tool 'x'; the tools are get_weather"),
        (None, {"function": {"name": "x"}}, r"tool_choice: there is no tool 'x'; there are no tools"),
    ],
)
def test_wrong_tools_and_choices_are_told_what_to_write(tools, choice, message):
    with pytest.raises(InvalidInput, match=message) as raised:
        tool_use(tools, choice)
    assert raised.value.details["field"].startswith(("tools", "tool_choice"))
