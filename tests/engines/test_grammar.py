"""What a JSON Schema allows is all that is generated."""

import asyncio
import json
import warnings
from typing import Any

import pytest
import torch
from jsonschema import Draft202012Validator
from transformers import AutoTokenizer, MarianTokenizer, PreTrainedTokenizerFast

from deployments.engines.engine import Ask, Sampling
from deployments.engines.grammar import guides
from deployments.engines.grammar.dialect import DEEPEST, Unenforceable, enforceable
from deployments.engines.grammar.guides import CACHED, JUDGE, MAX_SCHEMA, Grammars, schema_of
from deployments.engines.grammar.vocabulary import read_vocabulary
from deployments.engines.huggingface.engine import HuggingFace
from deployments.engines.huggingface.loading import load
from deployments.engines.tool_calls.choice import tool_use
from graphs.errors import InvalidInput, Unavailable
from tests.engines import tiny

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "size": {"type": "number", "minimum": 0, "exclusiveMaximum": 3},
        "home": {
            "type": "object",
            "properties": {
                "city": {"enum": ["서울", "부산", "Paris"]},
                "zip": {"type": "string", "pattern": "^[0-9]{5}$"},
            },
            "required": ["city", "zip"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "home"],
    "additionalProperties": False,
}
SCHEMAS = {
    "an object in an object": PERSON,
    "words of a list": {"enum": ["yes", "no", "예", "아니요", "👍🏽"]},
    "a Korean word": {"type": "string", "pattern": "^[가-힣]{2,6}$"},
    "any short text": {"type": "string", "maxLength": 8},
    "a list of numbers": {
        "type": "array",
        "items": {"type": "integer", "minimum": -9, "maximum": 99},
        "minItems": 1,
        "maxItems": 5,
    },
    "one of two": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
    "a tree": {
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 1}},
        "$ref": "#/$defs/node",
    },
    "a required call": tool_use(
        [
            {"function": {"name": "get_time"}},
            {"function": {"name": "get_weather", "parameters": {"properties": {"days": {"enum": [1, 2]}}}}},
        ],
        "required",
    ).schema
    | {"maxItems": 2},
}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(tiny.model("llama"))


@pytest.fixture(scope="module")
def grammars(tokenizer):
    return Grammars(tokenizer, [tokenizer.eos_token_id])


