"""Blocks as authors write them, and what they are told if something is wrong."""

import functools
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from mkdocs_attnviz.block.fields import Options
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.schema import json_schema
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.block.values import Part, key
from mkdocs_attnviz.plugins import registered
from mkdocs_attnviz.views import OPTIONS, VIEWS


def read(body, **header):
    return parse(Source(body, header), OPTIONS)


def test_every_key():
    block = read(
        """\
model: bert-base-uncased
revision: v1
text: The cat sat on the mat
text_pair: The cat lay on the rug
view: head
layer: 2
heads: [5, 3, 5]
include_layers: [2, 3]
include_heads: [3, 5]
prettify_tokens: false
theme: dark
caption: Two cats
id: cats
"""
    )
    assert (block.model, block.revision, block.theme, block.id) == ("bert-base-uncased", "v1", "dark", "cats")
    assert (block.text, block.text_pair, block.caption) == (
        "The cat sat on the mat",
        "The cat lay on the rug",
        "Two cats",
    )
    assert block.options.heads == (3, 5)
    assert block.options.include_layers == (2, 3)
    assert block.options.prettify_tokens is False


@pytest.mark.parametrize("text", ["No", "12", "1.0", "2024-01-01", "~", "0x1F", "12:30", "true"])
def test_a_text_is_what_stands_there(text):
    assert read(f"model: m\ntext: {text}").text == text


