"""The text that a model writes for `generate` and reads for `chat` is the one that transformers itself makes."""

import datetime
import json
import random
import shutil

import numpy as np
import pytest
import torch
import transformers
from conftest import INDUCTION, ROOT
from tokenizers import Tokenizer, models, pre_tokenizers

from mkdocs_attnviz.block.defaults import IMPLIED, TODAY
from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.block.values import SAMPLING
from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example, text_tokens
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS

torch.set_num_threads(1)

EN_DE = str(ROOT / "example_site" / "models" / "en-de")
DATES = str(ROOT / "example_site" / "models" / "dates")
TEXT = "the rabbit hopped near the cold river and the rabbit"
SENTENCE = "She sees the small elephant."
SMALL = {
    "vocab_size": 12,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
KINDS = {
    "llama": SMALL | {"num_key_value_heads": 2},
    "gpt_neox": SMALL,
    "bloom": {"vocab_size": 12, "hidden_size": 32, "n_layer": 2, "n_head": 4},
}
CHAT = (
    "{% for message in messages %}{{ '<s> ' + message.role + ' ' + message.content + ' </s> ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s> model' }}{% endif %}"
)


def loaded(folder, *, head=True):
    return load(resolve(str(folder), None, Settings(), ROOT), "cpu", head=head)


def inputs(body):
    """Return inputs as they come from a block, with defaults filled in."""
    return parse(Source(f"model: m\n{body}"), OPTIONS).inputs


@pytest.fixture
def make_model(tmp_path):
    """`make_model(kind)` → a folder with a random causal model whose words are letters."""

    def make(kind, **options):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(kind, bos_token_id=1, eos_token_id=2, pad_token_id=0, **KINDS[kind])
        )
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(6)
        for name, value in options.items():
            setattr(model.generation_config, name, value)
        words = ["<pad>", "<s>", "</s>", "<unk>", *"abcdefgh"]
        backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)
        tokenizer.save_pretrained(tmp_path / kind)
        model.save_pretrained(tmp_path / kind)
        return tmp_path / kind

    return make


def expected(folder, text, auto=transformers.AutoModelForCausalLM, **options):
    """The ids that transformers' own `generate` gives."""
    tokenizer, model = transformers.AutoTokenizer.from_pretrained(folder), auto.from_pretrained(folder).eval()
    read = tokenizer(text, return_tensors="pt")
    return model.generate(**{name: read[name] for name in ("input_ids", "attention_mask")}, **options)[0].tolist()


# ---- a decoder


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"repetition_penalty": 1.8}], ids=str)
def test_the_induction_model_writes_what_transformers_does(options):
    generate = {"max_new_tokens": 12, **options}
    text = example(loaded(INDUCTION), inputs(f"text: {TEXT}\ngenerate: {generate}"), 99).text
    assert text.ids == expected(INDUCTION, TEXT, do_sample=False, **generate)
    assert len(text.ids) > text.generated == len(TEXT.split())


@pytest.mark.parametrize("kind", KINDS)
def test_random_models_write_what_transformers_does(make_model, kind):
    folder = make_model(kind)
    text = example(loaded(folder), inputs("text: a b c a b\ngenerate: {max_new_tokens: 9, min_new_tokens: 4}"), 99).text
    assert text.ids == expected(folder, "a b c a b", do_sample=False, max_new_tokens=9, min_new_tokens=4)
    assert 9 <= len(text.ids) <= 14