def random_logits(width, seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda tokens: torch.randn(width, generator=generator)


def write(guide, logits_after, most=300, seed=0):
    """Sample until the guide says that the JSON is complete; return the tokens, and whether it did."""
    generator = torch.Generator().manual_seed(seed)
    tokens = []
    while len(tokens) < most:
        logits = logits_after(tokens)
        guide.mask(logits)
        token = int(torch.multinomial(torch.softmax(logits, 0), 1, generator=generator))
        tokens.append(token)
        if guide.accept(token):
            return tokens, True
    return tokens, False


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
async def test_whatever_the_logits_every_complete_answer_is_valid(schema, tokenizer, grammars):
    valid = Draft202012Validator(schema).is_valid
    complete = 0
    for seed in range(20):
        guide = await grammars.compile(schema)
        tokens, ended = write(guide, random_logits(len(tokenizer), seed), seed=seed)
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        if ended:
            complete += 1
            assert valid(json.loads(text)), text
    assert complete >= 10


@pytest.fixture(scope="module")
def loaded():
    return load(str(tiny.model("llama-chat")), "chat-completion", "cpu", "float32", {})


async def answer(engine, text, schema, most=150, seed=0):
    sampling = Sampling(max_output_length=most, temperature=1.0, do_sample=True, seed=seed)
    ask = Ask(messages=[{"role": "user", "content": text}], json_schema=schema, sampling=sampling)
    *pieces, ended = [piece async for piece in engine.generate(ask)]
    return "".join(pieces), ended


async def test_a_model_answers_many_at_once_each_by_its_own_schema(loaded):
    engine = HuggingFace(loaded)
    try:
        asks = [(schema, seed) for schema in SCHEMAS.values() for seed in range(3)]
        free = answer(engine, "Hi", None)
        answers = await asyncio.gather(free, *(answer(engine, "Hi", schema, seed=seed) for schema, seed in asks))
    finally:
        await engine.aclose()
    complete = [
        (schema, text) for (schema, _), (text, ended) in zip(asks, answers[1:], strict=True) if ended.finish == "stop"
    ]
    for schema, text in complete:
        Draft202012Validator(schema).validate(json.loads(text))
    assert len(complete) > len(asks) / 2


async def test_an_answer_that_is_cut_before_its_end_says_so(loaded):
    engine = HuggingFace(loaded)
    try:
        text, ended = await answer(engine, "Hi", {"type": "string", "minLength": 200}, most=10)
        with pytest.raises(InvalidInput, match="can't be enforced"):
            await answer(engine, "Hi", {"type": "objekt"})
        assert (await answer(engine, "Hi", {"const": "강"}))[0] == '"강"'
    finally:
        await engine.aclose()
    assert text.startswith('"')
    assert (ended.finish, ended.usage.completion_tokens) == ("length", 10)


async def test_an_object_ends_with_its_last_brace(tokenizer, grammars):
    guide = await grammars.compile({})
    ends = [guide.accept(token) for token in tokenizer('{"강": [1, {}]}').input_ids]
    assert ends == [False] * (len(ends) - 1) + [True]


async def test_a_number_may_go_on_and_ends_with_the_end_token(tokenizer, grammars):
    guide = await grammars.compile({"type": "integer"})
    assert [guide.accept(token) for token in tokenizer("12").input_ids] == [False] * len(tokenizer("12").input_ids)
    logits = torch.zeros(len(tokenizer))
    guide.mask(logits)
    assert logits[tokenizer.eos_token_id] == 0
    assert guide.accept(tokenizer.eos_token_id)


async def test_any_of_the_end_tokens_may_end_it(tokenizer):
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|endoftext|>")]
    grammars = Grammars(tokenizer, ends)
    for end in ends:
        guide = await grammars.compile({"type": "integer"})
        guide.accept(tokenizer("1").input_ids[0])
        logits = torch.zeros(len(tokenizer))
        guide.mask(logits)
        assert logits[end] == 0
        assert guide.accept(end)


async def test_before_it_is_complete_no_end_token_and_no_blank_may_come(tokenizer, grammars):
    guide = await grammars.compile({})
    logits = torch.zeros(len(tokenizer))
    guide.mask(logits)
    allowed = {tokenizer.decode(token) for token in logits.isfinite().nonzero().flatten().tolist()}
    assert all(text.startswith("{") for text in allowed)


async def test_blanks_between_tokens_come_to_an_end(tokenizer, grammars):
    guide = await grammars.compile({"type": "object", "properties": {"a": {}}, "required": ["a"]})
    blank = tokenizer("\n").input_ids[0], tokenizer(" ").input_ids[0]
    guide.accept(tokenizer("{").input_ids[0])
    guide.accept(blank[0])
    for _ in range(64):
        guide.accept(blank[1])
    logits = torch.zeros(len(tokenizer))
    guide.mask(logits)
    assert logits[blank[0]] == logits[blank[1]] == -torch.inf
    assert logits.isfinite().any()


async def test_what_lies_beyond_the_vocabulary_is_masked_and_a_narrower_model_is_no_trouble(tokenizer, grammars):
    guide = await grammars.compile({})
    wide, narrow = torch.zeros(len(tokenizer) + 70), torch.zeros(len(tokenizer) - 5)
    guide.mask(wide)
    guide.mask(narrow)
    assert not wide[len(tokenizer) :].isfinite().any()
    assert torch.equal(wide[: len(narrow)], narrow)


async def test_rows_with_the_same_schema_know_nothing_of_each_other(tokenizer, grammars):
    one, other = await asyncio.gather(*(grammars.compile({"enum": ["a", "b"]}) for _ in range(2)))
    for token in tokenizer('"a"').input_ids:
        one.accept(token)
    assert [other.accept(token) for token in tokenizer('"b"').input_ids][-1]


async def test_of_many_schemas_only_the_latest_stay_compiled(grammars):
    for number in range(CACHED + 5):
        await grammars.compile({"const": number})
    assert len(grammars._compiled) == CACHED


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "objekt"),
        ({"not": {"type": "string"}}, "not"),
        ({"$ref": "https://example.com/schema.json"}, "example.com"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"type": "string", "pattern": "(?=a)b"}, r"the pattern \(\?=a\)b: look-around"),
        ({"type": "string", "pattern": "["}, r"the pattern \[: unclosed character class"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf constraints are not supported"),
        ({"type": "string", "format": "colour"}, "colour"),
        ({"multipleOf": True}, "multipleOf"),
        ({"const": float("nan")}, "no JSON"),
        ({"const": "x" * MAX_SCHEMA}, "is the most"),
        ({"const": "\ud800"}, "half of a surrogate pair"),
        ({"$ref": "#"}, "no way to write|no text can ever fit it"),
    ],
)
async def test_a_schema_that_cant_be_enforced_is_refused_and_the_others_go_on(schema, message, grammars):
    for refusing in (grammars.compile, JUDGE.compile):
        with pytest.raises(
            InvalidInput, match=rf"(?i)can't be enforced: [^\n]*({message})[^\n]*; simplify it"
        ) as raised:
            await refusing(schema)
        assert raised.value.details["field"] == "response_format"
    await grammars.compile({"type": "null"})
    await JUDGE.compile({"type": "null"})


