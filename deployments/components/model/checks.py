"""A model component and an action of it, as written -> what only this type can know to be wrong, and what to write."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, cast

from graphs.component import Unknown, truth
from graphs.errors import InvalidInput
from graphs.suggest import closest

Found = Iterator[tuple[str, str]]
"""The field, and the message about it."""

CHAT, RAW = "chat-completion", "text-generation"
CHAT_ONLY = ("tools", "tool_choice", "response_format", "chat_template_kwargs")
AT_ONCE = ("text-embedding", "text-classification")
"""Tasks whose answer has no parts to stream, and nothing that is generated."""
GENERATING_ONLY = ("params", "stop", "logprobs")
OWN_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "huggingface": ("tool_parser", "reasoning_parser"),
    "vllm": ("tool_parser",),
}
"""Options that the component reads itself, by its driver: vLLM has a `reasoning_parser` of its own."""
COUNTS = ("max_batch_size", "max_cache_tokens", "max_model_len")
"""Options that must be whole numbers above zero."""
SPLITS = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
"""Options by which vLLM takes several GPUs: the product of them."""
INDEX = re.compile(r"\[(\d+)\]")
LED_BY_FIELD = re.compile(r"^(options|response_format|tool_choice|tools)[\w.\[\]]*: ")
"""How a message begins that must name its field itself; beside a line of the document it needn't."""


def check_component(config: Mapping[str, Any], action: Mapping[str, Any]) -> Found:
    """Check what is written, before anything runs; a value that is still a binding is an Unknown."""
    yield from _check_models(config, action)
    yield from _check_driver(config, action)
    yield from check_action(str(config.get("task")), action)
    yield from _check_options(config)


def check_action(task: str, action: Mapping[str, Any]) -> Found:
    """Check the fields of one call against each other: as written, or, once the bindings are known, as they are."""
    yield from _check_task(task, action)
    yield from _check_answer(task, action)
    yield from _check_streaming(task, action)
    yield from _check_logprobs(task, action)
    yield from _check_lengths(_mapping(action.get("params")))
    yield from _check_chat(action)


def task_of_call(task: str, *, text: bool, messages: bool) -> str:
    """Return the task of one call, by what it has: every model that generates answers conversations and continues texts.

    Documents say which a component is for. Programs that name it as a model may ask either.
    """
    if task in AT_ONCE or text == messages:
        return task
    return CHAT if messages else RAW if task == CHAT else task


def check_placement(config: Mapping[str, Any], resources: Mapping[str, Any]) -> Found:
    """Check that a replica asks for the GPUs that it is meant to use."""
    gpus = resources.get("num_gpus") or 0
    if isinstance(gpus, Unknown):
        return
    device, options = config.get("device"), _mapping(config.get("options"))
    if isinstance(device, str) and device.startswith("cuda"):
        _, _, index = device.partition(":")
        need = int(index) + 1 if index.isdigit() else 1
        if not gpus:
            yield "device", f"device {device} needs a GPU, and the replicas ask for none; {_resources(need)}"
        elif need > max(1, gpus):
            why = f"device {device} is a replica's GPU number {need}, and it asks for {gpus:g}"
            yield "device", f"{why}; {_resources(need)}"
    if config.get("driver") != "vllm":
        if gpus > 1 and device in (None, "cuda"):
            why = f"the driver huggingface runs a model on one GPU, and each replica asks for {gpus:g}"
            yield "driver", f"{why}; {_resources(1)} with more `replicas`, or take `driver: vllm`, which can split it"
        return
    need = math.prod(_size(options, name) for name in SPLITS)
    if need > 1 and need != gpus:
        name = next(name for name in SPLITS if _size(options, name) > 1)
        why = f"the model is split over {need} GPUs, and the replicas ask for {gpus:g}"
        yield f"options.{name}", f"{why}; {_resources(need)}"


