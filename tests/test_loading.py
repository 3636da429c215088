"""Directories as people have them: what is drawn of them is right, or a sentence says why nothing is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import decoding
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.models.captures import attention, predictions
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.errors import error_message
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Lacking, Unusable, load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.svg.token_flow import json_of

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "e"]
SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
TINY = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
T5 = {"d_model": 32, "d_ff": 48, "d_kv": 8, "num_layers": 2, "num_heads": 4, "tie_word_embeddings": False}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(class, **settings)` → a folder with a small random model of that class, and its tokenizer."""
    known = {}

    def make(kind, **settings):
        key = (kind.__name__, *sorted(settings.items()))
        if key not in known:
            torch.manual_seed(3)
            known[key] = tmp_path_factory.mktemp(kind.__name__)
            model = kind(kind.config_class(**TINY | settings))
            with torch.no_grad():  # small random weights give nearly uniform attention, which would hide mistakes
                for parameter in model.parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(6)
            model.save_pretrained(known[key])
            tokenizer().save_pretrained(known[key])
        return known[key]

    return make


@pytest.fixture
def copied(made, tmp_path):
    """Return a function that copies the model into a folder that a test may change."""

    def copy(kind, **settings):
        return shutil.copytree(made(kind, **settings), tmp_path / kind.__name__)

    return copy


def tokenizer():
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def loaded(folder, *, head=False, **settings):
    return load(resolve(str(folder), None, Settings(**settings), Path("/")), "cpu", head=head, attention=not head)


def change_weights(folder, change):
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def change_json(folder, name="config.json", without=(), **changes):
    file = folder / name
    known = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in known.items() if key not in without}))


def check_attention(model):
    """Compare every layer with transformers' own, of the same weights in the class that they were saved as."""
    read = example(model, {"text": "a b c d"}, 99)
    entry = attention.capture(Context(model, [read]))[0]
    own = getattr(transformers, model.model.config.architectures[0])
    truth = own.from_pretrained(model.ref.path, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = truth(torch.tensor([read.text.ids]), output_attentions=True).attentions
    for number, weights in enumerate(expected):
        assert np.abs(decoding.weights(entry, "self", number) - weights[0].numpy()).max() < 0.004


# ---- Weights that are missing


def prefixed(weights):
    return {f"_orig_mod.{name}": value for name, value in weights.items()}


@pytest.mark.parametrize(("kind", "head"), [(transformers.BertModel, False), (transformers.BertForMaskedLM, True)])
def test_weights_under_other_names_are_not_made_up(copied, kind, head):
    """Models that went through `torch.compile` are saved like this."""
    folder = copied(kind)
    change_weights(folder, prefixed)
    with pytest.raises(
        Unusable, match=r"its files lack '.*embeddings\.\w+.*' and \d+ more; .* begin with '_orig_mod\.'"
    ):
        loaded(folder, head=head)


@pytest.mark.parametrize(
    "name",
    [
        "embeddings.token_type_embeddings.weight",
        "encoder.layer.1.attention.self.query.weight",
        "encoder.layer.1.output.dense.bias",
        "embeddings.LayerNorm.bias",
    ],
)
def test_a_weight_that_is_missing(copied, name):
    folder = copied(transformers.BertModel)
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if key != name})
    with pytest.raises(Unusable, match=f"would be drawn with random numbers: its files lack '{name}'\\.$"):
        loaded(folder)


def test_what_no_figure_is_made_from_may_be_missing(copied):
    folder = copied(transformers.BertModel)
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if "pooler" not in key})
    check_attention(loaded(folder))


def test_nothing_can_be_drawn_from_what_is_missing(copied):
    """A figure that did read the missing weights after all would get NaN."""
    folder = copied(transformers.BertModel)
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if "pooler" not in key})
    assert loaded(folder).model.pooler.dense.weight.isnan().all()


def test_weights_of_another_shape(copied):
    folder = copied(transformers.BertModel)
    change_json(folder, vocab_size=12)
    with pytest.raises(Unusable, match=r"other shapes .* is \(10, 32\) in its files and \(12, 32\) by its config"):
        loaded(folder)


