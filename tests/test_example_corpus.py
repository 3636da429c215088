"""The annotated sentences of the example site: each is one tree of relations that Universal Dependencies has."""

from conftest import ROOT

CORPUS = ROOT / "example_site" / "corpora" / "sentences.conllu"
RELATIONS = {
    "acl",
    "advcl",
    "advmod",
    "amod",
    "appos",
    "aux",
    "case",
    "cc",
    "ccomp",
    "compound",
    "conj",
    "cop",
    "csubj",
}
RELATIONS |= {"det", "discourse", "expl", "iobj", "mark", "nmod", "nsubj", "nummod", "obj", "obl", "parataxis"}
RELATIONS |= {"punct", "root", "xcomp"}
PARTS = {"det": "DET", "aux": "AUX", "cop": "AUX", "cc": "CCONJ", "punct": "PUNCT", "nummod": "NUM"}


def sentences():
    """Yield the text of each sentence and its words: number, word, part of speech, head, relation, space after."""
    for block in CORPUS.read_text("utf-8").strip().split("\n\n"):
        lines = block.splitlines()
        rows = [line.split("\t") for line in lines if not line.startswith("#")]
        assert all(len(row) == 10 for row in rows), block
        (text,) = [line.removeprefix("# text = ") for line in lines if line.startswith("# text = ")]
        yield text, [(int(row[0]), row[1], row[3], int(row[6]), row[7], row[9]) for row in rows]


def test_each_sentence_is_a_tree():
    found = list(sentences())
    assert len(found) >= 100
    assert len({text for text, _ in found}) == len(found)
    for text, words in found:
        heads = {number: head for number, _, _, head, _, _ in words}
        assert list(heads) == list(range(1, len(words) + 1)), text
        assert list(heads.values()).count(0) == 1, text
        for number in heads:
            way = [number]
            while way[-1]:
                assert heads[way[-1]] not in way, (text, way)
                way.append(heads[way[-1]])


def test_relations_are_known_and_fit_their_words():
    for text, words in sentences():
        for _, word, part, head, relation, _ in words:
            assert relation.partition(":")[0] in RELATIONS, (text, word)
            assert (relation == "root") == (head == 0), (text, word)
            assert part == PARTS.get(relation, part), (text, word)


def test_words_make_up_the_text():
    for text, words in sentences():
        spaced = "".join(word + ("" if after == "SpaceAfter=No" else " ") for _, word, _, _, _, after in words)
        assert spaced.strip() == text
