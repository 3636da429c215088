"""English sentences in which verbs and pronouns agree with a subject that is often not the nearest noun.

- **Number.** *The keys to the cabinet are on the table*: the verb goes with *keys*, though *cabinet* stands next to it.
- **Tense.** *Yesterday* asks for *was* and *were*.
- **Who does what.** Dogs bark and cats meow: *the dog near the cats barks*.
- **Gender.** *The queen behind the king feeds her horse*.

A subject has a prepositional phrase behind it, a relative clause, or nothing. It need not be the first noun: *behind
the houses the dog barks*. A sentence may have more than one: *the girl says that the keys to the cabinet are lost*.

Some nouns never follow some others within a noun phrase in what the model is trained on (`never_together`), *cabinet*
after *key* among them. A sentence with such a phrase is *held out*.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

PEOPLE = [  # one, many, whose: the possessive and the reflexive pronoun of one
    ("king", "kings", "his himself"), ("queen", "queens", "her herself"),
    ("boy", "boys", "his himself"), ("girl", "girls", "her herself"),
    ("man", "men", "his himself"), ("woman", "women", "her herself"),
    ("uncle", "uncles", "his himself"), ("aunt", "aunts", "her herself"),
    ("brother", "brothers", "his himself"), ("sister", "sisters", "her herself"),
]  # fmt: skip
ANIMALS = [
    ("dog", "dogs", "bark barks barked"), ("cat", "cats", "meow meows meowed"),
    ("bird", "birds", "sing sings sang"), ("cow", "cows", "moo moos mooed"),
    ("horse", "horses", "neigh neighs neighed"), ("lion", "lions", "roar roars roared"),
    ("wolf", "wolves", "howl howls howled"), ("duck", "ducks", "quack quacks quacked"),
]  # fmt: skip
OBJECTS = [  # and what is said of another noun behind them: "key" opens, "letter" comes from somebody
    ("key", "keys", "opens"), ("letter", "letters", "sent"),
    ("book", "books", "shows"), ("picture", "pictures", "shows"),
    ("cup", "cups", ""), ("lamp", "lamps", ""), ("bottle", "bottles", ""), ("coat", "coats", ""), ("hat", "hats", ""),
    ("ring", "rings", ""), ("coin", "coins", ""), ("spoon", "spoons", ""),
]  # fmt: skip
PLACES = [  # and how one is there
    ("cabinet", "cabinets", "in"), ("table", "tables", "on"), ("shelf", "shelves", "on"), ("box", "boxes", "in"),
    ("chair", "chairs", "under"), ("house", "houses", "in"), ("car", "cars", "in"), ("boat", "boats", "in"),
    ("tree", "trees", "under"), ("bridge", "bridges", "on"),
]  # fmt: skip
NOUNS = [*OBJECTS, *PLACES, *ANIMALS, *PEOPLE]
DWELLINGS = [place for place in PLACES if place[0] in ("house", "car", "boat", "tree", "bridge")]
PETS = [animal for animal in ANIMALS if animal[0] in ("dog", "cat", "bird", "cow", "horse", "duck")]
OPEN = [place for place in PLACES if place[0] in ("cabinet", "box", "house", "car", "boat")]

BE = "are is were was"  # the past has two forms
ACTIONS = {
    "people": ["laugh laughs laughed", "dance dances danced", "smile smiles smiled", "sleep sleeps slept"],
    "animals": ["sleep sleeps slept", "run runs ran"],
}
SEEING = ["see sees saw", "hear hears heard", "follow follows followed", "like likes liked", "know knows knew"]
OWNING = ["love loves loved", "feed feeds fed", "call calls called"]
THEMSELVES = ["wash washes washed", "help helps helped", "hide hides hid"]
SAYING = ["say says said", "think thinks thought"]
ADJECTIVES = {
    "people": ["happy", "tired", "hungry", "old", "young"],
    "animals": ["tired", "hungry", "big", "small", "old"],
    "objects": ["old", "new", "lost", "broken", "dirty"],
    "places": ["old", "new", "empty", "big", "dirty"],
}
ADVERBS = ["loudly", "again", "all day", "in the garden"]
NEAR = ["near", "behind", "beside"]
LINKS = ["and", "but", "while", "because"]


def _forms(number: int) -> set[str]:
    verbs = [
        *SEEING,
        *OWNING,
        *THEMSELVES,
        *SAYING,
        *ACTIONS["people"],
        *ACTIONS["animals"],
        *(one[2] for one in ANIMALS),
    ]
    return {verb.split()[number] for verb in [BE, *verbs]}


FORMS = {  # many, past → verbs that tell the one and the other
    (True, False): _forms(0),
    (False, False): _forms(1),
    (True, True): {"were"},
    (False, True): {"was"},
}
Noun = tuple[str, str, str]


class Verb(NamedTuple):
    """The verb of a clause: its place, and what it agrees with; positions are counted in words."""

    at: int
    subject: int
    many: bool
    past: bool
    between: str
    """The kind of words between subject and verb: "", "phrase" or "clause"."""
    distracted: bool
    """True if a noun in between is of the other number."""
    pronoun: int | None = None
    """The place of a pronoun that agrees with the subject, too."""

    @property
    def right(self) -> set[str]:
        """Return what may stand there, of verbs that tell one from many."""
        return FORMS[self.many, self.past]

    @property
    def right_number(self) -> set[str]:
        return FORMS[self.many, False] | FORMS[self.many, True]

    @property
    def right_tense(self) -> set[str]:
        return FORMS[True, self.past] | FORMS[False, self.past]


class Sentence(NamedTuple):
    words: list[str]
    verbs: list[Verb]
    held_out: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.words).replace(" .", ".")


class Phrase(NamedTuple):
    """A noun phrase; `noun` is where its noun stands."""

    words: list[str]
    noun: int
    many: bool
    entry: Noun
    verbs: list[Verb]
    between: str = ""
    others: frozenset[bool] = frozenset()
    """The numbers of the nouns behind its own."""
    held_out: bool = False


def kind_of(noun: Noun) -> str:
    kinds = {"people": PEOPLE, "animals": ANIMALS, "objects": OBJECTS, "places": PLACES}
    return next(kind for kind, nouns in kinds.items() if noun in nouns)


def never_together(noun: Noun, behind: Noun) -> bool:
    """Hold pairs out by their places in the table: one pair in eight, *cabinet* behind *key* among them."""
    return (NOUNS.index(noun) + 3 * NOUNS.index(behind) + 4) % 8 == 0


def moved(verbs: list[Verb], by: int) -> list[Verb]:
    shifted = [verb._replace(at=verb.at + by, subject=verb.subject + by) for verb in verbs]
    return [one if one.pronoun is None else one._replace(pronoun=one.pronoun + by) for one in shifted]


# ---- phrases ---------------------------------------------------------------------------------------------------------


def plain(rng: random.Random, nouns: list[Noun], other_than: Noun | None = None) -> Phrase:
    """Such as "the keys" or "the old key"."""
    noun, many = rng.choice([noun for noun in nouns if noun != other_than]), rng.random() < 0.5
    adjective = [rng.choice(ADJECTIVES[kind_of(noun)])] if rng.random() < 0.15 else []
    words = ["the", *adjective, noun[1] if many else noun[0]]
    return Phrase(words, len(words) - 1, many, noun, [])


def noun_phrase(rng: random.Random, nouns: list[Noun], past: bool, *, more: float) -> Phrase:
    """A noun, and with a probability of `more` something behind it that has nouns of its own."""
    phrase = plain(rng, nouns)
    if rng.random() >= more:
        return phrase
    if kind_of(phrase.entry) in ("people", "animals") and rng.random() < 0.4:
        return with_clause(rng, phrase, past)
    return with_preposition(rng, phrase)


def with_preposition(rng: random.Random, phrase: Phrase) -> Phrase:
    """Such as "the keys to the cabinet", "the dog near the cats"; sometimes with a third noun."""
    said = phrase.entry[2] if phrase.entry in OBJECTS else ""
    preposition, nouns = {
        "opens": ("to", OPEN),
        "sent": (rng.choice(["from", "to"]), PEOPLE),
        "shows": ("of" if phrase.entry[0] == "picture" else "about", [*PEOPLE, *ANIMALS, *PLACES]),
    }.get(said, (rng.choice(NEAR), NOUNS))
    behind = plain(rng, nouns, phrase.entry)
    words, others = [*phrase.words, preposition, *behind.words], {behind.many}
    held_out = never_together(phrase.entry, behind.entry)
    if rng.random() < 0.15:
        third = plain(rng, PLACES, behind.entry)
        words, others = [*words, rng.choice(NEAR), *third.words], {behind.many, third.many}
    return phrase._replace(words=words, between="phrase", others=frozenset(others), held_out=held_out)


def with_clause(rng: random.Random, phrase: Phrase, past: bool) -> Phrase:
    """Such as "the dog that sees the cats", "the dog that the girls see"."""
    verb, behind = rng.choice(SEEING), plain(rng, [*PEOPLE, *ANIMALS], phrase.entry)
    by_itself = rng.random() < 0.5
    who = phrase if by_itself else behind
    at = len(phrase.words) + 1 + (0 if by_itself else len(behind.words))
    subject = phrase.noun if by_itself else len(phrase.words) + 1 + behind.noun
    form = conjugated(verb, who.many, past)
    clause = ["that", form, *behind.words] if by_itself else ["that", *behind.words, form]
    return phrase._replace(
        words=[*phrase.words, *clause],
        verbs=[Verb(at, subject, who.many, past, "", distracted=False)],
        between="clause",
        others=frozenset({behind.many}),
        held_out=never_together(phrase.entry, behind.entry),
    )


def conjugated(verb: str, many: bool, past: bool) -> str:
    """Return the forms of "are is were was" or "bark barks barked"."""
    forms = verb.split()
    return forms[-1 if len(forms) == 3 else 2 + (not many)] if past else forms[not many]


# ---- clauses ---------------------------------------------------------------------------------------------------------


def predicate(rng: random.Random, who: Phrase, past: bool) -> tuple[str, list[str], int | None, bool]:
    """A verb, the words after it, where among these a pronoun stands, and whether they are held out."""
    kind = kind_of(who.entry)
    if kind in ("objects", "places") or rng.random() < 0.25:
        if kind == "places" or rng.random() < 0.4:
            return BE, [rng.choice(ADJECTIVES[kind])], None, False
        place, many = rng.choice(PLACES if kind == "objects" else DWELLINGS), rng.random() < 0.2
        return BE, [place[2], "the", place[1] if many else place[0]], None, False
    chance = rng.random()
    if kind == "people" and chance < 0.5:
        possessive, reflexive = ("their", "themselves") if who.many else who.entry[2].split()
        if chance < 0.15:
            return rng.choice(THEMSELVES), [reflexive], 0, False
        one, many, _ = rng.choice(PETS)
        return rng.choice(OWNING), [possessive, rng.choice([one, many])], 0, False
    if chance < 0.65:
        what = noun_phrase(rng, [*PEOPLE, *ANIMALS, *OBJECTS], past, more=0.1)
        if not what.verbs:
            return rng.choice(SEEING), what.words, None, what.held_out
    own = kind == "animals" and rng.random() < 0.8
    verb = who.entry[2] if own else rng.choice(ACTIONS[kind])
    return verb, rng.choice(ADVERBS).split() if rng.random() < 0.5 else [], None, False


def clause(rng: random.Random, past: bool, *, more: float = 0.6) -> Sentence:
    who = noun_phrase(rng, NOUNS, past, more=more)
    verb, rest, pronoun, held_out = predicate(rng, who, past)
    at = len(who.words)
    distracted = (not who.many) in who.others
    place = None if pronoun is None else at + 1 + pronoun
    agrees = Verb(at, who.noun, who.many, past, who.between, distracted, place)
    words = [*who.words, conjugated(verb, who.many, past), *rest]
    return Sentence(words, [*who.verbs, agrees], who.held_out or held_out)


def after(words: list[str], one: Sentence) -> Sentence:
    return one._replace(words=[*words, *one.words], verbs=moved(one.verbs, len(words)))


def sentence(rng: random.Random) -> Sentence:
    chance = rng.random()
    past = chance < 0.25
    opening = ["yesterday"] if past else ["today"] if chance < 0.35 else []
    shape = rng.random()
    if shape < 0.15:
        one = after([rng.choice(NEAR), *plain(rng, PLACES).words], clause(rng, past))
    elif shape < 0.3:
        first, second = clause(rng, past, more=0.4), clause(rng, past, more=0.4)
        second = after([*first.words, rng.choice(LINKS)], second)
        one = Sentence(second.words, [*first.verbs, *second.verbs], first.held_out or second.held_out)
    elif shape < 0.4:
        who, inner = plain(rng, PEOPLE), clause(rng, past)
        says = conjugated(rng.choice(SAYING), who.many, past)
        outer = Verb(len(who.words), who.noun, who.many, past, "", distracted=False)
        inner = after([*who.words, says, "that"], inner)
        one = inner._replace(verbs=[outer, *inner.verbs])
    else:
        one = clause(rng, past)
    one = after(opening, one)
    return one._replace(words=[*one.words, "."])


def sentences(seed: int | str, *, held_out: bool) -> Iterator[Sentence]:
    """Endless."""
    rng = random.Random(seed)
    while True:
        one = sentence(rng)
        if one.held_out == held_out:
            yield one


def vocabulary() -> list[str]:
    """Every word that a sentence can have."""
    verbs = [BE, *SEEING, *OWNING, *THEMSELVES, *SAYING, *ACTIONS["people"], *ACTIONS["animals"]]
    words = {word for verb in [*verbs, *(animal[2] for animal in ANIMALS)] for word in verb.split()}
    words |= {word for one, many, more in NOUNS for word in (one, many)}
    words |= {word for person in PEOPLE for word in person[2].split()} | {"their", "themselves"}
    words |= {word for adjectives in ADJECTIVES.values() for word in adjectives}
    words |= {word for adverb in ADVERBS for word in adverb.split()} | {*NEAR, *LINKS, *(place[2] for place in PLACES)}
    return sorted(words | {"the", "that", "to", "from", "of", "about", "yesterday", "today", "."})