def test_a_head_that_is_missing(copied):
    folder = copied(transformers.BertForMaskedLM)
    change_weights(folder, lambda weights: {key: value for key, value in weights.items() if "transform" not in key})
    with pytest.raises(
        Lacking, match=r"no trained head: its files lack the weights of cls\.predictions\.transform\.Layer"
    ):
        loaded(folder, head=True)
    assert type(loaded(folder).model) is transformers.BertModel


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (transformers.LlamaForQuestionAnswering, {}),  # whose body has another name than that of other heads
        (transformers.Qwen2ForQuestionAnswering, {"num_key_value_heads": 4}),
        (transformers.T5EncoderModel, T5),
        (transformers.BartForCausalLM, {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4}),
    ],
)
def test_a_body_that_only_its_own_class_finds(made, kind, settings):
    """transformers' class without a head finds none of these weights, or has two halves where the files have one."""
    model = loaded(made(kind, **settings))
    assert type(model.model) is kind
    check_attention(model)


# ---- Code of the model's own

CODE = """
import torch
from transformers import BertModel, BertForMaskedLM

class TurnedModel(BertModel):
    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        return super().forward(input_ids=input_ids.flip(1), **kwargs)

class TurnedForMaskedLM(BertForMaskedLM):
    def __init__(self, config):
        super().__init__(config)
        self.bert = TurnedModel(config, add_pooling_layer=False)
        self.register_buffer("allowed", torch.arange(3) < 2, persistent=False)
        self.post_init()
"""
OWN = {"AutoModelForMaskedLM": "own.TurnedForMaskedLM", "AutoModel": "own.TurnedModel"}


def with_code(folder, auto_map, **more):
    (folder / "own.py").write_text(CODE)
    change_json(folder, auto_map=auto_map, **more)
    return folder


@pytest.mark.parametrize("head", [False, True])
def test_own_code_of_a_known_type_is_not_run_without_trust(copied, head):
    folder = with_code(copied(transformers.BertForMaskedLM), OWN)
    with pytest.raises(Unusable, match=r"needs Python code of its own to run .* `trust_remote_code: true`"):
        loaded(folder, head=head)


def test_a_tokenizer_of_its_own_is_not_run_without_trust(copied):
    folder = copied(transformers.BertModel)
    change_json(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["own.OwnTokenizer", None]})
    with pytest.raises(Unusable, match="needs Python code of its own"):
        loaded(folder)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("auto", [OWN, {"AutoModelForMaskedLM": "own.TurnedForMaskedLM"}])
@pytest.mark.parametrize("saved", ["BertForMaskedLM", "TurnedForMaskedLM"])
def test_own_code_of_a_known_type_is_followed(copied, head, auto, saved):
    folder = with_code(copied(transformers.BertForMaskedLM), auto, architectures=[saved])
    model = loaded(folder, head=head, trust_remote_code=True)
    assert type(model.model).__name__.startswith("Turned")
    plain = transformers.BertForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    read = example(model, {"text": "a b c d"}, 99)
    with torch.no_grad():
        turned = plain(torch.tensor([read.text.ids[::-1]]), output_attentions=True)
        outputs = model.model(torch.tensor([read.text.ids]), output_attentions=True)
    for one, other in zip(turned.attentions, outputs.attentions, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    if head:
        assert model.task == "masked"
        assert torch.allclose(turned.logits, outputs.logits, atol=1e-5)


def test_own_code_without_a_head(copied):
    folder = with_code(copied(transformers.BertForMaskedLM), {"AutoModel": "own.TurnedModel"})
    with pytest.raises(Lacking, match=r"none of its classes has a head"):
        loaded(folder, head=True, trust_remote_code=True)


def test_what_own_code_computes_when_it_is_constructed(copied):
    """transformers leaves such buffers uninitialised."""
    folder = with_code(copied(transformers.BertForMaskedLM), OWN)
    for _ in range(3):
        model = loaded(folder, head=True, trust_remote_code=True).model
        assert model.allowed.tolist() == [True, True, False]


def test_own_code_that_is_not_there(copied):
    folder = copied(transformers.BertModel)
    change_json(folder, auto_map=OWN)
    with pytest.raises(Unusable, match=r"does not appear to have a file named own\.py\.$"):
        loaded(folder, trust_remote_code=True)


ELSEWHERE = "org/code--own.Turned"


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoConfig": ELSEWHERE}),
        ("config.json", {**OWN, "AutoModel": ELSEWHERE}),
        ("config.json", {"AutoTokenizer": [None, ELSEWHERE]}),
        ("tokenizer_config.json", {"AutoTokenizer": ["own.OwnTokenizer", ELSEWHERE]}),
        ("tokenizer_config.json", [ELSEWHERE, None]),
    ],
)
def test_trusted_code_of_another_repository(copied, monkeypatch, file, auto_map):
    """No identity knows the commit that a branch of the hub has, so nothing is asked of it."""

    def fetched(*_, **__):
        raise AssertionError("code was looked for elsewhere")

    monkeypatch.setattr("transformers.dynamic_module_utils.get_cached_module_file", fetched)
    folder = with_code(copied(transformers.BertForMaskedLM), {})
    change_json(folder, file, auto_map=auto_map)
    with pytest.raises(Unusable, match=rf"takes code from another repository, 'org/code' \(`auto_map` in its {file}"):
        loaded(folder, trust_remote_code=True)