def test_a_seed_draws_the_same_tokens_and_disturbs_nobody(make_model):
    model = loaded(make_model("llama"))

    def drawn(seed):
        how = f"{{max_new_tokens: 20, min_new_tokens: 20, do_sample: true, temperature: 2.0, seed: {seed}}}"
        return example(model, inputs(f"text: a b c\ngenerate: {how}"), 99).text.ids

    before = torch.get_rng_state()
    first = drawn(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert drawn(1) == first
    assert drawn(2) != first
    torch.manual_seed(1)
    options = {"do_sample": True, "temperature": 2.0, "max_new_tokens": 20, "min_new_tokens": 20}
    assert first == expected(model.ref.path, "a b c", **options)


@pytest.mark.parametrize("sampled", [False, True])
def test_what_a_block_need_not_say_means_nothing(sampled):
    """Its key leaves out what is implied; so whoever says it must get what those get who do not."""
    said = {name: value for name, value in IMPLIED.items() if sampled or name not in SAMPLING}
    how = {"max_new_tokens": 30, "do_sample": sampled}
    read = {"text": TEXT, "generate": how}
    first = example(loaded(INDUCTION), read, 99).text
    assert example(loaded(INDUCTION), read | {"generate": how | said}, 99).text == first
    for name, value in said.items():
        other = how | {name: {"top_k": 1}.get(name, value + 1 if name in ("num_beams", "seed") else value / 2)}
        changed = example(loaded(INDUCTION), read | {"generate": other}, 99).text
        assert changed != first or name == "num_beams", f"{name} is read"


def test_it_stops_at_the_end_of_the_text(make_model):
    folder = make_model("llama")
    free = expected(folder, "a b c", do_sample=False, max_new_tokens=12, eos_token_id=-1)
    end = free[6]
    first = free.index(end, 3)
    folder = make_model("llama", eos_token_id=end)
    text = example(loaded(folder), inputs("text: a b c\ngenerate: {max_new_tokens: 12}"), 99).text
    assert text.ids == free[: first + 1]


MISLEADING = {
    "return_dict_in_generate": True,
    "output_attentions": True,
    "output_scores": True,
    "num_beams": 4,
    "num_return_sequences": 2,
    "do_sample": True,
    "temperature": 3.0,
    "repetition_penalty": 9.0,
    "no_repeat_ngram_size": 1,
    "min_length": 30,
    "max_length": 5,
    "length_penalty": 9.0,
    "early_stopping": True,
    "use_cache": False,
    "cache_implementation": "static",
    "prompt_lookup_num_tokens": 3,
    "max_time": 0.0001,
    "stop_strings": ["a"],
    "guidance_scale": 2.0,
}
"""Settings that a model's own `generation_config.json` may have and that are ignored."""


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_a_block_alone_says_how_a_model_writes(make_model, name):
    folder = make_model("llama")
    plain = [expected(folder, "a b c a b", do_sample=False, max_new_tokens=9)]
    torch.manual_seed(3)
    plain.append(expected(folder, "a b c a b", do_sample=True, max_new_tokens=9))
    _say(folder, name, MISLEADING if name == "generation_config.json" else {"num_beams": 4, "repetition_penalty": 9.0})
    blocks = ("{max_new_tokens: 9}", "{max_new_tokens: 9, do_sample: true, seed: 3}")
    texts = [inputs(f"text: a b c a b\ngenerate: {generate}") for generate in blocks]
    assert [example(loaded(folder), text, 99).text.ids for text in texts] == plain


def test_an_encoder_decoder_writes_by_itself_whatever_its_files_ask_for(tmp_path):
    shutil.copytree(EN_DE, tmp_path / "model")
    before = example(loaded(EN_DE), {"text": SENTENCE}, 99).target
    _say(tmp_path / "model", "generation_config.json", MISLEADING | {"forced_eos_token_id": 0})
    found = example(loaded(tmp_path / "model"), {"text": SENTENCE}, 99).target
    assert (found.ids, found.labels) == (before.ids, before.labels)


def test_what_decides_the_tokens_comes_from_the_files(make_model):
    """The files tell which token ends a text and which are never written."""
    folder = make_model("llama")
    free = expected(folder, "a b c", do_sample=False, max_new_tokens=12)[3:]
    _say(folder, "generation_config.json", {"suppress_tokens": free[:1], "eos_token_id": 99})
    text = example(loaded(folder), inputs("text: a b c\ngenerate: {max_new_tokens: 12}"), 99).text
    assert free[0] not in text.ids[3:]
    assert len(text.ids) == 15


def _say(folder, name, settings):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_it_writes_no_more_than_there_is_room_for(make_model):
    model = loaded(make_model("llama"))
    start = " ".join("abcde" * 12)  # of 64
    text = example(model, inputs(f"text: {start}\ngenerate: {{max_new_tokens: 9, min_new_tokens: 9}}"), 99).text
    assert len(text.ids) == 64
    with pytest.raises(ValueError, match="The text has 64 tokens; `max_tokens` is 62"):
        example(model, inputs(f"text: {start}\ngenerate: {{max_new_tokens: 9, min_new_tokens: 9}}"), 62)


def test_a_model_that_does_not_write(tmp_path):
    tokenizer = transformers.AutoTokenizer.from_pretrained(INDUCTION)
    config = transformers.BertConfig(**SMALL | {"vocab_size": len(tokenizer)})
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"`generate` needs a model that writes, which .* is not"):
        example(loaded(tmp_path), inputs("text: the rabbit\ngenerate: {max_new_tokens: 2}"), 99)


