"""Ask a model the questions that were held out of its corpus, and count how often it says what it should.

python -m tools.tiny_model.evaluate [FOLDER]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.tiny_model.sections import TEXTS, read_sections
from tools.tiny_model.topics import read_topics

EMBEDDED = Path(__file__).resolve().parents[2] / "configs/models/anabranch-tiny"


@dataclass(frozen=True, slots=True)
class Question:
    section: str
    turns: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    """Of each of these, one must be in the last answer."""

    def answered_by(self, answer: str) -> bool:
        return all(any(word.lower() in answer.lower() for word in choice) for choice in self.words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=EMBEDDED)
    parser.add_argument("--all", action="store_true", help="print the right answers too")
    arguments = parser.parse_args()
    chat = Chat(arguments.model)
    right, asked = Counter[str](), Counter[str]()
    for question in held_out():
        answer = chat.answers(question.turns)[-1]
        good = question.answered_by(answer)
        asked[question.section] += 1
        right[question.section] += good
        if arguments.all or not good:
            sys.stdout.write(f"{'right' if good else 'WRONG'}  {' / '.join(question.turns)}\n       {answer}\n")
    for section, count in asked.items():
        sys.stdout.write(f"{right[section]:4} of {count:3}  {section}\n")
    sys.stdout.write(f"{right.total():4} of {asked.total():3}  {right.total() / asked.total():.0%}\n")


def held_out() -> tuple[Question, ...]:
    return tuple(
        _question(section.name, line)
        for section in read_sections(TEXTS / "questions.txt").values()
        for line in section.lines
    )


def _question(section: str, line: str) -> Question:
    asked, _, wanted = line.rpartition(" = ")
    return Question(section, tuple(asked.split(" / ")), tuple(tuple(part.split("|")) for part in wanted.split(";")))


def leaked() -> Iterator[str]:
    """Yield the questions that the corpus asks in the same words."""
    known = {_plain(text) for topic in read_topics() for text in (*topic.questions, *topic.yes, *topic.wants)}
    yield from (
        question.turns[-1] for question in held_out() if len(question.turns) == 1 and _plain(question.turns[0]) in known
    )


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()


class Chat:
    """A conversation with a model, its likeliest words taken."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def answers(self, turns: tuple[str, ...], **sampling: Any) -> list[str]:
        """Return what is answered to each turn in its order."""
        messages: list[dict[str, str]] = []
        for turn in turns:
            messages.append({"role": "user", "content": turn})
            messages.append({"role": "assistant", "content": self._answer(messages, sampling or {"do_sample": False})})
        return [message["content"] for message in messages[1::2]]

    def _answer(self, messages: list[dict[str, str]], sampling: dict[str, Any]) -> str:
        ids = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )["input_ids"]
        if not sampling.get("do_sample", True):
            sampling = {**sampling, "temperature": None, "top_p": None}
        output = self._model.generate(input_ids=ids, attention_mask=ids.new_ones(ids.shape), **sampling)
        return self._tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


if __name__ == "__main__":
    main()