def find_model(known: Sequence[Any], wanted: str) -> str | None:
    """Return the model that a name means: a folder is also known by the end of its path."""
    if wanted in known:
        return wanted
    end = tuple(part for part in PurePath(wanted).parts if part not in (".", ".."))
    ending = [
        each for each in known if end and PurePath(each).is_absolute() and PurePath(each).parts[-len(end) :] == end
    ]
    return ending[0] if len(ending) == 1 else None


def _check_models(config: Mapping[str, Any], action: Mapping[str, Any]) -> Found:
    model, models, chosen = config.get("model"), config.get("models"), action.get("model")
    if model is not None and models is not None:
        yield "models", "'model' and 'models' exclude each other; keep one of them"
    elif model is None and models is None:
        yield "model", "a model component needs a model; write `model:` with a hub id or a folder"
    elif models is not None and chosen is None:
        yield "models", "an action must say which of the models it calls; write `model:` on the action"
    elif isinstance(chosen, str) and find_model(known := models or [model], chosen) is None:
        near = closest(chosen, known)
        hint = f"did you mean '{near}'?" if near else f"write one of {', '.join(map(str, known))}"
        yield "model", f"the component has no model '{chosen}'; {hint}"
    if models is None and config.get("max_models") is not None:
        yield "max_models", "'max_models' says how many of `models` are loaded at a time; leave it out with one `model`"


def _check_driver(config: Mapping[str, Any], action: Mapping[str, Any]) -> Found:
    if config.get("driver") != "vllm":
        return
    if config.get("models") is not None:
        why = "the driver vllm takes all memory for one model"
        yield "models", f"{why}; write a component for each, or `driver: huggingface`"
    if _above_one(_mapping(action.get("params")).get("num_beams")):
        why = "the driver vllm has no beam search"
        yield "params.num_beams", f"{why}; leave num_beams out, or write `driver: huggingface`"


def _check_task(task: str, action: Mapping[str, Any]) -> Found:
    wanted, other = ("messages", "text") if task == CHAT else ("text", "messages")
    example = "- {role: user, content: …}" if wanted == "messages" else "${input.text as text}"
    if action.get(wanted) is None:
        yield other, f"the task {task} needs '{wanted}'; write `{wanted}: {example}`"
    elif action.get(other) is not None:
        yield other, f"the task {task} reads '{wanted}', not '{other}'; leave '{other}' out"
    if task in AT_ONCE:
        for name in GENERATING_ONLY:
            if _says(action.get(name)):
                yield name, f"the task {task} generates nothing, and '{name}' says how to; leave '{name}' out"
    if wanted == "text":
        for name in CHAT_ONLY:
            if action.get(name) is not None:
                yield name, f"'{name}' is for the task chat-completion; leave it out, or change the task"


def _check_answer(task: str, action: Mapping[str, Any]) -> Found:
    answer = action.get("answer")
    if answer == "message" and task != CHAT:
        why = f"the task {task} answers in text"
        yield "answer", f"{why}; leave 'answer' out, or change the task to chat-completion"
    if answer == "count" and task in AT_ONCE:
        why = f"the task {task} has no prompt to count, and its usage says how many tokens it read"
        yield "answer", f"{why}; leave 'answer' out"


def _check_streaming(task: str, action: Mapping[str, Any]) -> Found:
    streaming = action.get("streaming")
    if isinstance(streaming, Unknown) or not truth(streaming):
        return
    if task in AT_ONCE:
        yield "streaming", f"the task {task} answers all at once and can't stream; leave 'streaming' out"
    elif action.get("answer") == "count":
        yield "streaming", "a number of tokens comes at once and can't stream; leave 'streaming' out"
    if _above_one(action.get("batch_size")):
        yield "batch_size", "a stream carries one answer, so batch_size must be 1; write `batch_size: 1`"
    if _above_one(_mapping(action.get("params")).get("num_beams")):
        yield "params.num_beams", "beam search knows its text only at the end and can't stream; write `num_beams: 1`"
    if isinstance(action.get("text"), list):
        yield "text", "a stream carries one answer, so text can't be a list; write one text, or `streaming: false`"