def test_a_model_without_a_head_is_refused(tmp_path):
    transformers.AutoModel.from_pretrained(INDUCTION).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(INDUCTION).save_pretrained(tmp_path)
    with pytest.raises(Unusable, match="was saved without a head that predicts"):
        loaded(tmp_path)


# ---- an encoder–decoder


@pytest.mark.parametrize("more", [{}, {"max_new_tokens": 3}, {"num_beams": 4}], ids=str)
@pytest.mark.parametrize(("folder", "text"), [(EN_DE, SENTENCE), (DATES, "March 3, 1998")], ids=["en-de", "dates"])
def test_an_encoder_decoder_writes_what_transformers_does(folder, text, more):
    options = {"max_new_tokens": 30} | more
    target = example(loaded(folder), inputs(f'text: "{text}"\ngenerate: {options}'), 99).target
    options = {"do_sample": False, "num_beams": 1} | options
    written = expected(folder, text, transformers.AutoModelForSeq2SeqLM, **options)
    assert target.ids == written[:-1]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert [token.strip() for token in target.next] == [
        token.replace("▁", " ").replace("Ġ", " ").strip() for token in tokenizer.convert_ids_to_tokens(written[1:])
    ]


def test_what_it_writes_is_refused_where_it_is_too_long_and_never_cut():
    """`max_tokens` is no part of the key: another site's limit must not give another entry."""
    with pytest.raises(ValueError, match=r"The target has \d+ tokens; `max_tokens` is 8"):
        example(loaded(EN_DE), inputs(f"text: {SENTENCE}\ngenerate: {{min_new_tokens: 12}}"), 8)


# ---- attention of what was written


def unquantised(model, read, monkeypatch):
    """Return the weights of every call, in order, before they are quantised."""
    seen = []
    quantised = attention.quantised

    def look(weights):
        seen.append(weights[0].float().clone().numpy())
        return quantised(weights)

    attention.capture(Context(model, [read]))  # the model's attention map is found in passes of its own
    monkeypatch.setattr(attention, "quantised", look)
    attention.capture(Context(model, [read]))
    return seen


def step_wise(steps, layer):
    """Rows of one layer, each from the step that computed it from cached keys; (heads, rows, cols)."""
    rows = [step[layer][0].float().numpy() for step in steps]
    cols = rows[-1].shape[-1]
    return np.concatenate([np.pad(row, ((0, 0), (0, 0), (0, cols - row.shape[-1]))) for row in rows], axis=1)


@pytest.mark.parametrize("kind", ["induction", "llama"])
def test_attention_of_written_tokens_is_that_of_each_step(make_model, monkeypatch, kind):
    folder, text = (INDUCTION, TEXT) if kind == "induction" else (make_model(kind), "a b c a b")
    model = loaded(folder)
    read = example(model, inputs(f"text: {text}\ngenerate: {{max_new_tokens: 8, min_new_tokens: 8}}"), 99)
    ids = torch.tensor([read.text.ids[: read.text.generated]])
    own = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    options = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8, "use_cache": True}
    with torch.no_grad():
        made = own.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            return_dict_in_generate=True,
            output_attentions=True,
            **options,
        )
    assert made.sequences[0].tolist() == read.text.ids
    assert made.attentions[1][0].shape[2] == 1, "step-wise, with cached keys"
    found = unquantised(model, read, monkeypatch)
    assert len(found) == len(made.attentions[0])
    for layer, weights in enumerate(found):
        wanted = step_wise(made.attentions, layer)
        assert np.abs(weights[:, :-1, :-1] - wanted).max() < 1e-5


