"""Short film reviews with the verdict that follows from how they are put together.

A word of praise or blame is not yet a verdict:

- *Not*, *never*, *hardly*, *far from* and others turn it around: *not bad at all*, *anything but superb*.
- What comes after *but* outweighs what comes before: *the plot is dull, but the acting is superb*.
- What *although* and *despite* concede is outweighed by the rest.

Polanyi & Zaenen (2006) call these *contextual valence shifters*. Here they hold without exception, so that a label can
be worked out, and a model that only counts good and bad words is often wrong.

Some adjectives never stand behind some negators in what the model is trained on (`never_together`), *bad* behind *not*
among them. A review that has such a pair is *held out*: the model knows both and has never seen them together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

ADJECTIVES = {
    True: [
        "good", "great", "superb", "brilliant", "wonderful", "funny", "moving", "clever", "charming", "gripping",
        "original", "witty", "touching", "elegant", "exciting", "convincing",
    ],
    False: [
        "bad", "dull", "boring", "awful", "terrible", "clumsy", "predictable", "tedious", "silly", "weak",
        "annoying", "lifeless", "shallow", "confusing", "slow", "tiresome",
    ],
}  # fmt: skip
ASPECTS = [
    "plot", "story", "script", "acting", "cast", "dialogue", "music", "photography", "ending", "direction", "humour",
    "first half", "second half",
]  # fmt: skip
FILMS = ["film", "movie"]
KINDS = {
    True: ["masterpiece", "gem", "delight", "joy", "triumph"],
    False: ["mess", "bore", "disaster", "failure", "disappointment"],
}
QUALITIES = {True: ["charm", "wit", "warmth", "energy"], False: ["clichés", "holes", "mistakes", "platitudes"]}
FEELING = {
    True: ["like liked", "love loved", "enjoy enjoyed", "admire admired"],
    False: ["dislike disliked", "hate hated", "despise despised", "detest detested"],
}
VERDICTS = {
    True: ["see it", "go and see it", "i would see it again", "i recommend it"],
    False: ["avoid it", "stay away", "i want my money back", "i left early"],
}
NEGATORS = ["not", "never", "hardly", "anything but", "far from", "nothing"]
EMPHASIS = ["", "", "", "very ", "really ", "truly ", "simply ", "often "]
ASIDES = [
    "we saw it last night", "i saw it with my sister", "it is two hours long", "it was made in 1999",
    "the cinema was full", "i read the book first", "it is set in a small town",
]  # fmt: skip


class Part(NamedTuple):
    """A clause and whether it praises."""

    text: str
    good: bool
    about: str
    """The film, or what of it."""
    held_out: bool = False


class Review(NamedTuple):
    text: str
    good: bool
    kind: str
    """The way it is put together: "plain", "and", "but", "although" or "despite"."""
    negated: bool
    held_out: bool = False


def never_together(negator: str, adjective: str) -> bool:
    """Hold pairs out by their places in the tables: one pair in six, *not bad* and *not good* among them."""
    index = next(adjectives.index(adjective) for adjectives in ADJECTIVES.values() if adjective in adjectives)
    return (NEGATORS.index(negator) + 5 * index) % 6 == 0


# ---- clauses ---------------------------------------------------------------------------------------------------------


def the_film(rng: random.Random) -> tuple[str, str]:
    return f"{rng.choice(['the', 'this'])} {rng.choice(FILMS)}", "film"


def something(rng: random.Random) -> tuple[str, str]:
    """The review as it is written, and what it is."""
    aspect = rng.choice(ASPECTS)
    return the_film(rng) if rng.random() < 0.5 else (f"the {aspect}", aspect)


def is_so(rng: random.Random, good: bool) -> Part:
    """Such as "the plot is very dull"."""
    subject, about = something(rng)
    return Part(f"{subject} is {rng.choice(EMPHASIS)}{rng.choice(ADJECTIVES[good])}", good, about)


def is_not_so(rng: random.Random, good: bool) -> Part:
    """Such as "the plot is never dull", which is praise."""
    adjective, negator = rng.choice(ADJECTIVES[not good]), rng.choice(NEGATORS)
    subject, about = something(rng)
    if negator == "nothing":
        text = f"there is nothing {adjective} about {subject}"
    else:
        end = " at all" if negator == "not" and rng.random() < 0.4 else ""
        text = f"{subject} is {negator} {adjective}{end}"
    return Part(text, good, about, never_together(negator, adjective))


def is_a(rng: random.Random, good: bool) -> Part:
    """Such as "this film is a clumsy mess"."""
    adjective = rng.choice(ADJECTIVES[good]) + " " if rng.random() < 0.4 else ""
    noun = f"{adjective}{rng.choice(KINDS[good])}"
    subject, about = the_film(rng)
    return Part(f"{subject} is {'an' if noun[0] in 'aeiou' else 'a'} {noun}", good, about)


def is_no(rng: random.Random, good: bool) -> Part:
    """Such as "this film is hardly a masterpiece"."""
    noun = rng.choice(KINDS[not good])
    how = rng.choice(["not a", "hardly a", "far from a", "anything but a", "no"])
    subject, about = the_film(rng)
    return Part(f"{subject} is {how} {noun}", good, about)


def has(rng: random.Random, good: bool) -> Part:
    """Such as "the script is full of clichés", "the script lacks wit"."""
    how = rng.choice(["is full of", "has no"] if good else ["is full of", "has no", "lacks"])
    subject, about = something(rng)
    return Part(f"{subject} {how} {rng.choice(QUALITIES[good if how == 'is full of' else not good])}", good, about)


def felt(rng: random.Random, good: bool) -> Part:
    """Such as "i enjoyed the music", "i did not enjoy the music"."""
    subject, about = something(rng)
    if rng.random() < 0.5:
        return Part(f"i {rng.choice(FEELING[good]).split()[1]} {subject}", good, about)
    verb = rng.choice(FEELING[not good]).split()[0]
    return Part(f"i {rng.choice(['did not', 'could not'])} {verb} {subject}", good, about)


CLAUSES: list[tuple[Callable[[random.Random, bool], Part], float]] = [
    (is_so, 4), (is_not_so, 4), (is_a, 1), (is_no, 1), (has, 1), (felt, 1.5),
]  # fmt: skip
NEGATED = (is_not_so, is_no)


def part(rng: random.Random, good: bool, other_than: str = "") -> tuple[Part, bool]:
    """A clause of praise or of blame about something else, and whether it is a negated one."""
    while True:
        make = rng.choices([make for make, _ in CLAUSES], [weight for _, weight in CLAUSES])[0]
        made = make(rng, good)
        if made.about != other_than:
            return made, make in NEGATED or " not " in made.text


# ---- reviews ---------------------------------------------------------------------------------------------------------


def review(rng: random.Random) -> Review:
    good = rng.random() < 0.5
    kind = rng.choices(["plain", "and", "but", "although", "despite"], [4, 2, 3, 2, 1])[0]
    main, negated = part(rng, good)
    other, also = part(rng, good if kind == "and" else not good, main.about)
    if kind == "plain":
        text = main.text
    elif kind == "despite":
        aspect = rng.choice([aspect for aspect in ASPECTS if aspect != main.about])
        text = conceded(rng, main, f"despite the {rng.choice(ADJECTIVES[not good])} {aspect}")
    elif kind == "although":
        text = conceded(rng, main, f"although {other.text}")
    else:
        text = f"{other.text}, {kind} {main.text}"
    two = kind in ("and", "but", "although")
    return Review(
        " ".join(f"{sentence}." for sentence in around(rng, text, good)),
        good,
        kind,
        negated or (two and also),
        main.held_out or (two and other.held_out),
    )


def conceded(rng: random.Random, main: Part, what: str) -> str:
    return f"{what}, {main.text}" if rng.random() < 0.5 else f"{main.text}, {what}"


def around(rng: random.Random, text: str, good: bool) -> list[str]:
    """The review's sentence, at times with one that says nothing of the film, or with one that says what to do."""
    sentences = [text]
    if rng.random() < 0.25:
        sentences.insert(rng.randrange(2), rng.choice(ASIDES))
    if rng.random() < 0.15:
        sentences.append(rng.choice(VERDICTS[good]))
    return sentences


def reviews(seed: int | str, *, held_out: bool) -> Iterator[Review]:
    """Endless."""
    rng = random.Random(seed)
    while True:
        one = review(rng)
        if one.held_out == held_out:
            yield one


def vocabulary() -> list[str]:
    """Every word that a review can have."""
    tables = [ADJECTIVES, KINDS, QUALITIES, FEELING, VERDICTS]
    phrases = [phrase for table in tables for phrases in table.values() for phrase in phrases]
    phrases += [*ASPECTS, *FILMS, *NEGATORS, *EMPHASIS, *ASIDES, "the this a an no is i did could not at all"]
    phrases += ["there about full of has lacks and but although despite , ."]
    return sorted({word for phrase in phrases for word in phrase.split()})
