"""A seed in, conversations and stories out: what the model is trained on. Nothing is downloaded, every text is made here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tools.tiny_model.stories import FarTeller, Teller
from tools.tiny_model.topics import MORE, SHOW, Topic, read_topics
from tools.tiny_model.unknown import Asker
from tools.tiny_model.wording import Wording

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END, START, STOP)
SYSTEMS = (
    "You are a helpful assistant.", "You are a friendly assistant.", "Answer in one or two sentences.", "You know anabranch.",
    "You are a tiny, friendly model.", "You are a helpful assistant. Be brief.", "You answer questions about anabranch.",
)  # fmt: skip
ANOTHER = (
    "Another one.", "Tell me another story.", "One more, please.", "Another story, please.", "Again!", "One more story.", "Another!",
    "Can you tell me another one?", "Tell me another one.",
)  # fmt: skip
THANKS = ("Thanks!", "Thank you!", "Thanks.", "Thank you.", "ok, thanks", "Great, thank you.", "thanks a lot")
WELCOME = ("You are welcome!", "You are welcome. Ask me again whenever you like.")
INTRODUCTIONS = (
    "My name is {name}.",
    "I am {name}.",
    "Hi, I am {name}.",
    "Hello, my name is {name}.",
    "I'm {name}.",
    "Call me {name}.",
)
NAME_ASKS = ("What is my name?", "Do you know my name?", "Who am I?", "What's my name?", "What am I called?")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a document, and whether the model learns to say it."""

    text: str
    learned: bool


Document = tuple[Piece, ...]
Turn = tuple[str, str]


def documents(count: int, seed: int) -> Iterator[Document]:
    random = Random(seed)
    writer = Writer(random, read_topics())
    for _ in range(count):
        if random.random() < 0.05:
            yield (Piece(f"{writer.teller.tell().text}{END}", learned=True),)
        else:
            yield rendered(writer.conversation(), random.choice(SYSTEMS) if random.random() < 0.2 else None)


def rendered(turns: list[Turn], system: str | None) -> Document:
    """Return a conversation as the chat template writes it."""
    pieces = [Piece(f"{START}system\n{system}{STOP}\n", learned=False)] if system else []
    for question, answer in turns:
        pieces.append(Piece(f"{START}user\n{question}{STOP}\n{START}assistant\n", learned=False))
        pieces.append(Piece(f"{answer}{STOP}", learned=True))
        pieces.append(Piece("\n", learned=False))
    return (*pieces, Piece(END, learned=False))


class Writer:
    """Writes conversations."""

    def __init__(self, random: Random, topics: tuple[Topic, ...]) -> None:
        self._random = random
        self.teller = Teller(random)
        self._far_teller, self._asker = FarTeller(random), Asker(random)
        self._topics = topics
        # A topic that is asked for in many ways needs more room, though not as much more as it has ways.
        self._weights = [
            max(6, math.sqrt(len(topic.questions) + len(topic.yes))) * (1 + topic.popular) for topic in topics
        ]
        self._wording = Wording(random)

    def conversation(self) -> list[Turn]:
        turns: list[Turn] = []
        for _ in range(self._random.choice((1, 1, 1, 2, 2, 3))):
            turns += self._exchange()
        return turns

    def _exchange(self) -> list[Turn]:
        """Return a question with its answer, and what may follow on it."""
        share = self._random.random()
        if share < 0.6:
            turns = self._fact()
        elif share < 0.78:
            turns = self._story()
        elif share < 0.8:
            turns = [self._far_teller.asked()]
        elif share < 0.97:
            question, answer = self._asker.asked()
            turns = [(self._wording.varied(question), answer)]
        else:
            turns = self._introduction()
        if self._random.random() < 0.06:
            turns.append((self._wording.varied(self._random.choice(THANKS)), self._random.choice(WELCOME)))
        return turns

    def _fact(self) -> list[Turn]:
        random = self._random
        [topic] = random.choices(self._topics, self._weights)
        if topic.wants and topic.example and random.random() < 0.12:
            return [(self._wording.varied(random.choice(topic.wants)), topic.example)]
        at = random.randrange(len(topic.questions) + len(topic.yes))
        answer = random.choice(topic.answers)
        if at < len(topic.questions):
            turns = [(self._wording.varied(topic.questions[at]), answer)]
        else:
            turns = [(self._wording.varied(topic.yes[at - len(topic.questions)]), f"Yes. {answer}")]
        if topic.more and random.random() < 0.3:
            turns.append((self._wording.varied(random.choice(MORE)), topic.more))
        if topic.example and random.random() < 0.35:
            turns.append((self._wording.varied(random.choice(SHOW)), topic.example))
        return turns

    def _story(self) -> list[Turn]:
        random = self._random
        ask, story = self.teller.asked()
        turns = [(self._wording.varied(ask), story.text)]
        if random.random() < 0.25:
            question, answer = self.teller.followed(story)
            turns.append((self._wording.varied(question), answer))
        elif random.random() < 0.2:
            turns.append((self._wording.varied(random.choice(ANOTHER)), self.teller.tell().text))
        return turns

    def _introduction(self) -> list[Turn]:
        random = self._random
        name = self.teller.name()
        turns = [
            (
                random.choice(INTRODUCTIONS).format(name=name),
                f"Nice to meet you, {name}! Ask me about anabranch, or ask me for a story.",
            )
        ]
        if random.random() < 0.6:
            turns += self._fact() if random.random() < 0.4 else []
            turns.append((self._wording.varied(random.choice(NAME_ASKS)), f"Your name is {name}."))
        return turns
