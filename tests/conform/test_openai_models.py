"""What users of the `openai` package rely on in models, completions and embeddings, and what a model of the document does with their parameters."""

from __future__ import annotations

from typing import Any

import openai
import pytest

pytestmark = pytest.mark.quick


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


# models


def test_the_models_are_the_workflows_the_components_and_their_other_names(client: openai.OpenAI):
    names = [model.id for model in client.models.list()]
    assert {"scripted", "words", "whole", "tiny", "gpt-4o", "meta-llama/Llama-2-7b-chat-hf"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["scripted", "tiny", "gpt-4o", "anabranch/tiny-chat"])
def test_a_model_is_retrieved_by_its_name(client: openai.OpenAI, name: str):
    model = client.models.retrieve(name)
    assert (model.id, model.object) == (name, "model")
    assert isinstance(model.created, int)
    assert model.owned_by


def test_a_model_that_is_not_there_is_not_found(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as found:
        client.models.retrieve("gpt-17")
    assert found.value.code == "model_not_found"
    assert "gpt-17" in found.value.message


# the small model


def test_a_model_of_the_document_answers_by_all_its_names(client: openai.OpenAI):
    names = ["tiny", "anabranch/tiny-chat"]
    first, second = (client.chat.completions.create(model=name, messages=said("What is anabranch?")) for name in names)
    assert first.choices[0].message.content
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.usage is not None
    assert first.usage.total_tokens == first.usage.prompt_tokens + first.usage.completion_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_the_length_that_is_asked_for(client: openai.OpenAI, name: str):
    asked: dict[str, Any] = {name: 3}
    answer = client.chat.completions.create(model="tiny", messages=said("What is anabranch?"), **asked)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 3


def test_an_answer_ends_before_a_stop_sequence(client: openai.OpenAI):
    whole = client.chat.completions.create(model="tiny", messages=said("What is anabranch?")).choices[0].message.content
    assert whole is not None
    word = whole.split()[3]
    answer = client.chat.completions.create(model="tiny", messages=said("What is anabranch?"), stop=[word])
    assert answer.choices[0].message.content == whole[: whole.index(word)]
    assert answer.choices[0].finish_reason == "stop"


def test_several_choices_are_answers_of_their_own(client: openai.OpenAI):
    asked: Any = {
        "model": "tiny",
        "messages": said("Tell me a story about a fox."),
        "n": 3,
        "temperature": 1.5,
        "max_tokens": 12,
    }
    answer = client.chat.completions.create(**asked)
    assert sorted(choice.index for choice in answer.choices) == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 36
    folded = {0: "", 1: "", 2: ""}
    reasons: list[int] = []
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            folded[choice.index] += choice.delta.content or ""
            reasons += [choice.index] if choice.finish_reason else []
    assert all(folded.values())
    assert sorted(reasons) == [0, 1, 2]


def test_a_seed_gives_the_same_answer_again(client: openai.OpenAI):
    asked: Any = {
        "model": "tiny",
        "messages": said("Tell me a story about a fox."),
        "temperature": 1.5,
        "max_tokens": 16,
    }
    texts = [client.chat.completions.create(**asked, seed=seed).choices[0].message.content for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


# completions


@pytest.mark.parametrize("model", ["base", "words"])
def test_a_completion_comes_whole_and_streamed(client: openai.OpenAI, model: str):
    asked: Any = {"model": model, "prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}
    whole = client.completions.create(**asked)
    assert whole.object == "text_completion"
    assert whole.choices[0].text
    assert whole.choices[0].finish_reason in ("stop", "length")
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_several_prompts_are_several_choices(client: openai.OpenAI):
    answer = client.completions.create(model="base", prompt=["Once upon", "What is"], max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1]


def test_a_completion_can_begin_with_its_prompt(client: openai.OpenAI):
    answer = client.completions.create(model="base", prompt="Once upon a time", max_tokens=4, echo=True)
    assert answer.choices[0].text.startswith("Once upon a time")


# embeddings


def test_vectors_come_as_numbers_and_as_base64(client: openai.OpenAI):
    texts = ["a fox", "a kite"]
    packed = client.embeddings.create(model="vectors", input=texts)  # the package asks for base64 by itself
    plain = client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    assert [each.index for each in packed.data] == [0, 1]
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
        assert sum(number * number for number in one.embedding) == pytest.approx(1, abs=1e-3)
    assert packed.data[0].embedding != packed.data[1].embedding
    assert packed.model == "vectors"


def test_one_text_is_one_vector(client: openai.OpenAI):
    [vector] = client.embeddings.create(model="vectors", input="a fox").data
    assert len(vector.embedding) == 192


def test_a_model_that_chats_embeds_nothing(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as found:
        client.embeddings.create(model="tiny", input="a fox")
    assert found.value.param == "model"