def _check_logprobs(task: str, action: Mapping[str, Any]) -> Found:
    if action.get("logprobs") is None or task in AT_ONCE:
        return
    if _above_one(_mapping(action.get("params")).get("num_beams")):
        yield "logprobs", "beam search draws no single tokens; leave 'logprobs' out, or write `num_beams: 1`"
    if isinstance(action.get("text"), list):
        yield "logprobs", "logprobs are of one answer, so text can't be a list; write one text, or leave 'logprobs' out"


def _check_lengths(params: Mapping[str, Any]) -> Found:
    least, most = params.get("min_output_length"), params.get("max_output_length")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield "params.min_output_length", f"min_output_length {least} is above max_output_length {most}; lower it"


def _check_chat(action: Mapping[str, Any]) -> Found:
    """Have tools, tool_choice and response_format judged by those who read them, where they are known."""
    tools, choice, format = (action.get(name) for name in ("tools", "tool_choice", "response_format"))
    if (tools is not None or choice is not None) and not Unknown.within([tools, choice]):
        from deployments.engines.tool_calls.choice import tool_use

        yield from _refusal("tools", lambda: tool_use(tools, choice))
    if format is not None and not Unknown.within(format):
        from deployments.engines.grammar.guides import schema_of

        yield from _refusal("response_format", lambda: schema_of(format))
        if _mapping(format).get("type") == "text":
            return
        # A grammar that holds the answer to a schema leaves no way to write a call.
        if isinstance(choice, Mapping) or choice == "required":
            yield "response_format", "tool_choice demands a call, and response_format an answer; keep one of them"
        elif choice in (None, "auto") and isinstance(tools, list) and tools:
            why = (
                "response_format lets the model write nothing but that answer, so that it could call none of the tools"
            )
            yield "response_format", f"{why}; leave one of them out, or write `tool_choice: none`"


def _check_options(config: Mapping[str, Any]) -> Found:
    options = _mapping(config.get("options"))
    own = OWN_OPTIONS.get(config.get("driver", "huggingface"), ())
    named = {name: parser for name in own if isinstance(parser := options.get(name), str)}
    if named:
        from deployments.engines.tool_calls.reading import reading_of

        for name, parser in named.items():
            yield from _refusal(f"options.{name}", lambda only={name: parser}: reading_of(None, only))
    if options and config.get("driver", "huggingface") == "huggingface":
        from deployments.engines.huggingface import loading

        known = (*own, *loading.OPTIONS, *loading.OF_THE_ENGINE)
        for name, value in options.items():
            shown = str(value).lower() if isinstance(value, bool) else repr(value)
            if name in COUNTS and not (type(value) is int and value > 0) and not Unknown.within(value):
                yield f"options.{name}", f"expected a whole number above zero, got {shown}"
            said = {name: None if Unknown.within(value) else value}
            yield from _refusal(f"options.{name}", lambda said=said: loading.check_options(said, known))


def _refusal(field: str, judge: Callable[[], object]) -> Found:
    """Give what a judge raises, at the field that it names: `tools[0]` is `tools.0` here."""
    try:
        judge()
    except InvalidInput as refusal:
        named = str(refusal.details.get("field", field))
        at = INDEX.sub(r".\1", named) if named != "options" else field
        yield at, LED_BY_FIELD.sub("", refusal.message)


def _says(value: Any) -> bool:
    """Tell whether anything is said: null is as if it weren't there."""
    return any(each is not None for each in value.values()) if isinstance(value, Mapping) else value is not None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _above_one(value: Any) -> bool:
    return isinstance(value, int) and value > 1


def _size(options: Mapping[str, Any], name: str) -> int:
    size = options.get(name, 1)
    return size if type(size) is int else 1


def _resources(gpus: int) -> str:
    return f"write `resources: {{num_gpus: {gpus}}}`"
