"""Endless text for a model of characters: stories with direct speech, and programs with brackets and indentation.

Three things in it cannot be told from the characters just before, and a model that predicts well must remember them:

- **Direct speech.** Within quotation marks people speak of themselves, in the present tense; outside, the story is told
  in the past tense. Speech goes on for up to four sentences.
- **The line.** Lines of a story are broken before the word that would pass column 56.
- **Brackets.** In a program, a line ends only when all round and square brackets are closed, and it is indented by two
  spaces for each brace that is open.
"""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable, Iterator

WIDTH = 56
"""The longest line of a story."""

PEOPLE = ["miller", "baker", "hunter", "sailor", "teacher", "farmer", "widow", "captain", "doctor", "singer"]
ANIMALS = ["fox", "goose", "horse", "rabbit", "crow", "donkey", "otter"]
THINGS = ["lantern", "basket", "letter", "bridge", "candle", "barrel", "ladder", "mirror", "kettle", "boat"]
PLACES = ["river", "market", "forest", "harbour", "mill", "garden", "village", "tower", "meadow", "valley"]
QUALITIES = ["old", "young", "small", "quiet", "clever", "hungry", "grey", "patient"]
WEATHER = ["rain", "snow", "wind", "night", "winter", "storm"]
TIMES = [
    "In the morning,",
    "At noon,",
    "After the harvest,",
    "Before the rain came,",
    "Once again,",
    "That evening,",
]
MOVED = ["walked", "ran", "hurried", "went", "wandered", "returned"]
MOVES = ["walk", "run", "hurry", "go", "wander", "return"]
HELD = ["carried", "found", "lost", "sold", "hid", "painted"]
HOLDS = ["carry", "find", "lose", "sell", "hide", "paint"]
FEELS = ["fear", "know", "remember", "dream of", "do not trust"]
SPOKE = ["said", "asked", "cried", "whispered", "answered"]
NAMES = ["add", "mul", "find", "list", "size", "left", "right", "count", "total", "first", "last", "next"]
VARIABLES = ["a", "b", "c", "i", "j", "k", "n", "x", "y"]
OPERATORS = ["+", "-", "*"]
COMPARISONS = ["<", ">", "=="]


def documents(seed: int | str) -> Iterator[str]:
    """Yield stories and programs without end, each with an empty line behind it."""
    chance = random.Random(seed)
    while True:
        write = story if chance.random() < 0.6 else program
        yield write(chance) + "\n\n"


def story(chance: random.Random) -> str:
    """Return one paragraph of a story, broken into lines."""
    parts = [(chance.choice((_told, _speech, _speech_first)))(chance) for _ in range(chance.randint(3, 6))]
    return textwrap.fill(" ".join(parts), WIDTH, break_on_hyphens=False)


def program(chance: random.Random) -> str:
    """Return one function."""
    name, arguments = chance.choice(NAMES), ", ".join(chance.sample(VARIABLES, chance.randint(1, 3)))
    return "\n".join([f"def {name}({arguments}) {{", *_statements(chance, 1), "}"])


# ---- stories ---------------------------------------------------------------------------------------------------------


def _told(chance: random.Random) -> str:
    """Return a sentence that is told, in the past tense."""
    begin = f"{chance.choice(TIMES)} the" if chance.random() < 0.4 else "The"
    return f"{begin} {_who(chance)}{_remark(chance)} {_did(chance)}{_and(chance, _did)}."


def _speech(chance: random.Random) -> str:
    """Return a sentence that ends in direct speech."""
    return f'The {_who(chance)} {chance.choice(SPOKE)}: "{_spoken(chance)}."'


def _speech_first(chance: random.Random) -> str:
    """Return direct speech and who spoke."""
    return f'"{_spoken(chance)}," {chance.choice(SPOKE)} the {_who(chance)}{_remark(chance)}.'


def _spoken(chance: random.Random) -> str:
    """Return one to four sentences in the first person and the present tense, without the last full stop."""
    sentences = []
    for _ in range(chance.randint(1, 4)):
        who = chance.choice(("I", "We"))
        sentences.append(f"{who} {_do(chance)}{_and(chance, _do)}")
    return ". ".join(sentences)


def _who(chance: random.Random) -> str:
    quality = f"{chance.choice(QUALITIES)} " if chance.random() < 0.4 else ""
    return quality + chance.choice(PEOPLE if chance.random() < 0.7 else ANIMALS)


def _did(chance: random.Random) -> str:
    return _action(chance, MOVED, HELD, ["feared", "knew", "remembered", "dreamt of", "did not trust"])


def _do(chance: random.Random) -> str:
    return _action(chance, MOVES, HOLDS, FEELS)


def _action(chance: random.Random, move: list[str], hold: list[str], feel: list[str]) -> str:
    kind = chance.random()
    if kind < 0.35:
        return f"{chance.choice(move)} to the {chance.choice(PLACES)}"
    if kind < 0.7:
        return f"{chance.choice(hold)} the {_quality(chance)}{chance.choice(THINGS)}"
    return f"{chance.choice(feel)} the {chance.choice(WEATHER + ANIMALS)}"


def _quality(chance: random.Random) -> str:
    return f"{chance.choice(QUALITIES)} " if chance.random() < 0.3 else ""


def _and(chance: random.Random, action: Callable[[random.Random], str]) -> str:
    return f" and {action(chance)}" if chance.random() < 0.5 else ""


def _remark(chance: random.Random) -> str:
    """Return a remark in brackets, or nothing."""
    if chance.random() > 0.25:
        return ""
    return f" (who {_did(chance)}{_and(chance, _did)})"


# ---- programs --------------------------------------------------------------------------------------------------------


def _statements(chance: random.Random, depth: int) -> Iterator[str]:
    """Yield the lines of a block; `depth` braces are open."""
    indent = "  " * depth
    for _ in range(chance.randint(1, 3)):
        kind = chance.random()
        if kind < 0.35 and depth < 4:
            yield _fitting(lambda: indent + _test(chance))
            yield from _statements(chance, depth + 1)
            yield f"{indent}}}"
        elif kind < 0.5:
            yield _fitting(lambda: f'{indent}print("{_spoken(chance)}");')
        else:
            yield _fitting(lambda: f"{indent}{chance.choice(VARIABLES)} = {_value(chance, 0)};")


def _fitting(write: Callable[[], str]) -> str:
    """Return the first line that is no longer than the lines of a story."""
    return next(line for line in iter(write, None) if len(line) <= WIDTH)


def _test(chance: random.Random) -> str:
    test = f"{_value(chance, 1)} {chance.choice(COMPARISONS)} {_value(chance, 1)}"
    return f"{chance.choice(('if', 'while'))} ({test}) {{"


def _value(chance: random.Random, depth: int) -> str:
    """Return an expression; `depth` brackets are open."""
    kind = chance.random()
    if depth >= 4 or kind < 0.35:
        return chance.choice(VARIABLES) if chance.random() < 0.7 else str(chance.randint(0, 99))
    inner = [_value(chance, depth + 1) for _ in range(chance.randint(2, 3))]
    if kind < 0.65:
        return f"{chance.choice(NAMES)}({', '.join(inner)})"
    if kind < 0.8:
        return f"[{', '.join(inner)}]"
    return f"({f' {chance.choice(OPERATORS)} '.join(inner)})"