IN_A_PROPERTY = r"at properties\.a\.items\[0\]"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"foo": 1}, "unknown keyword 'foo'$"),
        ({"%lark": "start: 'a'"}, "unknown keyword '%lark'"),
        ({"requird": ["a"]}, r"unknown keyword 'requird' \(did you mean 'required'\?\)"),
        (
            {"properties": {"a": {"items": [{"minimun": 3}]}}},
            rf"'minimun' {IN_A_PROPERTY} \(did you mean 'minimum'\?\)",
        ),
        ({"$defs": {"a": {"uniqueItems": True}}}, r"no grammar knows 'uniqueItems' at \$defs\.a"),
        ({"not": None}, "no grammar knows 'not'"),
        ({"type": "integer", "maximum": 2**63}, r"the maximum 9223372036854775808 is beyond 2\^53"),
        ({"type": "integer", "minimum": -(2**63), "maximum": -(2**63)}, r"the minimum -\d+ is beyond 2\^53"),
        ({"anyOf": [{"exclusiveMinimum": 1e300}]}, r"the exclusiveMinimum 1e\+300 at anyOf\[0\] is beyond"),
        ({"multipleOf": 2**31}, "its multipleOf go beyond"),
        ({"multipleOf": 1e16}, "its multipleOf go beyond"),
        ({"multipleOf": 1e-7 + 1}, "its multipleOf go beyond"),
        ({"allOf": [{"multipleOf": 99_991}, {"multipleOf": 99_989}]}, "its multipleOf go beyond"),
    ],
)
def test_what_a_grammar_would_pass_over_is_refused_and_its_place_told(schema, message):
    with pytest.raises(Unenforceable, match=message):
        enforceable(schema)
    with pytest.raises(InvalidInput, match=r"can't be enforced: .*; simplify it"):
        schema_of({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({"type": "array", "uniqueItems": False, "unevaluatedItems": True}, {"type": "array"}),
        ({"title": "A", "description": "b", "default": 1, "x-y": {}, "deprecated": True, "xml": {}, "enum": [1]}, {"enum": [1]}),
        ({"properties": {"title": {"title": "T", "type": "null"}, "foo": True}}, {"properties": {"title": {"type": "null"}, "foo": True}}),
        ({"const": {"foo": 1}, "enum": [{"requird": 2}]}, {"const": {"foo": 1}, "enum": [{"requird": 2}]}),
        ({"type": "integer", "nullable": True}, {"type": ["integer", "null"]}),
        ({"type": "integer", "nullable": False}, {"type": "integer"}),
        ({"multipleOf": 1_000_000.0}, {"multipleOf": 1_000_000.0}),
        ({"multipleOf": 0.01, "minimum": -(2**53), "maximum": 2**53}, {"multipleOf": 0.01, "minimum": -(2**53), "maximum": 2**53}),
    ],
)  # fmt: skip
def test_what_asks_nothing_is_left_out(schema, plain):
    assert enforceable(schema) == plain


def test_bounds_of_integers_hold_as_far_as_they_are_allowed(tokenizer):
    for bound in (2**53, -(2**53)):
        schema = enforceable({"type": "integer", "minimum": bound, "maximum": bound})
        guide = Grammars(tokenizer, [tokenizer.eos_token_id])._guide(schema)
        tokens, ended = write(guide, random_logits(len(tokenizer), 0))
        assert ended
        assert int(tokenizer.decode(tokens, skip_special_tokens=True)) == bound


