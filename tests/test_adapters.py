"""Adapters (LoRA) are drawn as peft's own model of base and adapter is, or a sentence says why not."""

from __future__ import annotations

import json
import logging
import shutil

import decoding
import numpy as np
import peft
import pytest
import torch
import transformers
import yaml
from conftest import INDUCTION
from safetensors.torch import load_file, save_file
from test_loading import SPECIAL, TINY, tokenizer

from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.cache.lock import Lock
from mkdocs_attnviz.models.captures import attention, predictions
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine.ray.actor import NodeWorker
from mkdocs_attnviz.models.engine.registry import Registry
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import ModelRef, resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Lacking, Unusable, load
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views.attention.capture import ATTENTION

COMMIT_A, COMMIT_B = "a" * 40, "b" * 40
TEXT = {"induction": "the fox saw the owl and the fox saw the", "bert": "a b c d e a c"}


def randomly(model, scale):
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn_like(parameter) * scale)
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A site with a tiny BERT, and adapters over it and over the committed GPT-2."""
    site = tmp_path_factory.mktemp("adapters")
    torch.manual_seed(3)
    bert = transformers.BertForMaskedLM(transformers.BertConfig(**TINY))
    bert.save_pretrained(site / "base")
    tokenizer().save_pretrained(site / "base")
    transformers.BertModel(transformers.BertConfig(**TINY)).save_pretrained(site / "pooled")
    tokenizer().save_pretrained(site / "pooled")
    shutil.copytree(INDUCTION, site / "induction")

    def adapt(name, kind, base, **settings):
        model = kind.from_pretrained(site / base, **settings.pop("model", {}))
        model.name_or_path = base
        config = peft.LoraConfig(r=3, lora_alpha=9, lora_dropout=0.5, **settings)
        randomly(peft.get_peft_model(model, config), 0.3).save_pretrained(site / name, save_embedding_layers=False)
        change_config(site / name, base_model_name_or_path=base)

    adapt("of-bert", transformers.BertForMaskedLM, "base", target_modules=["query", "key", "dense"])
    adapt(
        "of-induction",
        transformers.AutoModelForCausalLM,
        "induction",
        target_modules=["c_attn"],
        fan_in_fan_out=True,
        task_type="CAUSAL_LM",
    )
    adapt(
        "labels",
        transformers.AutoModelForSequenceClassification,
        "pooled",
        model={"num_labels": 5},
        target_modules=["query", "value"],
        task_type="SEQ_CLS",
    )
    return site


@pytest.fixture
def site(made, tmp_path):
    """Return a copy of the site that a test may change."""
    return shutil.copytree(made, tmp_path / "site")


def change_config(folder, without=(), **changes):
    file = folder / "adapter_config.json"
    known = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in known.items() if key not in without}))


def change_weights(folder, change, name="adapter_model.safetensors"):
    file = folder / name
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def loaded(site, name, *, head=False, **settings):
    return load(resolve(name, None, Settings(**settings), site), "cpu", head=head, attention=not head)


def told(site, name, **settings):
    """Return the sentence that says why the model is not drawn, wherever that is noticed."""
    with pytest.raises((Unusable, BlockError)) as caught:
        loaded(site, name, **settings)
    assert "Error" not in str(caught.value)
    return str(caught.value)


# ---- What is drawn


@pytest.mark.parametrize(
    ("name", "kind", "base", "text"),
    [
        ("of-bert", transformers.BertForMaskedLM, "base", TEXT["bert"]),
        ("of-induction", transformers.AutoModelForCausalLM, "induction", TEXT["induction"]),
        ("labels", transformers.AutoModelForSequenceClassification, "pooled", TEXT["bert"]),
    ],
)
@pytest.mark.parametrize("head", [False, True])
def test_attention_is_that_of_pefts_own_model(made, name, kind, base, text, head):
    model = loaded(made, name, head=head)
    read = example(model, {"text": text}, 99)
    entry = attention.capture(Context(model, [read]))[0]
    more = {"num_labels": 5} if name == "labels" else {}
    plain = kind.from_pretrained(made / base, attn_implementation="eager", **more).eval()
    ids = torch.tensor([read.text.ids])
    with torch.no_grad():
        before = plain(ids, output_attentions=True)
        before = [each.clone() for each in before.attentions]
        truth = peft.PeftModel.from_pretrained(plain, made / name).eval()(input_ids=ids, output_attentions=True)
    for number, weights in enumerate(truth.attentions):
        found = decoding.weights(entry, "self", number)
        assert np.abs(found - weights[0].numpy()).max() < 0.004
    last = len(before) - 1
    assert np.abs(decoding.weights(entry, "self", last) - before[last][0].numpy()).max() > 0.05
    with torch.no_grad():
        assert torch.allclose(model.logits(model_inputs(ids)), truth.logits, atol=1e-4)


def model_inputs(ids):
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_predictions_of_labels_that_the_base_has_not(made):
    model = loaded(made, "labels", head=True)
    assert model.task == "classes"
    assert model.model.config.num_labels == 5
    assert predictions.capture(Context(model, [example(model, {"text": TEXT["bert"]}, 99)], {"top_k": 3}))


def test_modules_that_were_saved_whole_and_a_tokenizer_of_its_own(site):
    model = transformers.BertForMaskedLM.from_pretrained(site / "base")
    config = peft.LoraConfig(r=2, target_modules=["query"], modules_to_save=["word_embeddings"])
    randomly(peft.get_peft_model(model, config), 0.5).save_pretrained(site / "saved")
    change_config(site / "saved", base_model_name_or_path="base")
    own = tokenizer()
    own.add_special_tokens({"mask_token": "[UNK]"})
    own.save_pretrained(site / "saved")
    found = loaded(site, "saved")
    assert found.tokenizer.mask_token == "[UNK]"
    embedding = found.model.get_input_embeddings().weight
    weights = load_file(site / "saved" / "adapter_model.safetensors")
    (kept,) = (value for name, value in weights.items() if "word" in name)
    assert torch.equal(embedding, kept)


# ---- What is not


def test_without_peft(made, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    assert "needs peft; install it with `pip install 'attnviz[adapters]'`" in told(made, "of-bert")


def test_weights_that_are_missing_or_have_no_place(site):
    name = "base_model.model.bert.encoder.layer.1.attention.self.query.lora_A.weight"
    change_weights(site / "of-bert", lambda all: {key: value for key, value in all.items() if key != name})
    why = told(site, "of-bert")
    assert "does not fit its base, 'base': its file lacks 'base_model.model.bert.encoder.layer.1" in why
    change_weights(site / "labels", lambda all: all | {"base_model.model.other.lora_A.weight": torch.ones(3)})
    assert "and its base has no place for: 'base_model.model.other.lora_A" in told(site, "labels")
    change_weights(site / "labels", lambda all: {key: value for key, value in all.items() if "classifier" not in key})
    assert "does not fit its base, 'pooled': " in told(site, "labels", head=True)


def test_a_base_of_another_shape_or_another_kind(site):
    config = transformers.BertConfig(**TINY | {"hidden_size": 16})
    transformers.BertForMaskedLM(config).save_pretrained(site / "base")
    name = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.default.weight"
    assert f"'{name}' is (3, 32) in its file and (3, 16) in its base" in told(site, "of-bert")
    change_config(site / "of-bert", base_model_name_or_path="induction")
    assert "is an adapter for a BertForMaskedLM, and its base, 'induction', is none" in told(site, "of-bert")


def test_a_head_that_neither_has(site):
    linear = ["query", "key", "output.dense", "intermediate.dense"]  # the pooler's has another name
    change_config(site / "of-bert", task_type="FEATURE_EXTRACTION", target_modules=linear)
    change_weights(
        site / "of-bert",
        lambda all: {k.replace(".bert.", "."): v for k, v in all.items() if ".bert." in k},
    )
    model = loaded(site, "of-bert", head=True)
    with pytest.raises((Lacking, Unusable, ValueError), match="predicts neither tokens nor classes"):
        predictions.capture(Context(model, [example(model, {"text": TEXT["bert"]}, 99)], {"top_k": 3}))


def test_weights_that_base_and_adapter_lack(site):
    file = site / "base" / "model.safetensors"
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file({k: v for k, v in load_file(file).items() if k != name}, file, metadata={"format": "pt"})
    assert f"'of-bert over base' is not complete, and would be drawn with random numbers: its files lack '{name}'" in (
        told(site, "of-bert")
    )


def test_pickled_weights(site):
    folder = site / "of-bert"
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    assert "`use_safetensors: false` for it in the site's `models` if you trust" in told(site, "of-bert")
    mine = {"mine": {"model": "of-bert", "use_safetensors": False}}
    assert loaded(site, "mine", models=mine).model.dtype == torch.float32
    (folder / "adapter_model.bin").unlink()
    assert "is an adapter without adapter_model.safetensors." in told(site, "of-bert")


def test_what_base_and_adapter_share_when_they_are_merged(site):
    """The output's weights are the embedding's: merged, an adapter of one would change both."""
    model = transformers.AutoModelForCausalLM.from_pretrained(site / "induction", tie_word_embeddings=True)
    assert model.config.tie_word_embeddings
    config = peft.LoraConfig(r=2, target_modules=["lm_head"], task_type="CAUSAL_LM")
    randomly(peft.get_peft_model(model, config), 0.5).save_pretrained(site / "tied", save_embedding_layers=False)
    change_config(site / "tied", base_model_name_or_path="induction")
    assert "gives other numbers once it is merged" in told(site, "tied")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "of the kind PREFIX_TUNING, which cannot be merged"),
        ({"peft_type": "LATER"}, r"of a kind that peft \S+ has not, 'LATER'"),
        ({"later_option": True}, r"does not know \(later_option\)"),
        ({"megatron_config": {"a": 1}}, "for Megatron"),
        ({"target_modules": ["nothing"]}, "does not fit its base, 'base': "),
        ({"base_model_name_or_path": None}, "does not say of which model"),
        ({"base_model_name_or_path": ["base"]}, "does not say of which model"),
        ({"base_model_name_or_path": "of-induction"}, "Model 'of-induction' is an adapter itself"),
        ({"base_model_name_or_path": "of-bert"}, "Model 'of-bert' is an adapter itself"),
        ({"base_model_name_or_path": "../no where"}, "its base cannot be used: Model '../no where' is no directory"),
        ({"revision": 3}, "has the `revision` 3"),
        ({"revision": "main"}, "the revision in adapter_config.json is 'main', but model 'base' is a directory"),
    ],
)
def test_configurations_that_cannot_be_followed(site, changes, sentence):
    change_config(site / "of-bert", **changes)
    with pytest.raises((Unusable, BlockError), match=sentence):
        loaded(site, "of-bert")


def test_a_whole_model_beside_an_adapter(site):
    shutil.copy(site / "base" / "config.json", site / "of-bert")
    assert loaded(site, "of-bert").ref.base.name == "base"  # a configuration alone is not read
    shutil.copy(site / "base" / "model.safetensors", site / "of-bert")
    assert "holds both an adapter (adapter_config.json) and a whole model (model.safetensors)" in told(site, "of-bert")


def test_an_adapter_on_the_hub(tmp_path, monkeypatch, made):
    """transformers would apply it to whatever its configuration names."""
    monkeypatch.setattr("transformers.utils.find_adapter_config_file", lambda *_, **__: "adapter_config.json")
    with pytest.raises(Unusable, match="is, on the hub, an adapter"):
        load(resolve("org/m", COMMIT_A, Settings(), tmp_path), "cpu")


# ---- What it is known by


def key(ref):
    return Request(ATTENTION, ref, {"text": "a"}).key


def test_adapter_and_base_are_in_the_identity(site):
    before = resolve("of-bert", None, Settings(), site)
    assert key(before) == key(resolve("of-bert", None, Settings(), site))
    assert key(before) != key(resolve("base", None, Settings(), site))
    change_weights(site / "of-bert", lambda all: {name: value * 2 for name, value in all.items()})
    changed = resolve("of-bert", None, Settings(), site)
    assert key(changed) != key(before)
    (site / "base" / "vocab.txt").write_text("x")
    assert key(resolve("of-bert", None, Settings(), site)) not in (key(changed), key(before))
    assert changed == ModelRef.from_dict(json.loads(json.dumps(changed.to_dict())))


@pytest.fixture
def on_hub(site, monkeypatch):
    """The adapter's base is the hub's, at commit a, which this machine knows."""
    monkeypatch.setenv("HF_HUB_CACHE", str(site / "hub"))
    refs = site / "hub" / "models--org--base" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT_A)
    change_config(site / "of-bert", base_model_name_or_path="org/base")
    return site


def test_a_base_of_the_hub_is_locked_under_its_own_name(on_hub):
    lock = Lock(on_hub / "attnviz.lock", logging.getLogger())
    registry = Registry(Settings(), on_hub, lock, None, logging.getLogger())
    found = resolve("of-bert", None, Settings(), on_hub)
    assert registry.wants(found)
    registry.record(found, {})
    assert not registry.wants(found)
    assert lock.known["org/base"].identity == f"commit:org/base@{COMMIT_A}"
    assert lock.known["of-bert"].identity == found.identity
    (on_hub / "hub" / "models--org--base" / "refs" / "main").write_text(COMMIT_B)
    locked = {name: each.identity for name, each in lock.known.items()}
    again = resolve("of-bert", None, Settings(), on_hub, locked)
    assert again.identity == found.identity
    assert [part.moved for part in again.parts] == [None, again.base.moved]
    assert again.base.moved.kind == "moved"
    assert resolve("of-bert", None, Settings(), on_hub).identity != found.identity
    shutil.rmtree(on_hub / "of-bert")
    assert resolve("of-bert", None, Settings(), on_hub, locked).identity == found.identity


def test_a_lock_file_that_contradicts_the_base(on_hub):
    locked = {"org/base": f"commit:org/other@{COMMIT_B}"}
    with pytest.raises(BlockError, match=r"is an adapter, and its base cannot be used: The lock file says"):
        resolve("of-bert", None, Settings(), on_hub, locked)
    trusted = Settings(models={"org/base": {"model": "org/base", "trust_remote_code": True}})
    locked = {"org/base + code": f"commit:org/base@{COMMIT_B}"}
    assert "only the lock file says at which commit" in resolve("of-bert", None, trusted, on_hub, locked).absent


def test_the_base_that_nobody_has_looked_up(on_hub):
    (on_hub / "hub" / "models--org--base" / "refs" / "main").unlink()

    class Worker:
        def hub_commit(self, model):
            assert model.path == "org/base"
            return COMMIT_B

    found = resolve("of-bert", None, Settings(), on_hub)
    assert found.identity is None
    lock = Lock(on_hub / "attnviz.lock", logging.getLogger())
    asked = Registry(Settings(), on_hub, lock, Worker(), logging.getLogger())._ask_hub(found)
    assert asked.base.identity == f"commit:org/base@{COMMIT_B}"
    assert asked.identity == found.over(asked.base).identity is not None


def test_a_node_of_a_cluster_has_both_or_neither(site):
    found = resolve("of-bert", None, Settings(), site)
    assert NodeWorker()._found_here(found) == found
    (site / "base" / "vocab.txt").write_text("x")
    assert NodeWorker()._found_here(found) is None
    found = resolve("of-bert", None, Settings(), site)
    change_config(site / "of-bert", lora_alpha=1)
    assert NodeWorker()._found_here(found) is None


# ---- Trust


def test_the_base_is_one_that_a_block_could_name(on_hub):
    listed = Settings(only_listed_models=True, models={"mine": "of-bert"})
    with pytest.raises(BlockError, match=r"its base cannot be used: Model 'org/base' is not listed"):
        resolve("mine", None, listed, on_hub)
    both = Settings(only_listed_models=True, models={"mine": "of-bert", "org/base": "base"})
    assert resolve("mine", None, both, on_hub).base.path == str(on_hub / "base")
    change_config(on_hub / "of-bert", revision=COMMIT_B)
    with pytest.raises(BlockError, match=r"the revision in adapter_config.json is 'b*', but which revision"):
        resolve("mine", None, both, on_hub)
    assert resolve("of-bert", None, Settings(), on_hub).base.identity == f"commit:org/base@{COMMIT_B}"
    pinned = Settings(models={"org/base": {"model": "org/base", "revision": COMMIT_B}}, only_listed_models=False)
    assert resolve("of-bert", None, pinned, on_hub).base.revision == COMMIT_B


def test_trust_in_an_adapter_is_no_trust_in_its_base(site):
    mine = {"model": "of-bert", "trust_remote_code": True, "use_safetensors": False, "dtype": "float16"}
    found = resolve("mine", None, Settings(models={"mine": mine}), site)
    assert not found.base.trust_remote_code
    assert found.base.use_safetensors
    assert found.base.dtype == found.dtype == "float16"
    other = Settings(models={"base": {"model": "base", "trust_remote_code": True}})
    found = resolve("of-bert", None, other, site)
    assert found.base.trust_remote_code
    assert not found.trust_remote_code


def test_code_of_a_base_that_is_not_trusted(site):
    config = json.loads((site / "base" / "config.json").read_text())
    (site / "base" / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.Own"}}))
    mine = {"mine": {"model": "of-bert", "trust_remote_code": True}}
    assert "Model 'base' needs Python code of its own" in told(site, "mine", models=mine)


def test_code_of_an_adapters_tokenizer(site):
    config = {**SPECIAL, "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (site / "of-bert" / "tokenizer_config.json").write_text(json.dumps(config))
    mine = {"base": {"model": "base", "trust_remote_code": True}}
    assert "Model 'of-bert' needs Python code of its own" in told(site, "of-bert", models=mine)


def test_a_base_outside_by_a_link(site, tmp_path):
    (tmp_path / "outside.json").write_text("{}")
    (site / "of-bert" / "adapter_config.json").unlink()
    (site / "of-bert" / "adapter_config.json").symlink_to(tmp_path / "outside.json")
    assert "as a link that leads out of its directory" in told(site, "of-bert")


# ---- A site


BLOCKS = """```attention
model: of-induction
text: the fox saw the owl and the fox saw the
```

```attention
model: of-induction
view: predict
text: the fox saw the owl and the
generate: {max_new_tokens: 2}
interventions:
- layer: 0
  heads: 0
```
"""


def test_a_site(made, cold_site):
    for name in ("of-induction", "induction"):
        shutil.copytree(made / name, cold_site.folder / name)
    cold_site.settings["models"] = {}
    cold_site.write("index.md", BLOCKS)
    built = cold_site.build("--strict")
    assert built.returncode == 0, built.log
    locked = yaml.safe_load((cold_site.folder / "attnviz.lock").read_text())["models"]
    assert set(locked) == {"of-induction", "induction"}
    cold_site.settings["on_missing"] = "error"
    assert cold_site.build("--strict").returncode == 0
    change_weights(cold_site.folder / "induction", lambda all: all | {"more": torch.ones(1)}, "model.safetensors")
    assert "does not hold the tensors of 2 figures" in cold_site.build("--strict").log