def test_trusted_code_outside_of_the_directory(copied, tmp_path):
    (tmp_path / "elsewhere.py").write_text(CODE)
    folder = copied(transformers.BertForMaskedLM)
    change_json(folder, auto_map={"AutoModelForMaskedLM": f"{tmp_path}/elsewhere.TurnedForMaskedLM"})
    with pytest.raises(Unusable, match="takes code from outside of its directory"):
        loaded(folder, trust_remote_code=True)


# ---- Tokenizers


@pytest.mark.parametrize("kept", [(), ("tokenizer_config.json",)])
@pytest.mark.parametrize("kind", ["bert", "t5", "gpt2", "llama", "xlm-roberta", "ctrl"])
def test_no_tokenizer(tmp_path, kept, kind):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    for name in kept:
        (tmp_path / name).write_text("{}")
    with pytest.raises(Unusable, match=r"has no tokenizer: .* there is no vocabulary, such as tokenizer\.json"):
        loaded(tmp_path)


def test_half_a_tokenizer(copied):
    folder = copied(transformers.BertModel)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(["a b c"], vocab_size=260)
    for file in folder.glob("token*"):
        file.unlink()
    trained.save_model(str(folder))
    change_json(folder, model_type="gpt2")
    (folder / "merges.txt").unlink()
    with pytest.raises(Unusable, match=r"half a tokenizer: beside its vocab\.json there is no merges\.txt"):
        loaded(folder)


def test_a_tokenizer_that_is_damaged(copied):
    folder = copied(transformers.BertModel)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(Unusable, match=r"^The tokenizer of model '.*' cannot be read from tokenizer\.json: "):
        loaded(folder)


def test_a_vocabulary_that_is_larger_than_the_embedding(made):
    """Texts of the tokens that the model has are read."""
    model = loaded(made(transformers.BertModel, vocab_size=8))
    assert example(model, {"text": "a b c"}, 99).text.ids == [2, 5, 6, 7, 3]
    with pytest.raises(ValueError, match="gives 'e' the number 9, and the model knows tokens 0 to 7"):
        example(model, {"text": "a e"}, 99)


# ---- Models with more heads, or none that is named


