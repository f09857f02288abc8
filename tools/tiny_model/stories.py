"""Small stories with the hero, the place and the thing that were asked for, put together from beats."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tools.tiny_model.sections import TEXTS, read_sections

ABOUT_A_THING = ("lost", "found", "gift")
"""The plots in which the thing matters most."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a story should have in it; None is as the teller likes."""

    name: str | None = None
    kind: str | None = None
    friend: str | None = None
    thing: str | None = None
    place: str | None = None
    """With its preposition: `in the forest`."""
    trait: str | None = None
    plots: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Story:
    text: str
    name: str
    friend: str


class Teller:
    """Tells stories, and thinks of ways to ask for them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        found = read_sections(TEXTS / "stories.txt")
        self._girls, self._boys = found["girls"].words(), found["boys"].words()
        self._animals, self._creatures = found["animals"].words(), found["creatures"].words()
        self._colors, self._sizes = found["colors"].words(), found["sizes"].words()
        self._traits, self._things = found["traits"].words(), found["things"].words()
        self._places, self._foods = found["places"].lines, found["foods"].lines
        self._times, self._openings = found["times"].lines, found["openings"].lines
        self._sad, self._glad = found["sad"].words(), found["glad"].words()
        self._plots = {name[5:]: each.groups for name, each in found.items() if name.startswith("plot ")}
        self._asks = [(name[4:], each.lines) for name, each in found.items() if name.startswith("ask")]
        self._followed = [line.split(" = ") for line in found["followed"].lines]

    def name(self) -> str:
        return self._random.choice(self._girls + self._boys)

    def tell(self, wish: Wish = Wish()) -> Story:
        """Return a story as wished for."""
        choice = self._random.choice
        name = wish.name or self.name()
        she = name in self._girls
        kind = wish.kind or ("girl" if she else "boy")
        friend = wish.friend or choice([animal for animal in self._animals if animal != kind])
        thing, at_place = wish.thing or choice(self._things), wish.place or choice(self._places)
        a_friend = an(f"{choice(('small', 'big', 'old', 'young', 'friendly'))} {friend}")
        words = {
            "name": name, "hero": f"{an(f'{choice(self._sizes)} {kind}')} named {name}", "trait": wish.trait or choice(self._traits),
            "he": "she" if she else "he", "him": "her" if she else "him", "his": "her" if she else "his",
            "He": "She" if she else "He", "His": "Her" if she else "His",
            "friend": friend, "a_friend": a_friend, "A_friend": a_friend.capitalize(),
            "thing": thing, "a_thing": an(f"{choice(self._colors)} {thing}"),
            "at_place": at_place, "place": at_place.partition(" ")[2],
            "time": choice(self._times), "sad": choice(self._sad), "glad": choice(self._glad),
            "food": choice(self._foods),
        }  # fmt: skip
        plot = self._plots[choice(wish.plots or tuple(self._plots))]
        beats = (self._openings, *plot)
        return Story(" ".join(choice(beat).format_map(words) for beat in beats), name, friend)

    def asked(self) -> tuple[str, Story]:
        """Return a question for a story, and that story."""
        choice = self._random.choice
        names, ways = choice(self._asks)
        name, kind = self.name(), choice(self._animals + self._creatures)
        friend = choice([animal for animal in self._animals if animal != kind])
        thing, trait, at_place = choice(self._things), choice(self._traits), choice(self._places)
        question = choice(ways).format(
            name=name, kind=kind, a_kind=an(kind), a_trait=an(trait), a_friend=an(friend), a_thing=an(thing), at_place=at_place,
            place=at_place.partition(" ")[2],
        )  # fmt: skip
        wish = Wish(
            name=name if "n" in names else None,
            kind=kind if "k" in names else None,
            friend=friend if "f" in names else None,
            thing=thing if "o" in names else None,
            place=at_place if "p" in names else None,
            trait=trait if "t" in names else None,
            plots=ABOUT_A_THING if "o" in names else None,
        )
        return question, self.tell(wish)

    def followed(self, story: Story) -> tuple[str, str]:
        """Return a question about a story that was told, and its answer."""
        question, answer = self._random.choice(self._followed)
        a_friend = an(story.friend)
        return question, answer.format(name=story.name, a_friend=a_friend, A_friend=a_friend.capitalize())


class FarTeller:
    """Tells stories in Korean and Chinese."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._languages = tuple(
            (read_sections(TEXTS / f"stories.{name}.txt"), gap) for name, gap in (("ko", " "), ("zh", ""))
        )

    def asked(self) -> tuple[str, str]:
        """Return a question for a story, and the story."""
        sections, gap = self._random.choice(self._languages)
        hero, friend = self._random.sample(sections["heroes"].words(), 2)
        question = self._random.choice(sections["ask"].lines).format(hero=hero)
        text = gap.join(self._random.choice(beat) for beat in sections["plot"].groups)
        return question, text.format(hero=hero, friend=friend)


def an(words: str) -> str:
    """Return the words with their article."""
    return f"{'an' if words[0] in 'aeiou' and not words.startswith('uni') else 'a'} {words}"
