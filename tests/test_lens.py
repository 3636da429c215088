"""The logit lens against transformers itself, its last row against the model's own distribution."""

import json
import zlib

import numpy as np
import pytest
import torch
import transformers
from conftest import INDUCTION, ROOT
from tokenizers import Tokenizer, models, pre_tokenizers

from mkdocs_attnviz.models import lens
from mkdocs_attnviz.models.inputs import example
from mkdocs_attnviz.models.load import Unusable, load
from mkdocs_attnviz.models.reference import resolve
from mkdocs_attnviz.settings import Settings

torch.set_num_threads(1)

EN_DE = str(ROOT / "example_site" / "models" / "en-de")
PARAMETERS = {"top_k": 40, "final_norm": True, "watch": ["c"]}
VOCABULARY = 40
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
GPT = {
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 64,
    "vocab_size": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4, "vocab_size": 40, "pad_token_id": 0}
T5 |= {"decoder_start_token_id": 0, "eos_token_id": 2}
BART = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4}
BART |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64}
BART |= {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
BLOOM = {"hidden_size": 32, "n_layer": 3, "n_head": 4, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2}
CAUSAL = {
    "bloom": BLOOM,
    "cohere": GROUPED | {"logit_scale": 1.5},
    "gemma": GROUPED,
    "gemma2": GROUPED | {"final_logit_softcapping": 2.0},
    "gpt2": GPT,
    "gpt_neox": SMALL,
    "granite": GROUPED | {"logits_scaling": 3.0},
    "llama": GROUPED,
    "mistral": GROUPED,
    "olmo": GROUPED,
    "opt": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "phi": SMALL,
    "qwen2": GROUPED,
    "qwen3": GROUPED,
}
MASKED = {"albert": SMALL | {"embedding_size": 16}, "bert": SMALL, "distilbert": SMALL | {"dim": 32, "n_heads": 4}}
MASKED["distilbert"] |= {"n_layers": 3, "hidden_dim": 48}
WRITING = {"bart": BART, "marian": BART, "t5": T5}
AUTO = {
    "next": transformers.AutoModelForCausalLM,
    "masked": transformers.AutoModelForMaskedLM,
    "target": transformers.AutoModelForSeq2SeqLM,
}
TASKS = {"next": CAUSAL, "masked": MASKED, "target": WRITING}
ALL = [(task, name) for task, known in TASKS.items() for name in known]


def ref(model):
    return resolve(str(model), None, Settings(), ROOT)


def found_in(entry):
    return json.loads(zlib.decompress(entry.blobs["lens"]))


@pytest.fixture(scope="module")
def tokenizer():
    words = ["<pad>", "<s>", "</s>", "<unk>", *"abcdefgh", "[MASK]"]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **special)


@pytest.fixture
def make(tokenizer, tmp_path):
    """`make(task, model_type)` → a folder with a random model; small weights would hide mistakes."""

    def make(task, model_type, **more):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(model_type, **TASKS[task][model_type], **more)
        model = AUTO[task].from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
                elif "norm" in name or "ln_" in name:
                    parameter.add_(torch.rand_like(parameter))
        model.save_pretrained(tmp_path / model_type)
        tokenizer.save_pretrained(tmp_path / model_type)
        return tmp_path / model_type

    return make


def captured(folder, inputs, **parameters):
    loaded = load(ref(folder), "cpu", head=True, attention=False)
    given = example(loaded, inputs, 99)
    return loaded, given, lens.capture(loaded, [given], PARAMETERS | parameters)[0]


def dense(found, layer):
    """(T, V) of a layer of which all tokens are kept, in the order of the found vocabulary."""
    probabilities = np.zeros((len(found["top"][layer]), len(found["vocabulary"])))
    for position, (ids, values) in enumerate(zip(found["top"][layer], found["probabilities"][layer], strict=True)):
        probabilities[position, ids] = values
    return probabilities


def in_order(loaded, found, probabilities):
    """The model's own (T, V) in the order of the found vocabulary."""
    names = lens.pretty(loaded.tokenizer, list(range(probabilities.shape[-1])))
    return probabilities[:, [names.index(name) for name in found["vocabulary"]]]


@pytest.mark.parametrize(("task", "model_type"), ALL, ids=lambda part: part)
def test_the_last_layer_is_the_models_own_distribution(make, task, model_type):
    folder = make(task, model_type)
    inputs = {"text": "a b c d e f g h"} | ({"text_target": "h g f e"} if task == "target" else {})
    loaded, given, entry = captured(folder, inputs)
    model = AUTO[task].from_pretrained(folder).eval()
    ids = {"input_ids": torch.tensor([given.text.ids])}
    if given.target is not None:
        ids["decoder_input_ids"] = torch.tensor([given.target.ids])
    with torch.no_grad():
        expected = model(**ids).logits[0].softmax(-1).double().numpy()
    found = found_in(entry)
    assert entry.meta["layers"] == 3
    assert len(found["top"]) == 4
    expected = in_order(loaded, found, expected)
    assert np.abs(dense(found, -1) - expected).max() < 1e-5
    assert max(found["kl"][-1]) < 1e-5
    assert np.abs(dense(found, 0) - expected).max() > 1e-2, "the embeddings say something else"
    assert np.abs(dense(found, 1) - dense(found, 2)).max() > 1e-3, "each layer is its own"


