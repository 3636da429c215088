"""English sentences with their German translations, made by a small grammar that knows which word renders which.

German agrees and rearranges where English does not:

- Articles and adjectives follow gender, case and number: *the small elephant* is *der kleine Elefant* as a subject and
  *den kleinen Elefanten* as an object; *the small cat* is *die kleine Katze*, *a small house* *ein kleines Haus*.
- The finite verb comes second: *Today she sees …* is *Heute sieht sie …*.
- What is not finite goes to the end: *She has seen the elephant* is *Sie hat den Elefanten gesehen*.
- Some verbs come apart: *She calls the doctor* is *Sie ruft den Arzt an*.
- In a subordinate clause the finite verb is last: *…, weil sie den Elefanten gesehen hat*.

Some adjectives never stand beside some nouns in what the model is trained on (`never_together`), *small elephant* among
them. A sentence with such a pair is *held out*: the model knows both words and has never seen them together.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from lexicon import (
    ADJECTIVES,
    ANIMALS,
    AUXILIARIES,
    BE,
    CASES,
    DETERMINERS,
    GENDERS,
    INTRANSITIVE,
    LIVING,
    MIXED,
    NOUNS,
    PEOPLE,
    PRONOUNS,
    SAYING,
    TIMES,
    TRANSITIVE,
    TRANSITIVE_LIVING,
    WEAK,
)


class Word(NamedTuple):
    text: str
    role: str = ""
    """Words of the two languages that have a role in common render each other; "" renders nothing by itself."""


Words = list[Word]


class Phrase(NamedTuple):
    english: Words
    german: Words
    person: int = 1
    """The form of a verb that goes with it: 0 of I, 1 of she, 2 of we."""
    held_out: bool = False
    definite: bool = True
    kind: str = "p"


class Predicate(NamedTuple):
    """A verb and its auxiliary, finite and not; the German ones as they stand when the finite verb comes second."""

    english: tuple[Words, Words]
    german: tuple[Words, Words]


class Pair(NamedTuple):
    english: Words
    german: Words
    held_out: bool = False

    @property
    def text(self) -> str:
        return written(self.english)

    @property
    def target(self) -> str:
        return written(self.german)


def written(words: Words) -> str:
    text = "".join(word.text if word.text in ".,?" else f" {word.text}" for word in words).strip()
    return text[0].upper() + text[1:]


def split(text: str, role: str) -> Words:
    return [Word(part, role) for part in text.split("_")]


def never_together(adjective: list[str], noun: list[str]) -> bool:
    """Hold pairs out by their places in the tables: one pair in eight, *small elephant* the first."""
    return (ADJECTIVES.index(adjective) + 3 * NOUNS.index(noun)) % 8 == 0


# ---- phrases ---------------------------------------------------------------------------------------------------------


def kind_of(noun: list[str]) -> str:
    return "a" if noun in ANIMALS else "p" if noun in PEOPLE else "t"


def noun_phrase(rng: random.Random, case: str, nouns: list[list[str]], role: str) -> Phrase:
    """Such as "the small elephant": "den kleinen Elefanten"."""
    noun = rng.choice(nouns)
    singular, plural, gender, *forms = noun
    kind = kind_of(noun)
    determiner = rng.choice(["the", "the", "the", "a", "a", "this", *(["my", "his"] if kind != "p" else [])])
    many = determiner != "a" and rng.random() < 0.25
    column, row = GENDERS.index("p" if many else gender), CASES.index(case)
    english = [Word(plural if many else singular, f"{role} noun")]
    german = [Word(forms[2 if many else row], f"{role} noun")]
    held_out = False
    if rng.random() < 0.6:
        adjective = rng.choice([one for one in ADJECTIVES if kind in one[2]])
        english.insert(0, Word(adjective[0], f"{role} adjective"))
        ending = (WEAK if determiner in ("the", "this") else MIXED)[row][column]
        german.insert(0, Word(adjective[1] + ending, f"{role} adjective"))
        held_out = never_together(adjective, noun)
    article = Word(DETERMINERS[determiner][row][column], f"{role} determiner")
    its = Word(english_determiner(determiner, many, english[0].text), f"{role} determiner")
    return Phrase([its, *english], [article, *german], 2 if many else 1, held_out, determiner != "a", kind)


def english_determiner(determiner: str, many: bool, following: str) -> str:
    if determiner == "a" and following[0] in "aeiou":
        return "an"
    return "these" if determiner == "this" and many else determiner


def subject(rng: random.Random, role: str) -> Phrase:
    if rng.random() < 0.5:
        return noun_phrase(rng, "nominative", LIVING, role)
    english, person, german = rng.choice(PRONOUNS)
    return Phrase([Word(english, f"{role} noun")], [Word(german, f"{role} noun")], int(person))


def thing(rng: random.Random, nouns: list[list[str]], role: str) -> Phrase:
    if rng.random() < 0.9:
        return noun_phrase(rng, "accusative", nouns, role)
    name = [Word(rng.choice(["Anna", "Peter"]), f"{role} noun")]
    return Phrase(name, name)


def time(rng: random.Random, role: str) -> Phrase:
    sides = " ".join(rng.choice(TIMES)).split(" = ")
    english, german = ([w for n, part in enumerate(side.split()) for w in split(part, f"{role} {n}")] for side in sides)
    return Phrase(english, german)


# ---- verbs -----------------------------------------------------------------------------------------------------------


def predicate(verb: list[str], auxiliary: str | None, person: int, role: str, do: bool) -> Predicate:
    """`do`: a question or a denial, in which English has *do* where there is no other auxiliary."""
    english, german = verb[:4], verb[5:]
    role = f"{role}verb"
    if auxiliary:
        forms, form = AUXILIARIES[auxiliary], 3 if auxiliary == "have" else 0
        infinite = german[3] if auxiliary == "have" else german[2].replace("+", "")
        helped = split(forms[person], f"{role} finite"), split(english[form], role)
        return Predicate(helped, ([Word(forms[4 + person], f"{role} finite")], [Word(infinite, role)]))
    prefix, _, finite = german[person].rpartition("+")
    parts = [Word(finite, role)], [Word(prefix, role)] if prefix else []
    if do and verb is not BE:
        return Predicate(([Word("does" if person == 1 else "do")], split(english[0], role)), parts)
    return Predicate((split(english[person], role), []), parts)


def last(predicate: Predicate) -> Words:
    """A German predicate at the end of a subordinate clause: what came apart is one word again."""
    (finite,), rest = predicate.german
    if rest and rest[0].role == finite.role:
        return [Word(rest[0].text + finite.text, finite.role)]
    return [*rest, finite]


# ---- clauses ---------------------------------------------------------------------------------------------------------


def clause(rng: random.Random, kind: str, role: str = "") -> Pair:
    """A statement, a question or a subordinate clause, without its mark at the end."""
    who = subject(rng, f"{role}subject")
    verb = rng.choice(rng.choices([TRANSITIVE, TRANSITIVE_LIVING, INTRANSITIVE, [BE]], [5, 2, 1, 1])[0])
    what = complement(rng, verb, who, f"{role}object")
    when = time(rng, f"{role}time") if rng.random() < 0.4 else Phrase([], [])
    no, nicht = [], []
    if what.definite and rng.random() < 0.15:  # with "a" it would be *kein*
        no, nicht = [Word("not", f"{role}not")], [Word("nicht", f"{role}not")]
    does = predicate(verb, auxiliary(rng, verb, kind, bool(no)), who.person, role, do=bool(no) or kind == "question")
    first = kind == "statement" and bool(when.english) and rng.random() < 0.5
    said = [*no, *does.english[1], *what.english]
    middle = [*nicht, *what.german] if verb is BE else [*what.german, *nicht]
    return Pair(
        english_order(kind, first, who, does, said, when),
        german_order(kind, first, who, does, middle, when),
        who.held_out or what.held_out,
    )


def complement(rng: random.Random, verb: list[str], who: Phrase, role: str) -> Phrase:
    if verb is BE:
        english, german, _ = rng.choice([one for one in ADJECTIVES if who.kind in one[2]])
        return Phrase([Word(english, role)], [Word(german, role)])
    if verb in INTRANSITIVE:
        return Phrase([], [])
    return thing(rng, NOUNS if verb in TRANSITIVE else LIVING, role)


def auxiliary(rng: random.Random, verb: list[str], kind: str, denied: bool) -> str | None:
    if verb is BE or rng.random() < 0.45:
        return None
    choice = ["have", "have", "have", "will"] if denied else ["have", "have", "have", "will", "can", "must", "want"]
    return rng.choice([name for name in choice if name != "want" or kind != "question"])


def english_order(kind: str, first: bool, who: Phrase, does: Predicate, said: Words, when: Phrase) -> Words:
    finite = does.english[0]
    start = [*finite, *who.english] if kind == "question" else [*who.english, *finite]
    return [*when.english, *start, *said] if first else [*start, *said, *when.english]


def german_order(kind: str, first: bool, who: Phrase, does: Predicate, middle: Words, when: Phrase) -> Words:
    """The finite verb first in a question, second in a statement, last in a subordinate clause."""
    finite, rest = does.german
    if kind == "subordinate":
        return [*who.german, *when.german, *middle, *last(does)]
    if kind == "question":
        return [*finite, *who.german, *when.german, *middle, *rest]
    if first:
        return [*when.german, *finite, *who.german, *middle, *rest]
    return [*who.german, *finite, *when.german, *middle, *rest]


# ---- sentences -------------------------------------------------------------------------------------------------------


def sentence(rng: random.Random) -> Pair:
    kind = rng.random()
    if kind < 0.12:
        one = clause(rng, "question")
        return Pair([*one.english, Word("?", "end")], [*one.german, Word("?", "end")], one.held_out)
    if kind < 0.7:
        one = clause(rng, "statement")
        return Pair([*one.english, Word(".", "end")], [*one.german, Word(".", "end")], one.held_out)
    who = subject(rng, "outer subject")
    says = kind < 0.85
    does = predicate(rng.choice(SAYING if says else INTRANSITIVE), None, who.person, "outer ", do=False)
    linking = [Word("that" if says else "because", "link")], [Word(","), Word("dass" if says else "weil", "link")]
    inner = clause(rng, "subordinate")
    english = [*who.english, *does.english[0], *linking[0], *inner.english, Word(".", "end")]
    german = [*who.german, *does.german[0], *linking[1], *inner.german, Word(".", "end")]
    return Pair(english, german, who.held_out or inner.held_out)


def sentences(seed: int | str, *, held_out: bool) -> Iterator[Pair]:
    """Endless."""
    rng = random.Random(seed)
    while True:
        pair = sentence(rng)
        if pair.held_out == held_out:
            yield pair
