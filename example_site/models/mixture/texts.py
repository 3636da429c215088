"""Texts of two kinds of sentence, mixed at random: prose, and sums that are right.

`python example_site/models/mixture/texts.py` prints the corpus of the example site,
`example_site/corpora/prose-and-sums.txt`: 200 texts that the model was not trained on.
"""

from __future__ import annotations

import random

DETERMINERS = ["the", "a", "every", "that"]
ADJECTIVES = ["old", "young", "tired", "merry", "quiet", "clever"]
PEOPLE = [
    "miller", "sailor", "baker", "king", "painter", "farmer", "teacher", "child", "thief", "doctor", "singer", "hunter",
]  # fmt: skip
VERBS = ["sold", "gave", "brought", "showed", "sent", "lent"]
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine"]
THINGS = ["apples", "books", "horses", "letters", "coins", "shoes", "lamps", "maps"]
PLACES = ["market", "harbour", "castle", "garden", "village", "river", "bridge", "school"]
PLACING = ["at", "near", "behind", "in"]
JOINS = ["and", "but", "because", "while"]
SIGNS = ["+", "=", ".", ","]
DIGITS = list("0123456789")


def vocabulary() -> list[str]:
    """Return every token of the texts, in a fixed order."""
    words = [DETERMINERS, ADJECTIVES, PEOPLE, VERBS, NUMBERS, THINGS, PLACES, PLACING, JOINS, ["to"]]
    return [*DIGITS, *SIGNS, *(word for kind in words for word in kind)]


def mixed_text(rng: random.Random, length: int) -> list[str]:
    """Return the tokens of sentences of both kinds, cut at `length`."""
    tokens: list[str] = []
    while len(tokens) < length:
        tokens += prose(rng) if rng.random() < 0.5 else sums(rng)
    return tokens[:length]


def prose(rng: random.Random) -> list[str]:
    """Return a sentence of words, such as "the old miller sold nine apples to a sailor near the bridge ."."""
    tokens = clause(rng)
    if rng.random() < 0.3:
        tokens += [*([","] if rng.random() < 0.5 else []), rng.choice(JOINS), *clause(rng)]
    return [*tokens, "."]


def clause(rng: random.Random) -> list[str]:
    tokens = [*someone(rng), rng.choice(VERBS), rng.choice(NUMBERS), rng.choice(THINGS), "to", *someone(rng)]
    if rng.random() < 0.5:
        tokens += [rng.choice(PLACING), "the", rng.choice(PLACES)]
    return tokens


def someone(rng: random.Random) -> list[str]:
    adjective = [rng.choice(ADJECTIVES)] if rng.random() < 0.4 else []
    return [rng.choice(DETERMINERS), *adjective, rng.choice(PEOPLE)]


def sums(rng: random.Random) -> list[str]:
    """Return one to three sums of two numbers below 50, such as "4 7 + 1 8 = 6 5 , 9 + 3 = 1 2 ."."""
    tokens: list[str] = []
    for _ in range(rng.randint(1, 3)):
        one, other = rng.randrange(50), rng.randrange(50)
        tokens += [*str(one), "+", *str(other), "=", *str(one + other), ","]
    return [*tokens[:-1], "."]


def corpus(seed: int = 2021, texts: int = 200) -> str:
    """Return so many texts of 20 to 60 tokens, one a line."""
    rng = random.Random(seed)
    return "".join(" ".join(mixed_text(rng, rng.randint(20, 60))) + "\n" for _ in range(texts))


if __name__ == "__main__":
    print(corpus(), end="")