def test_a_number_is_what_stands_there():
    """However JSON, a header or an author may write it."""
    options = read(
        GOOD + 'layer: "2"\nheads: [03, 1]\nmin_weight: 1e-3\nmerge_words: Yes\nspecial_tokens: FALSE'
    ).options
    assert (options.layer, options.heads, options.min_weight) == (2, (1, 3), 0.001)
    assert (options.merge_words, options.special_tokens) == (True, False)


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A folder with an installed package whose view cannot be imported."""
    about = tmp_path / "broken_package-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[attnviz.views]\nbroken = nowhere.to_be_found:VIEW\n")
    monkeypatch.syspath_prepend(tmp_path)
    registered.cache_clear()
    yield tmp_path
    registered.cache_clear()


def test_a_view_that_cannot_be_imported_disturbs_no_other_block(broken):
    assert "broken" in OPTIONS
    assert read(GOOD + "view: matrix").view == "matrix"
    for body, message in (
        (GOOD + "view: broken", "View `broken` of the package broken-package cannot be imported: No module named"),
        (GOOD + "view: haed", "broken (did you mean `head`?)"),
        (GOOD + "modle: x", "`modle` is not a key of the block (did you mean `model`?)."),
        (GOOD + "view: neuron\nmass: 1", "`mass` is a key of view head, matrix, model, not of view neuron."),
    ):
        with pytest.raises(BlockError, match=re.escape(message)) as caught:
            read(body)
        assert (caught.value.problem.key, caught.value.line) == (
            body.splitlines()[-1].partition(":")[0],
            body.count("\n"),
        )
    schema = json_schema(OPTIONS)
    assert schema["properties"]["view"]["enum"] == [name for name in OPTIONS if name != "broken"]
    assert not Draft202012Validator(schema).is_valid({"model": "m", "text": "t", "view": "broken"})


def test_sphinx_starts_with_a_view_that_cannot_be_imported(broken):
    code = (
        "from mkdocs_attnviz.hosts.sphinx.blocks import AttnvizDirective; print(sorted(AttnvizDirective.option_spec))"
    )
    environment = os.environ | {"PYTHONPATH": str(broken)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "n_components" in done.stdout, done.stderr


def test_an_emoji_as_json_escapes_it():
    assert read('model: m\ntext: "\\ud83d\\ude00"').text == "😀"


def test_options_in_the_fence_header():
    block = read("text: hello", model="m", layer="3", heads="[1, 2]")
    assert (block.model, block.options.layer, block.options.heads) == ("m", 3, (1, 2))


GOOD = "model: m\ntext: t\n"
MISTAKES = [
    ("", None, "The block is empty; it needs at least `model: …` and `text: …`."),
    ("# only a comment", None, "The block is empty"),
    ("text: t", None, "The block has no `model`; it must be an alias of the site, a directory"),
    ("model: m", None, "The block has no `text`"),
    ("model: m\ntext:", 1, "`text` is empty; it must be the text the model reads."),
    ("model: m\ntext: '   '", 1, "`text` is empty"),
    ("- a\n- b", 0, "A block is written as `key: value` lines; this one is a list."),
    ("hello", 0, "A block is written as `key: value` lines; this one is the text 'hello'."),
    ("model: m\ntext: He said: no", 1, "not valid YAML: mapping values are not allowed here; put a text that holds"),
    ("model: m\ntext: 'open", 1, "The block is not valid YAML"),
    ("model: m\ntext: a\x07b", 1, "The block holds the character U+0007, which YAML does not allow"),
    (GOOD + "modle: x", 2, "`modle` is not a key of the block (did you mean `model`?)."),
    (GOOD + "qqq: x", 2, "`qqq` is not a key of the block; the keys are across_heads, across_layers, caption,"),
    (GOOD + "layer: two", 2, "`layer` is 'two'; it must be a layer's number, counted from 0."),
    (GOOD + "layer: -1", 2, "`layer` is -1; it must be a layer's number, counted from 0."),
    (GOOD + "layer: 1.5", 2, "`layer` is 1.5; it must be"),
    (GOOD + "layer: true", 2, "`layer` is true; it must be"),
    (GOOD + "layer:", 2, "`layer` is empty; it must be a layer's number"),
    (GOOD + "heads: []", 2, "`heads` is []; it must be a list of heads' numbers"),
    (GOOD + "heads: [a]", 2, '`heads` is ["a"]; it must be a list of heads\' numbers'),
    (GOOD + "heads: {a: 1}", 2, "`heads` is {\"a\": 1}; it must be"),
    (GOOD + "heads: [1]\nhead: 2", 3, "`head` and `heads` are both in the block; keep one of them."),
    (GOOD + "theme: blue", 2, "`theme` is 'blue'; it must be auto, light or dark."),
    (GOOD + "view: haed", 2, f"`view` is 'haed'; the views are {', '.join(VIEWS)} (did you mean `head`?)."),
    (GOOD + "view: [head]", 2, f"`view` is no single word; the views are {', '.join(VIEWS)}."),
    (GOOD + "layer: =", 2, "`layer` is '='; it must be a layer's number, counted from 0."),
    (GOOD + "layer: ~", 2, "`layer` is empty; it must be a layer's number"),
    (GOOD + "layer: 1000001", 2, "`layer` is 1000001; it must be a layer's number"),
    (GOOD + "contrast: nan", 2, "`contrast` is 'nan'; it must be a number from 0.25 to 4."),
    (GOOD + "prettify_tokens: 1", 2, "`prettify_tokens` is 1; it must be true or false."),
    (GOOD + "heads: [1, true]", 2, "`heads` is [1, true]; it must be a list of heads' numbers"),
    (GOOD + "heads: {a: 1, a: 2}", 2, "`a` stands twice in `heads`."),
    (GOOD + "---\nmodel: n", 3, "The block is two documents: `---` begins a second one."),
    (GOOD + "layer: 0x" + "f" * 5000, 2, "`layer` is '0xffff"),
    (GOOD + "id: 1a", 2, "`id` is '1a'; it must be a letter followed by"),
    (GOOD + "prettify_tokens: maybe", 2, "`prettify_tokens` is 'maybe'; it must be true or false."),
    (GOOD + "text: again", 2, "`text` stands twice in the block."),
    ("model: &a m\ntext: *a", 0, "Anchors and aliases"),
    ("model: m\ntext: !!python/object/apply:os.system [ls]", 1, "YAML tags are not read"),
    (GOOD + "heads: " + "[" * 50 + "]" * 50, 2, "The block is nested more than 8 deep."),
    (GOOD + "heads: 1:2:3:99999999999999999999", 2, "`heads` is "),
    ('model: m\ntext: "\\uD800"', 1, "The text holds half of a surrogate pair"),
    (GOOD + "? [a]\n: b", 2, "A key of the block must be a plain word."),
    ("{[a]: 1, b", 0, "The block is not valid YAML"),
    (GOOD + "generate: {[a]: 1}", 2, "A key of `generate` must be a plain word."),
    (GOOD + "view: neuron\nmass: 1", 3, "`mass` is a key of view head, matrix, model, not of view neuron."),
    (GOOD + "min_weight: .1\nmass: .9", 2, "`min_weight` and `mass` are both in the block; keep one of them."),
    (GOOD + "mass: 0", 2, "`mass` is 0; it must be a number above 0, up to 1."),
    (GOOD + "filter: ac", 2, "`filter` is 'ac'; it must be all, aa, ab, ba or bb."),
    (GOOD + "tensors: a.safetensors", 0, "`tensors` brings tokens and weights of its own, so `model` does not belong"),
    ("tensors: a.pt", 0, "`tensors` is 'a.pt'; it must be a .safetensors file with weights of your own."),
    ("tensors: a.safetensors\ntext: t", 1, "so `text` does not belong in the block."),
    (GOOD + "view: factors\nfrom_layer: 3\nto_layer: 1", 3, "`from_layer` is 3, which is more than `to_layer`, 1."),
    (GOOD + "view: factors\nstack: cross", 3, "`stack` is 'cross'; it must be self, encoder or decoder."),
    (GOOD + "view: activations\nstack: cross", 3, "`stack` is 'cross'; it must be self, encoder or decoder."),
    (GOOD + "view: similarity\nstack: cross", 3, "`stack` is 'cross'; it must be self, encoder or decoder."),
    (GOOD + "interventions:\n- {layer: 0, neurons: 1, stack: cross}", 3, "names `neurons` of `stack: cross`, which"),
    (GOOD + "caption: " + "x" * 200_000, None, "The block has 200,026 characters; at most 100,000 are read."),
]  # fmt: skip


@pytest.mark.parametrize(("body", "line", "message"), MISTAKES, ids=[message[:40] for _, _, message in MISTAKES])
def test_mistakes(body, line, message):
    with pytest.raises(BlockError) as caught:
        read(body)
    assert message in caught.value.message
    assert caught.value.line == line
    assert caught.value.problem.kind == "block"
    if "`" in message[:1]:
        assert f"`{caught.value.problem.key}`" in caught.value.message, (
            "the record names the key that the sentence names"
        )


def test_a_mistake_in_the_header_is_reported_at_the_fence():
    with pytest.raises(BlockError, match="`layer` is 'x'") as caught:
        read(GOOD, layer="x")
    assert Source(GOOD, page="a.md", line=7).where(caught.value) == "a.md:7"


def test_the_line_is_that_of_the_page():
    with pytest.raises(BlockError) as caught:
        read(GOOD + "layer: x")
    assert Source(GOOD, page="a.md", line=7).where(caught.value) == "a.md:10"


def test_a_yaml_bomb_costs_nothing():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
    )
    with pytest.raises(BlockError, match="Anchors and aliases"):
        read(bomb)


@given(st.text())
@example("{a: [}")
@example("text: \U0001f600\nmodel: \U0001f600")
def test_no_text_breaks_the_parser(body):
    try:
        block = read(body)
    except BlockError as error:
        assert error.message.endswith((".", ")."))  # noqa: PT017
    else:
        assert block.text or block.tensors


def test_schema_agrees_with_the_parser():
    schema = json_schema(OPTIONS)
    Draft202012Validator.check_schema(schema)
    checker = Draft202012Validator(schema)
    assert checker.is_valid({"model": "m", "text": "t", "layer": 2, "heads": [3]})
    assert not checker.is_valid({"model": "m"})
    assert checker.is_valid({"tensors": "a.safetensors", "view": "matrix", "across_heads": "mean"})
    assert not checker.is_valid({"tensors": "a.safetensors", "text": "t"})
    assert not checker.is_valid({"model": "m", "text": "t", "modle": 1})
    assert not checker.is_valid({"model": "m", "text": "t", "layer": -1})
    assert json.dumps(schema)
    offered = {each["if"]["properties"]["view"]["const"]: set(each["then"]["properties"]) for each in schema["allOf"]}
    assert offered == {name: set(options.model_fields) for name, options in OPTIONS.items()}, "an editor offers these"
    for view, keys in offered.items():
        for name in set().union(*offered.values()) - keys:
            assert not checker.is_valid({"model": "m", "text": "t", "view": view, name: 1})


@functools.cache
def checker():
    return Draft202012Validator(json_schema(OPTIONS))


def valid(body):
    """Return what the schema says of a body that YAML can read."""
    return checker().is_valid(yaml.safe_load(body))


@pytest.mark.parametrize(
    "more",
    [
        "",
        "heads: 3",
        "heads: [1, 2]",
        "head: 1",
        "view: head",
        "caption: 12",
        "theme: dark",
        "mass: 0.5",
        "view: matrix\ncontrast: 2",
        "text_target: x",
    ],
)
def test_the_schema_takes_what_the_parser_takes(more):
    read(GOOD + more)
    assert valid(GOOD + more)


@pytest.mark.parametrize(
    "more",
    [
        *(
            "heads: []",
            "layer:",
            "layer: -1",
            "head: 1\nheads: [1]",
            "view: hed",
            "theme: blue",
            "modle: 1",
            "heads: [a]",
        ),
        *("mass: 0", "mass: 1\nmin_weight: 1", "contrast: 5", "view: neuron\nmass: 1", "tensors: a.safetensors"),
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(more):
    with pytest.raises(BlockError):
        read(GOOD + more)
    assert not valid(GOOD + more)


@pytest.mark.parametrize(
    "text", ["a # b", "Note: this", "[CLS] hello", "*star*", "- a", "@ home", "'hi' she said", "12", "No"]
)
def test_a_text_in_the_header_is_what_stands_there(text):
    assert read("model: m", text=text).text == text


@pytest.mark.parametrize(
    ("header", "message"),
    [({"layer": None}, "`layer` is empty"), ({"layer": "["}, "not valid YAML"), ({"layer": "x: y"}, "`layer` is {")],
)
def test_values_in_the_header_are_judged(header, message):
    with pytest.raises(BlockError) as caught:
        read(GOOD, **header)
    assert message in caught.value.message
    assert caught.value.line is None


# ---- keys within keys

TALK = "model: m\nchat:\n  - role: user\n    content: hi\n"


def test_a_second_model():
    alone, both = read(GOOD), read(GOOD + "revision: v1\nview: similarity\nother: n\nother_revision: v2")
    assert [tuple(each) for each in alone.models] == [("model", "m", None)]
    assert [tuple(each) for each in both.models] == [("model", "m", "v1"), ("other", "n", "v2")]
    assert (alone.names, both.names) == ("m", "m and n")


def test_generate_has_its_defaults():
    assert read(GOOD + "generate: {}").inputs["generate"] == {"max_new_tokens": 20, "do_sample": False}
    how = "max_new_tokens: 5, do_sample: true, temperature: 0.7, top_k: 3, top_p: 0.9, seed: 3"
    assert read(GOOD + f"generate: {{{how}}}").inputs["generate"] == yaml.safe_load(f"{{{how}}}")
    assert "generate" not in read(GOOD).inputs


def test_a_conversation_takes_the_place_of_a_text():
    talk = [{"role": "user", "content": "No"}, {"role": "assistant", "content": "12:30"}]
    block = read("model: m\nchat:\n- {role: user, content: No}\n- {role: assistant, content: 12:30}")
    assert block.inputs == {"chat": talk}, "what stands there is a text"


def test_interventions():
    block = read(GOOD + "interventions:\n  - {layer: 1, heads: 3}\n  - {layer: 0, neurons: [5, 2], scale: 10}")
    assert [each.to_dict() for each in block.interventions] == [
        {"layer": 1, "heads": [3], "scale": 0.0},
        {"layer": 0, "neurons": [2, 5], "scale": 10.0},
    ]
    assert "interventions" not in block.inputs, "what the model reads stays the same"


def wanted(more):
    """Return what a block asks of a model; its key is made of this."""
    block = read((GOOD if "chat:" not in more else "model: m\n") + more)
    return block.inputs, block.options.parameters(), block.changes


SHAP = "view: saliency\nmethod: gradient_shap"
SAMPLED = "generate: {do_sample: true"
CHANGED = "interventions: [{layer: 1, heads: [0, 2]}, {layer: 2, neurons: 7, scale: 2}]"
EQUAL = [
    ("view: factors", "view: factors\nfrom_layer: 0\nstack: self\nn_components: 6"),
    ("view: factors", "view: factors\nstack: encoder"),
    ("view: lens", "view: lens\ntop_k: 5\nfinal_norm: true\nprettify_tokens: false"),
    ("view: predict", "view: predict\ntop_k: 10\nposition: 3"),
    ("view: activations", "view: activations\nneurons: 64\nstack: decoder\nlayer: 2"),
    ("view: saliency", "view: saliency\nmethod: input_x_gradient\nnorm: sum\nexplain: logit"),
    (SHAP, f"{SHAP}\nsteps: 50\nseed: 0\nbaseline: zero"),
    ("view: saliency\nmethod: occlusion", "view: saliency\nmethod: occlusion\nwindow: 1"),
    ("generate: {}", "generate: {max_new_tokens: 20, do_sample: false, num_beams: 1, repetition_penalty: 1}"),
    (SAMPLED + "}", SAMPLED + ", temperature: 1, top_k: 50, top_p: 1.0, seed: 0}"),
    ("chat: [{role: user, content: a}]", "chat: [{role: user, content: a}]\nchat_date: 20240726"),
    (CHANGED, "interventions: [{layer: 2, neurons: [7, 7], scale: 2.0}, {layer: 1, heads: [2, 0], scale: 0}]"),
    (CHANGED, CHANGED.replace("heads: [0, 2]}", "heads: 2, scale: -0.0}, {layer: 1, heads: [0, 0]}")),
    (CHANGED, CHANGED.replace("layer: 1", "stack: self, layer: 1")),
    (
        "interventions: [{layer: 1, heads: 0, neurons: [3], scale: 0.25}]",
        "interventions: [{layer: 1, neurons: 3, scale: 0.25}, {layer: 1, heads: 0, scale: 0.5}, "
        "{layer: 1, heads: 0, scale: 0.5}]",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=[other[:60] for _, other in EQUAL])
def test_equal_requests_are_equal(one, other):
    assert json.dumps(wanted(one), sort_keys=True) == json.dumps(wanted(other), sort_keys=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("view: factors", "view: factors\nseed: 0"),
        ("view: factors", "view: factors\nstack: decoder"),
        ("view: factors", "view: factors\nto_layer: 0"),
        ("view: lens\nwatch: [a, b]", "view: lens\nwatch: [b, a]"),
        ("view: saliency\ntarget: [2, 1]", "view: saliency\ntarget: [1, 2]"),
        ("generate: {}", "generate: {min_new_tokens: 1}"),
        ("generate: {}", SAMPLED + "}"),
        (CHANGED, CHANGED.replace("layer: 1", "stack: encoder, layer: 1")),
        (CHANGED, CHANGED.replace("neurons", "heads")),
        (CHANGED, CHANGED.replace("scale: 2", "scale: 3")),
    ],
)
def test_other_requests_differ(one, other):
    assert wanted(one) != wanted(other)


WITHIN = [
    (GOOD + "generate: 3", 2, "`generate` is 3; it must be what the model is to write, like {max_new_tokens: 20}."),
    (GOOD + "generate: [1]", 2, "`generate` is [1]; it must be what the model is to write"),
    (GOOD + "generate:", 2, "`generate` is empty; it must be what the model is to write"),
    (GOOD + "generate: yes please", 2, "`generate` is 'yes please'; it must be what the model is to write"),
    (
        GOOD + "generate:\n  max_new_tokens: 5\n  top_q: 1",
        4,
        "`top_q` is not a key of `generate` (did you mean `top_p`?).",
    ),
    (GOOD + "generate: {xyzzy: 1}", 2, "`xyzzy` is not a key of `generate`; there are max_new_tokens, min_new_tokens"),
    (GOOD + "generate: {top_k: }", 2, "`generate.top_k` is empty; it must be a number from 1."),
    (GOOD + "generate: {max_new_tokens: 0}", 2, "`generate.max_new_tokens` is 0; it must be a number from 1 to 1000."),
    (GOOD + "generate:\n  num_beams: 2\n  max_new_tokens: 0", 4, "`generate.max_new_tokens` is 0; it must be"),
    (GOOD + "generate: {max_new_tokens: many}", 2, "`generate.max_new_tokens` is 'many'; it must be a number from 1"),
    (GOOD + "generate: {do_sample: maybe}", 2, "`generate.do_sample` is 'maybe'; it must be true or false."),
    (
        GOOD + "generate: {do_sample: true, top_p: 2}",
        2,
        "`generate.top_p` is 2; it must be a number above 0, up to 1.",
    ),
    (
        GOOD + "generate: {temperature: 2}",
        2,
        "`generate` has `temperature`, which only has an effect with `do_sample: true`.",
    ),
    (
        GOOD + "generate: {max_new_tokens: 3, min_new_tokens: 4}",
        2,
        "`generate` has `min_new_tokens: 4`, which is more than `max_new_tokens`, 3.",
    ),
    (
        GOOD + "text_target: x\ngenerate: {}",
        2,
        "`generate` and `text_target` are both in the block; keep one of them.",
    ),
    (
        GOOD + "view: similarity\nother: n\ngenerate: {}",
        4,
        "`other` and `generate` are both in the block; keep one of them.",
    ),
    (TALK + "view: similarity\nother: n", 2, "`other` and `chat` are both in the block; keep one of them."),
    (GOOD + "other: n", 2, "`other` is a key of view similarity, not of view head."),
    (
        GOOD + "view: similarity\nother_revision: v2",
        3,
        "`other_revision` is 'v2', but the block has no `other` model.",
    ),
    (GOOD + "view: similarity\nother:", 3, "`other` is empty; it must be an alias of the site"),
    (GOOD + "text_pair: x\ngenerate: {}", 2, "`generate` and `text_pair` are both in the block; keep one of them."),
    (TALK + "text: t", 4, "`chat` and `text` are both in the block; keep one of them."),
    ("model: m\nchat: hello", 1, "`chat` is 'hello'; it must be a list of messages, each with `role` and `content`."),
    ("model: m\nchat: []", 1, "`chat` is []; it must be a list of messages"),
    ("model: m\nchat:\n  - hello", 2, '`chat` is ["hello"]; it must be a list of messages'),
    (TALK + "  - role: user", 4, "`chat` has no `content`; it must be a text."),
    (TALK + "  - {role: user, contnt: hi}", 4, "`contnt` is not a key of a message (did you mean `content`?)."),
    (TALK + "  - content: a\n    role: ''", 5, "`chat.role` is ''; it must be a role that"),
    ("tensors: a.safetensors\ngenerate: {}", 1, "so `generate` does not belong in the block."),
    (
        "tensors: a.safetensors\ninterventions: [{layer: 1, heads: 1}]",
        1,
        "so `interventions` does not belong in the block.",
    ),
    (GOOD + "interventions: {layer: 1}", 2, '`interventions` is {"layer": 1}; it must be a list of interventions'),
    (
        GOOD + "interventions:\n  - {layer: 1, heads: 2}\n  - {layer: 1}",
        4,
        "An intervention names `heads`, `neurons`, or both; one of these has none.",
    ),
    (GOOD + "generate:\n  top_k: 2\n  top_k: 3", 4, "`top_k` stands twice in `generate`."),
    (GOOD + "interventions: [{layer: 1, layer: 2, heads: 1}]", 2, "`layer` stands twice in an intervention."),
    (GOOD + "interventions:\n  - {heads: 1}", 3, "`interventions` has no `layer`; it must be a layer's number"),
    (
        GOOD + "interventions:\n  - layer: 1\n    head: 3",
        4,
        "`head` is not a key of an intervention (did you mean `heads`?).",
    ),
    (
        GOOD + "interventions: [{layer: 1, heads: [a]}]",
        2,
        '`interventions.heads` is ["a"]; it must be a list of heads\' numbers',
    ),
    (
        GOOD + "interventions: [{layer: 1, heads: 1, scale: .inf}]",
        2,
        "`interventions.scale` is '.inf'; it must be a number.",
    ),
    (
        GOOD + "interventions: [{layer: 1, heads: 1, stack: middle}]",
        2,
        "`interventions.stack` is 'middle'; it must be self, encoder, decoder or cross.",
    ),
]


@pytest.mark.parametrize(("body", "line", "message"), WITHIN, ids=[message[:60] for _, _, message in WITHIN])
def test_mistakes_within_keys(body, line, message):
    with pytest.raises(BlockError) as caught:
        read(body)
    assert message in caught.value.message
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("header", "given"),
    [
        ({"generate": "{max_new_tokens: 3}"}, {"generate": {"max_new_tokens": 3, "do_sample": False}}),
        ({"generate": '{"max_new_tokens": 3}'}, {"generate": {"max_new_tokens": 3, "do_sample": False}}),
        ({}, {}),
    ],
)
def test_generate_in_the_header(header, given):
    assert read(GOOD, **header).inputs == {"text": "t", **given}


def test_a_conversation_in_the_header():
    assert read("model: m", chat="[{role: user, content: No}]").inputs == {"chat": [{"role": "user", "content": "No"}]}


def test_a_mistake_within_a_key_of_the_header_is_reported_at_the_fence():
    for text, message in (
        ("{max_new: 3}", "`max_new` is not a key of `generate`"),
        ("{top_k: 0, do_sample: true}", "`generate.top_k` is 0; it must be a number from 1."),
        ("{max_new_tokens: 3, max_new_tokens: 4}", "`max_new_tokens` stands twice in `generate`."),
        ("{", "The block is not valid YAML"),
    ):
        with pytest.raises(BlockError, match=re.escape(message)) as caught:
            read(GOOD, generate=text)
        assert caught.value.line is None


@pytest.mark.parametrize(
    "body",
    [
        GOOD + "generate: {}",
        GOOD + "generate: {max_new_tokens: 3, do_sample: true, top_p: 0.5, seed: 3}",
        TALK,
        TALK + "generate: {num_beams: 2}",
        TALK + "  - {role: 1, content: 12}",
        GOOD + "interventions: [{layer: 1, heads: 3}, {layer: 0, neurons: [1], scale: 2}]",
        GOOD + "view: tokens\nshade: rank\ntop_k: 3",
        GOOD + "view: predict\nposition: 3",
    ],
)
def test_the_schema_takes_keys_within_keys(body):
    read(body)
    assert valid(body)


@pytest.mark.parametrize(
    "body",
    [
        *(body for body, _, message in WITHIN if "more than" not in message and "twice" not in message),
        GOOD + "view: predict\nposition: -1",
        GOOD + "view: predict\nshade: rank",
        GOOD + "position: 1",
        GOOD + "view: tokens\ntop_k: 0",
    ],
)
def test_the_schema_refuses_mistakes_within_keys(body):
    with pytest.raises(BlockError):
        read(body)
    assert not valid(body)


KEYS = [
    "model",
    "chat",
    "generate",
    "interventions",
    "text",
    "text_target",
    "tensors",
    "mass",
    "contrast",
    "merge_words",
    "across_layers",
    "text_pair",
    "view",
    "layer",
    "head",
    "heads",
    "include_layers",
    "theme",
    "id",
    "caption",
    "x",
]
SCALARS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["=", "0x" + "f" * 5000, "-0x" + "f" * 5000, "{2024-01-01: 1}", "[=]", "!!binary x", ".inf", "? a", "1:2:3"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(st.integers() | st.text(max_size=3)).map(json.dumps),
    st.dictionaries(st.text(max_size=3), st.integers()).map(json.dumps),
)


@given(st.dictionaries(st.sampled_from(KEYS), SCALARS), st.dictionaries(st.sampled_from(KEYS), st.none() | SCALARS))
def test_no_value_breaks_the_parser(block, header):
    body = "".join(f"{key}: {value}\n" for key, value in block.items())
    try:
        read(body, **header)
    except BlockError as error:
        assert "\n" not in error.message  # noqa: PT017
        assert error.message.endswith((".", ")."))  # noqa: PT017


def test_a_source_survives_its_journey():
    source = Source('a: "ü\n-->\u2028', {"x": '"<'}, "p.md", 3)
    assert Source.from_json(source.to_json()) == source


class Inner(BaseModel):
    a: int = 3


class Own(Part):
    deep: list[Inner] = key("a list of inner things", "More.", default=[])
    n: int = key("a number", "How many.")


class OwnOptions(Options):
    """Options as a package that we have never seen may declare them."""

    required: int = key("a number", "It must be there.")
    either: int | str = key("a number or a word", "A union.", default=1)
    named: dict[str, int] = key("numbers by name", "A mapping.", default={})
    two: tuple[float, float] = key("two numbers", "A pair.", default=(0, 0))
    flag: bool = key("true or false", "A strict one.", default=False, strict=True)
    own: tuple[Own, ...] | None = key("a list of own things", "Parts.", default=None)
    plain: float = 3


NEEDED = GOOD + "required: 1\n"


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        (GOOD, None, "The block has no `required`; it must be a number."),
        (NEEDED + "named: {a: q}", 3, '`named` is {"a": "q"}; it must be numbers by name.'),
        (NEEDED + "two: [1]", 3, "`two` is [1]; it must be two numbers."),
        (NEEDED + "flag: maybe", 3, "`flag` is 'maybe'; it must be true or false."),
        (NEEDED + "plain: x", 3, "`plain` is 'x'; it must be something else."),
        (NEEDED + "own:\n- {n: 1}\n- {n: 1, deep: [{a: q}]}", 5, '`own.deep` is [{"a": "q"}]; it must be a list of'),
        (NEEDED + "own:\n- n: 1\n- deep: []", 5, "`own` has no `n`; it must be a number."),
        (NEEDED + "own: [{n: 1, dep: 1}]", 3, "`dep` is not a key of an own (did you mean `deep`?)."),
    ],
)
def test_mistakes_in_options_of_another_package(body, line, message):
    with pytest.raises(BlockError) as caught:
        parse(Source(body), {"head": OwnOptions})
    assert message in caught.value.message
    assert caught.value.line == line


def test_options_of_another_package():
    header = {"named": "{a: 1}", "either": "{a: 1}"}
    options = parse(Source(NEEDED + "two: [1, 2.5]\nflag: true", header), {"head": OwnOptions}).options
    assert (options.required, options.two, options.flag) == (1, (1.0, 2.5), True)
    assert (options.named, options.either) == ({"a": 1}, "{a: 1}")
    checker = Draft202012Validator(json_schema({"head": OwnOptions}))
    assert checker.is_valid(yaml.safe_load(NEEDED + "named: {a: 1}"))
    assert not checker.is_valid(yaml.safe_load(GOOD))