async def test_a_deeply_nested_schema_is_refused():
    schema = {"type": "integer"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(InvalidInput, match="can't be enforced"):
        await Grammars(None, [0]).compile(schema)
    with pytest.raises(Unenforceable, match="nested more than 60 levels deep"):
        enforceable(schema)


async def test_as_deeply_as_a_schema_may_be_nested_it_is_enforced(grammars):
    schema = {"type": "null"}
    for _ in range(DEEPEST):
        schema = {"type": "object", "properties": {"a": schema}}
    await grammars.compile(enforceable(schema))
    with pytest.raises(InvalidInput, match="recursion limit"):
        await grammars.compile({"properties": {"a": {"properties": {"a": schema}}}})


def spelled(tokenizer, text):
    vocabulary = read_vocabulary(tokenizer, [tokenizer.eos_token_id])
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return b"".join(vocabulary.tokens[id] for id in ids).decode()


TEXT = '{"name": "강물 🌊", "tags": ["é", 1.5]}\n\t'


def test_a_byte_level_vocabulary_spells_every_text(tokenizer):
    assert spelled(tokenizer, TEXT) == TEXT


def metaspace(byte_fallback=False):
    """Return a tokenizer as T5's (unigrams), or as Llama 2's (with bytes for the characters it lacks)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted({*"".join(tiny.corpus()), *TEXT, *json.dumps(PERSON, ensure_ascii=False)} - {" ", "\t", "🌊"})
    pieces = ["<unk>", "</s>", "\u2581", *letters, *(f"<0x{byte:02X}>" for byte in range(256) if byte_fallback)]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0, byte_fallback=byte_fallback))
    if byte_fallback:
        steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        tokenizer.decoder = decoders.Sequence(steps)
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def test_a_sentencepiece_vocabulary_with_bytes_spells_every_text():
    assert spelled(metaspace(byte_fallback=True), TEXT) == TEXT


@pytest.mark.parametrize("byte_fallback", [True, False])
async def test_a_sentencepiece_vocabulary_writes_valid_answers(byte_fallback):
    tokenizer = metaspace(byte_fallback)
    grammars = Grammars(tokenizer, [tokenizer.eos_token_id])
    for seed in range(5):
        tokens, ended = write(await grammars.compile(PERSON), random_logits(len(tokenizer), seed), seed=seed)
        if ended:
            Draft202012Validator(PERSON).validate(json.loads(tokenizer.decode(tokens, skip_special_tokens=True)))


async def test_a_slow_tokenizer_writes_valid_answers():
    with warnings.catch_warnings(action="ignore"):  # it would rather have another library beside it
        tokenizer = MarianTokenizer.from_pretrained(tiny.model("marian"))
    schema = {"type": "array", "items": {"enum": [36, True]}, "maxItems": 3}
    grammars = Grammars(tokenizer, [tokenizer.eos_token_id])
    for seed in range(5):
        tokens, ended = write(await grammars.compile(schema), random_logits(len(tokenizer), seed), seed=seed)
        assert ended
        Draft202012Validator(schema).validate(json.loads(tokenizer.decode(tokens, skip_special_tokens=True)))


async def test_a_vocabulary_without_braces_is_told():
    from tokenizers import Tokenizer, decoders, models

    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("\u2581a", -1.0)], unk_id=0))
    tokenizer.decoder = decoders.Metaspace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")
    with pytest.raises(InvalidInput, match="the model's vocabulary has no way to write such an answer"):
        await Grammars(fast, [fast.eos_token_id]).compile({})


async def test_a_tokenizer_whose_text_isnt_its_tokens_joined_is_refused():
    tokenizer = AutoTokenizer.from_pretrained(tiny.model("bert"))
    with pytest.raises(
        InvalidInput, match=r"decoder: WordPiece\) that can't be held to a schema; leave response_format"
    ):
        await Grammars(tokenizer, [0]).compile({})


@pytest.mark.parametrize(
    ("response_format", "schema"),
    [
        (None, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, {}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "array"}}},
            {"type": "array"},
        ),
    ],
)
def test_a_response_format_says_which_schema_is_meant(response_format, schema):
    assert schema_of(response_format) == schema


@pytest.mark.parametrize(
    ("response_format", "message"),
    [
        ({}, r"response_format\.type: expected a type, one of text, json_object, json_schema, got None"),
        ({"type": "jsonschema"}, r"got 'jsonschema'; did you mean 'json_schema'\?"),
        (
            {"type": "json_schema"},
            r"response_format\.json_schema: expected the schema and its name, got None; write \{type:",
        ),
        (
            {"type": "json_schema", "json_schema": {"type": "object"}},
            r"stands one level too high; write \{type: json_schema",
        ),
        ({"type": "json_schema", "json_schema": {"shema": {}}}, r"unknown key 'shema'; did you mean 'schema'\?"),
        (
            {"type": "json_schema", "json_schema": {"name": "n"}},
            r"json_schema\.schema: expected a JSON Schema, a mapping, got None",
        ),
    ],
)
def test_a_wrong_response_format_is_told_what_to_write(response_format, message):
    with pytest.raises(InvalidInput, match=message):
        schema_of(response_format)


@pytest.mark.parametrize(
    ("name", "changed", "keyword"),
    [
        ("OVERRIDES", {"whitespace_patterns": guides.BLANK}, "whitespace_pattern"),
        ("KEYWORD", {"x-guided": guides.KEYWORD["x-guidance"]}, "x-guidance"),
    ],
)
def test_a_library_that_does_not_limit_blanks_is_named_with_its_version(
    name: str, changed: dict[str, Any], keyword: str, monkeypatch: pytest.MonkeyPatch
):
    require = guides.require_pattern if name == "OVERRIDES" else guides.require_keyword
    require()
    require.cache_clear()
    monkeypatch.setattr(guides, name, changed)
    with pytest.raises(Unavailable, match=rf"llguidance \d.* does not limit blanks by '{keyword}'"):
        require()