def test_cross_attention_of_written_tokens_is_that_of_each_step(monkeypatch):
    model = loaded(EN_DE)
    read = example(model, inputs(f"text: {SENTENCE}\ngenerate: {{max_new_tokens: 30}}"), 99)
    own = transformers.AutoModelForSeq2SeqLM.from_pretrained(EN_DE, attn_implementation="eager").eval()
    encoded = transformers.AutoTokenizer.from_pretrained(EN_DE)(SENTENCE, return_tensors="pt")
    options = {"do_sample": False, "num_beams": 1, "max_new_tokens": 30, "use_cache": True}
    with torch.no_grad():
        made = own.generate(
            input_ids=encoded.input_ids,
            attention_mask=encoded.attention_mask,
            return_dict_in_generate=True,
            output_attentions=True,
            **options,
        )
    found = unquantised(model, read, monkeypatch)
    layers = len(made.encoder_attentions)
    encoder, decoder, cross = found[:layers], found[layers::2], found[layers + 1 :: 2]
    for layer in range(layers):
        assert np.abs(encoder[layer] - made.encoder_attentions[layer][0].numpy()).max() < 1e-5
    assert len(decoder) == len(cross) == len(made.decoder_attentions[0])
    for layer in range(len(decoder)):
        assert np.abs(decoder[layer] - step_wise(made.decoder_attentions, layer)).max() < 1e-5
        assert np.abs(cross[layer] - step_wise(made.cross_attentions, layer)).max() < 1e-5


# ---- a conversation

TALK = "chat:\n  - {role: user, content: a b}\n  - {role: model, content: c}\n  - {role: user, content: a b}\n"


@pytest.fixture
def chat_model(make_model):
    folder = make_model("llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("writes", [False, True])
def test_a_conversation_is_written_by_the_chat_template(chat_model, writes):
    body = TALK + "generate: {max_new_tokens: 5, min_new_tokens: 5}" * writes
    given = inputs(body)
    text = example(loaded(chat_model), given, 99).text
    tokenizer = transformers.AutoTokenizer.from_pretrained(chat_model)
    ids = tokenizer.apply_chat_template(given["chat"], add_generation_prompt=writes, return_dict=True)["input_ids"]
    assert text.ids[: len(ids)] == ids
    assert text.generated == (len(ids) if writes else None)
    assert len(text.ids) == len(ids) + 5 * writes
    assert text.tokens[:4] == ["<s>", "<unk>", "a", "b"], "no second token of the beginning"


def test_a_template_that_prints_the_date_reads_the_same_every_day(chat_model, monkeypatch):
    """A block may name another date; each is a text of its own, and the figure tells its date."""
    model = loaded(chat_model)
    model.tokenizer.chat_template = "{{ strftime_now('%d %Y') }} {{ ['a', 'b', 'c', 'd'] | random }} " + CHAT
    body = "chat: [{role: user, content: a b}]"
    first = text_tokens(model, inputs(body))

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Later)
    random.seed(5)
    assert text_tokens(model, inputs(body)) == first
    assert first.date == TODAY == "2024-07-26" == first.meta()["date"]
    other = text_tokens(model, inputs(f"{body}\nchat_date: 2025-03-04"))
    assert other.date == "2025-03-04"
    model.tokenizer.chat_template = CHAT
    assert text_tokens(model, inputs(body)).date is None


def test_a_day_that_is_none():
    with pytest.raises(BlockError, match="`chat_date` is '2024-13-01'; it must be a day like 2024-07-26"):
        inputs("chat: [{role: user, content: a}]\nchat_date: 2024-13-01")
    with pytest.raises(BlockError, match="`chat_date` and `text` are both in the block"):
        inputs("text: a\nchat_date: 2024-12-01")


def test_a_chat_without_a_template():
    with pytest.raises(ValueError, match=r"`chat` needs a chat template, and the tokenizer of model .* has none"):
        example(loaded(INDUCTION), inputs(TALK), 99)


def test_a_chat_that_its_template_refuses(chat_model):
    tokenizer = transformers.AutoTokenizer.from_pretrained(chat_model)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    tokenizer.save_pretrained(chat_model)
    with pytest.raises(ValueError, match=r"`chat` does not fit the chat template of model .*: roles must alternate"):
        example(loaded(chat_model), inputs(TALK), 99)


def test_chat_and_text_exclude_each_other():
    with pytest.raises(BlockError, match="`chat` and `text` are both in the block"):
        inputs(TALK + "text: a")