def by_hand(folder, ids, norm, head):
    """(layers + 1, T, V) logits: transformers' hidden states, the norm and the head by their names."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        outputs = model(torch.tensor([ids]), output_hidden_states=True)
        normed = [model.get_submodule(norm)(state) for state in outputs.hidden_states[:-1]]
        raw = [model.get_submodule(head)(state)[0] for state in outputs.hidden_states[:-1]]
        rows = [model.get_submodule(head)(state)[0] for state in [*normed, outputs.hidden_states[-1]]]
    return torch.stack(rows).double(), torch.stack(raw).double()


@pytest.mark.parametrize(("model_type", "norm"), [("gpt2", "transformer.ln_f"), ("llama", "model.norm")])
def test_ranks_entropy_and_divergence(make, model_type, norm):
    folder = make("next", model_type)
    loaded, given, entry = captured(folder, {"text": "a b c d e f g h"})
    found, ids = found_in(entry), given.text.ids
    logits, raw = by_hand(folder, ids, norm, "lm_head")
    expected = logits.softmax(-1).numpy()
    for layer in range(4):
        assert np.abs(dense(found, layer) - in_order(loaded, found, expected[layer])).max() < 1e-5
    entropy = -(expected * np.log(expected)).sum(-1)
    assert np.allclose(found["entropy"], entropy, atol=1e-4)
    divergence = (expected[-1] * (np.log(expected[-1]) - np.log(expected))).sum(-1)
    assert np.allclose(found["kl"], divergence, atol=1e-4)
    for layer, position in np.ndindex(4, len(ids) - 1):
        order = (-expected[layer, position]).argsort().tolist()
        probability, rank = found["actual"][layer][position]
        assert rank == 1 + order.index(ids[position + 1])
        assert abs(probability - expected[layer, position, ids[position + 1]]) < 1e-5
        assert found["watched"][layer][position][0][1] == 1 + order.index(loaded.tokenizer.convert_tokens_to_ids("c"))
    assert [row[-1] for row in found["actual"]] == [None] * 4, "nothing follows the last token"

    _, _, entry = captured(folder, {"text": "a b c d e f g h"}, final_norm=False)
    found = found_in(entry)
    for layer in range(3):
        given_raw = in_order(loaded, found, raw[layer].softmax(-1).numpy())
        assert np.abs(dense(found, layer) - given_raw).max() < 1e-5
    assert np.abs(dense(found, 1) - in_order(loaded, found, expected[1])).max() > 1e-2


def test_a_given_output_is_known_to_its_end(make):
    _, given, entry = captured(make("target", "t5"), {"text": "a b c", "text_target": "c b"})
    found = found_in(entry)
    assert given.target.next == entry.meta["sequences"]["target"]["next"]
    assert all(pair is not None for pair in found["actual"][-1])


def test_what_a_mask_hides_is_not_known(make):
    _, _, entry = captured(make("masked", "bert"), {"text": "a [MASK] c"})
    known = [pair is not None for pair in found_in(entry)["actual"][-1]]
    assert known == [True, False, True]


def test_the_model_is_left_as_it_was(make):
    folder = make("next", "llama")
    loaded = load(ref(folder), "cpu", head=True, attention=False)
    given = example(loaded, {"text": "a b c d"}, 99)
    ids = torch.tensor([given.text.ids])
    with torch.no_grad():
        before = loaded.model(ids).logits
        lens.capture(loaded, [given], PARAMETERS)
        assert torch.equal(loaded.model(ids).logits, before)
    assert not any("forward" in vars(module) for module in loaded.model.modules())


# ---- refusals


def test_a_token_that_is_none():
    loaded = load(ref(INDUCTION), "cpu", head=True, attention=False)
    given = example(loaded, {"text": "the rabbit"}, 99)
    with pytest.raises(ValueError, match="`watch` has 'the rabbit', which is not one token") as error:
        lens.capture(loaded, [given], PARAMETERS | {"watch": ["the rabbit"]})
    assert "'the', 'rabbit'" in str(error.value)
    with pytest.raises(ValueError, match="`watch` has 'zeppelin', which is not one token"):
        lens.capture(loaded, [given], PARAMETERS | {"watch": ["zeppelin"]})


def test_no_norm_to_leave_out(make):
    with pytest.raises(ValueError, match=r"`final_norm` is false; model .* \(bert\) has no norm"):
        captured(make("masked", "bert"), {"text": "a b"}, final_norm=False)


def test_a_model_of_classes(tmp_path, tokenizer):
    config = transformers.AutoConfig.for_model("bert", **SMALL)
    transformers.AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(Unusable, match="predicts classes"):
        captured(tmp_path, {"text": "a b"})


def test_layers_that_do_not_tell_all(make):
    """A head that adds what it takes from the embeddings: the last layer alone does not say what the model says."""
    folder = make("next", "gpt2")
    loaded = load(ref(folder), "cpu", head=True, attention=False)
    seen = []
    loaded.model.transformer.wpe.register_forward_hook(lambda module, args, output: seen.append(output))
    loaded.model.transformer.ln_f.register_forward_hook(lambda module, args, output: output + 9 * seen[-1])
    with pytest.raises(Unusable, match="do not follow from the vectors of its last layer alone"):
        lens.capture(loaded, [example(loaded, {"text": "a b c d"}, 99)], PARAMETERS)