def test_a_class_with_two_heads(made):
    folder = made(transformers.BertForPreTraining)
    model = loaded(folder, head=True)
    entry = predictions.capture(Context(model, [example(model, {"text": "a [MASK] c"}, 99)], {"top_k": 5}))[0]
    found = json_of(entry.blobs["predictions"])
    truth = transformers.BertForPreTraining.from_pretrained(folder).eval()
    with torch.no_grad():
        shares = truth(torch.tensor([[2, 5, 4, 7, 3]])).prediction_logits[0, 2].softmax(-1)
    assert np.allclose(found["probabilities"][2], shares.topk(5).values.numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        (transformers.BertForMaskedLM, "masked"),
        (transformers.BertForSequenceClassification, "classes"),
        (transformers.GPT2LMHeadModel, "next"),
        (transformers.T5ForConditionalGeneration, "target"),
    ],
)
def test_a_configuration_that_names_no_class(copied, kind, task):
    folder = copied(kind, **(T5 if task == "target" else {}))
    change_json(folder, without=["architectures"])
    assert loaded(folder, head=True).task == task


@pytest.mark.parametrize("kind", [transformers.BertModel, transformers.ElectraForPreTraining])
def test_no_head_and_none_that_is_named(copied, kind):
    folder = copied(kind)
    change_json(folder, without=["architectures"])
    with pytest.raises(Lacking, match="was saved without a head that predicts tokens, classes, labels or"):
        loaded(folder, head=True)


# ---- Models of other things than text


@pytest.mark.parametrize("model_type", ["vit", "wav2vec2"])
def test_a_model_that_reads_no_text(tmp_path, model_type):
    transformers.AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    with pytest.raises(Unusable, match=r"reads no text; what it reads is `(pixel|input)_values`"):
        loaded(tmp_path)


def test_a_model_that_does_not_do_with_text_alone(tmp_path):
    text = {**TINY, "max_position_embeddings": 20, "bos_token_id": 2, "eos_token_id": 3}
    vision = {**TINY, "image_size": 8, "patch_size": 4}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(Unusable, match=r"\(clip\) does not run on text alone: beside it, it reads `pixel_values`"):
        loaded(tmp_path)


# ---- Models in other forms


def in_one_sentence(folder, **settings):
    """Return the sentence that says why the model is not drawn, wherever that is noticed."""
    with pytest.raises((Unusable, BlockError)) as caught:
        loaded(folder, **settings)
    return str(caught.value)


@pytest.mark.parametrize("alone", [True, False])
def test_gguf(copied, alone):
    folder = copied(transformers.BertModel)
    (folder / "model.safetensors").rename(folder / "small.gguf")
    if alone:
        (folder / "config.json").unlink()
        assert "gguf_file='small.gguf'" in in_one_sentence(folder / "small.gguf")
    assert "has its weights in GGUF" in in_one_sentence(folder)


# ---- What libraries say


@pytest.mark.parametrize(
    "error",
    [
        KeyError("hidden_size"),
        NotImplementedError(),
        OSError("first line\n\nsecond line"),
        ImportError("\nX requires the SentencePiece library\nbut it was not found."),
        RuntimeError("\x1b[1mred\x1b[0m " + "word " * 500),
    ],
)
def test_errors_of_libraries_are_told_whole_and_without_their_names(error):
    text = error_message(error)
    assert "Error" not in text
    assert "\n" not in text
    assert "\x1b" not in text
    assert len(text) <= 402
    assert error_message(OSError("first line\n\nsecond line")) == "first line second line"
    assert error_message(NotImplementedError()) == "not implemented"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", "{}"),
        ("config.json", '{"model_type": "no-such-type"}'),
        ("config.json", '{"model_type": "bert", "num_hidden_layers": "two"}'),
        ("config.json", '{"model_type": "bert", "hidden_size": 33, "num_attention_heads": 4}'),
        ("model.safetensors", ""),
        ("model.safetensors", "no weights at all, but a text of some length"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", '{"tokenizer_class": 5}'),
        ("generation_config.json", "{"),
    ],
)
def test_a_damaged_file(copied, file, content):
    folder = copied(transformers.BertModel)
    (folder / file).write_text(content)
    try:
        loaded(folder)
    except Unusable as error:
        told = str(error)
    else:
        told = ""
        assert file == "generation_config.json"
    assert not re.search(r"\w(Error|Exception)\b|Traceback|\n", told), told
    assert told == "" or told.startswith(("Model '", "The tokenizer of model '"))
