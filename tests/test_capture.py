"""Captured attention equals transformers' own, and capturing changes nothing."""

import functools
import os
import re
import signal
import zlib

import decoding
import numpy as np
import pytest
import tiny_models
import torch
import transformers
from conftest import INDUCTION, MINILM, ROOT
from tokenizers import Tokenizer, models, pre_tokenizers
from warm_workers import fork_of

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import attention, scores
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine import client
from mkdocs_attnviz.models.engine.client import Captured, ModelFailed, Refused, Worker
from mkdocs_attnviz.models.engine.loaded_models import LoadedModels
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.inputs.tokens import Example, tokenize
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.models.probing.attention_calls import recording
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.attention.options import select

torch.set_num_threads(1)

# The largest error of round(255·√p): p = (254.5/255)² is stored as 1.
QUANTISATION = 0.00392

TEXTS = {
    5: "Attention is all",
    17: "The animal did not cross the street because it was too tired to move.",
    44: "When the turtle finally reached the gate, the rabbit, which had slept under a tree for most of the "
    "afternoon, woke up, rubbed its eyes and saw with some dismay that the race was over and lost.",
    82: "Transformers replaced recurrence by attention. " * 9 + "Nothing else was needed, they said.",
    198: " ".join(f"Sentence number {n} says that dogs chase cats, and cats chase mice." for n in range(14)),
}


def ref(model):
    return resolve(model, None, Settings(), ROOT)


def probabilities(entry, layer, stack="self"):
    """Return the probabilities of a layer, (heads, rows, cols)."""
    return decoding.weights(entry, stack, layer)


@functools.lru_cache(4)
def loaded_plainly(folder):
    """Return the tokenizer and the model, or its encoder, as transformers loads them."""
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, model.get_encoder() if model.config.is_encoder_decoder else model


def expected(folder, text, text_pair=None):
    """Return transformers' own `output_attentions`, eager, without any of our code."""
    tokenizer, model = loaded_plainly(folder)
    with torch.no_grad():
        outputs = model(**tokenizer(text, text_pair, return_tensors="pt"), output_attentions=True)
    return [layer[0].float().numpy() for layer in outputs.attentions]


def assert_equal(entry, truth, stack="self"):
    assert len(entry.meta["stacks"][stack]["layers"]) == len(truth)
    for layer, weights in enumerate(truth):
        assert np.abs(probabilities(entry, layer, stack) - weights).max() <= QUANTISATION


@pytest.fixture(scope="module")
def minilm():
    return load(ref(MINILM), "cpu")


@pytest.mark.parametrize("text", TEXTS.values(), ids=[f"{length} tokens" for length in TEXTS])
def test_minilm_equals_output_attentions(minilm, text):
    entry = attention.capture(Context(minilm, [Example(tokenize(minilm.tokenizer, text, None))]))[0]
    assert_equal(entry, expected(minilm.ref.path, text))


def test_a_pair_and_its_boundary(minilm):
    texts = ("the rabbit quickly hopped", "The turtle slowly crawled")
    entry = attention.capture(Context(minilm, [Example(tokenize(minilm.tokenizer, *texts))]))[0]
    text = entry.meta["sequences"]["text"]
    assert text["tokens"][: text["sentence_b_start"]] == ["[CLS]", "the", "rabbit", "quickly", "hopped", "[SEP]"]
    assert text["special"] == [0, 5, 10]
    assert text["words"] == [None, 0, 1, 2, 3, None, 4, 5, 6, 7, None]
    assert_equal(entry, expected(minilm.ref.path, *texts))


def test_relative_error_of_weights_that_count(minilm):
    """Weights above 0.002 are off by less than 10% at the 95th percentile, on a long text."""
    entry = attention.capture(Context(minilm, [Example(tokenize(minilm.tokenizer, TEXTS[198], None))]))[0]
    truth = np.stack(expected(minilm.ref.path, TEXTS[198]))
    found = np.stack([probabilities(entry, layer) for layer in range(6)])
    counted = truth > 0.002
    assert np.percentile(np.abs(found - truth)[counted] / truth[counted], 95) < 0.10


def test_a_batch_equals_single_texts(minilm):
    texts = [Example(tokenize(minilm.tokenizer, text, None)) for text in TEXTS.values()]
    together = attention.capture(Context(minilm, texts))
    for text, entry in zip(texts, together, strict=True):
        alone = attention.capture(Context(minilm, [text]))[0]
        assert entry.meta == alone.meta
        for layer in range(6):
            assert np.abs(probabilities(entry, layer) - probabilities(alone, layer)).max() <= 2 / 255


def test_the_decoder_is_causal():
    loaded = load(ref(INDUCTION), "cpu")
    text = "the rabbit hopped over the fence and the rabbit"
    entry = attention.capture(Context(loaded, [Example(tokenize(loaded.tokenizer, text, None))]))[0]
    assert_equal(entry, expected(INDUCTION, text))
    assert entry.meta["stacks"]["self"]["causal"]
    for layer in range(len(entry.meta["stacks"]["self"]["layers"])):
        assert not np.triu(probabilities(entry, layer), 1).any()


SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
GPT = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "vocab_size": 40,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 40, "pad_token_id": 0}
T5 |= {"decoder_start_token_id": 0, "eos_token_id": 2}
BART = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
BART |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64}
ARCHITECTURES = {
    "albert": SMALL | {"embedding_size": 16},
    "bart": SMALL | BART,
    "bert": SMALL,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2},
    "cohere": GROUPED,
    "deberta-v2": SMALL | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    "distilbert": {"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4, "vocab_size": 40, "pad_token_id": 0},
    "falcon": SMALL | {"new_decoder_architecture": False, "multi_query": True, "alibi": False},
    "gemma2": GROUPED,
    "gpt2": GPT,
    "gpt_neo": SMALL | {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "gpt_neox": SMALL,
    "gptj": GPT | {"rotary_dim": 4},
    "llama": GROUPED,
    "mistral": GROUPED,
    "mpnet": SMALL,
    "opt": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen3": GROUPED,
    "roberta": SMALL,
    "t5": T5,
}
SENTENCES = ["a b c d e f g h", "h g f", "a a b b c c d d e e f f g g h h"]


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    words = ["<pad>", "<s>", "</s>", "<unk>", *"abcdefgh"]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def make_model(tokenizer_folder, tmp_path):
    """`make_model(model_type, **settings)` → a folder with a random model of that type."""

    def make(model_type, auto=transformers.AutoModel, **settings):
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(model_type, **settings)
        model = auto.from_config(config)
        with torch.no_grad():  # small random weights give uniform attention, which would hide mistakes
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(6)
        model.save_pretrained(tmp_path / model_type)
        transformers.AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / model_type)
        return tmp_path / model_type

    return make


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_architectures(make_model, model_type):
    folder = make_model(model_type, **ARCHITECTURES[model_type])
    loaded = load(ref(str(folder)), "cpu")
    inputs = [{"text": text} for text in SENTENCES]
    if loaded.encoder_decoder:
        inputs = [{"text": text, "text_target": "a b c"} for text in SENTENCES]
    entries = attention.capture(Context(loaded, [example(loaded, each, 99) for each in inputs]))
    for text, entry in zip(SENTENCES, entries, strict=True):
        assert_equal(entry, expected(folder, text), "encoder" if loaded.encoder_decoder else "self")


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "gemma2", "falcon", "opt", "qwen3", "bloom"])
def test_logits_are_unchanged_by_the_capture(make_model, model_type):
    folder = make_model(model_type, auto=transformers.AutoModelForCausalLM, **ARCHITECTURES[model_type])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.arange(4, 12)[None]
    with torch.no_grad():
        before = model(ids).logits
        with recording(lambda call: None):
            during = model(ids, output_attentions=True).logits
        after = model(ids).logits
    assert torch.equal(before, during)
    assert torch.equal(before, after)


# ---- the worker process


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def run(worker, model, *texts, **options):
    requests = [Request(ATTENTION, ref(model), {"text": text}) for text in texts]
    options = {"device": "cpu", "batch_size": 8, "max_tokens": 512} | options
    return sorted(worker.capture(requests, **options), key=lambda answer: answer.index)


def assert_unusable(answers, why):
    """Every text is refused for the model's sake."""
    for answer in answers:
        assert isinstance(answer, Refused)
        assert answer.problem.key == "model"
        assert why in answer.problem.message


def test_each_text_is_answered_for_itself(worker):
    good, long, other = run(worker, MINILM, "a cat", "x " * 300, "a dog", max_tokens=100)
    assert isinstance(good, Captured)
    assert isinstance(other, Captured)
    assert long == Refused(1, Problem("text", "text", "The text has 302 tokens; `max_tokens` is 100."))


def test_longer_than_the_model(worker):
    (answer,) = run(worker, MINILM, "x " * 600, max_tokens=10_000)
    assert answer.problem.message == f"The text has 602 tokens; model {MINILM!r} reads at most 512."


def test_a_killed_worker_is_replaced(worker):
    run(worker, MINILM, "a cat")
    os.kill(fork_of(worker._process), signal.SIGKILL)
    (answer,) = run(worker, MINILM, "a dog")
    assert isinstance(answer, Captured)


KILLER = """
import os, signal
from transformers.models.bert.modeling_bert import BertModel
class KillerModel(BertModel):
    def forward(self, input_ids, **kwargs):
        if (input_ids == 4).sum() > 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(input_ids, **kwargs)
"""


def test_a_text_that_kills_the_worker_fails_alone(worker, make_model):
    trusting = with_code(make_model("bert", **SMALL), KILLER, "KillerModel")
    requests = [Request(ATTENTION, trusting, {"text": text}) for text in ["a b", "a a a", "c d", "e"]]
    answers = {a.index: a for a in worker.capture(requests, device="cpu", batch_size=8, max_tokens=512)}
    assert isinstance(answers.pop(1), Refused)
    assert len(answers) == 3
    assert all(isinstance(answer, Captured) for answer in answers.values())


FORKING = """
import os, signal, time
from transformers.models.bert.modeling_bert import BertModel
class ForkingModel(BertModel):
    def forward(self, *args, **kwargs):
        if os.fork() == 0:
            time.sleep(1e6)
        os.kill(os.getpid(), signal.SIGKILL)
"""
LINGERING = """
import threading, time
from transformers.models.bert.modeling_bert import BertModel
class LingeringModel(BertModel):
    def forward(self, *args, **kwargs):
        threading.Thread(target=time.sleep, args=(1e6,)).start()
        raise SystemExit("No more.")
"""


def test_a_fork_of_a_killed_worker_does_not_keep_the_build_waiting(worker, make_model):
    """It holds the pipe on which the build waits for the worker's answer, and is killed."""
    model = with_code(make_model("bert", **SMALL), FORKING, "ForkingModel")
    (answer,) = worker.capture([Request(ATTENTION, model, {"text": "a"})], device="cpu", batch_size=1, max_tokens=9)
    assert isinstance(answer, Refused)
    assert "its process was killed (signal 9)" in answer.problem.message


def test_a_worker_that_ends_but_for_a_thread_does_not_keep_the_build_waiting(worker, make_model, monkeypatch):
    monkeypatch.setattr(client, "LINGERS", 0.5)
    model = with_code(make_model("bert", **SMALL), LINGERING, "LingeringModel")
    (answer,) = worker.capture([Request(ATTENTION, model, {"text": "a"})], device="cpu", batch_size=1, max_tokens=9)
    assert answer.problem.message == (
        "Running this text through the model failed: its process answered no more, and had not ended 0.5 s later "
        "(No more.)."
    )


UNMASKED = """
from transformers.models.bert.modeling_bert import BertModel
class UnmaskedModel(BertModel):
    def forward(self, input_ids, attention_mask=None, **kwargs):
        return super().forward(input_ids, **kwargs)
"""


def with_code(folder, code, name):
    (folder / "code.py").write_text(code)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace("{", f'{{"auto_map": {{"AutoModel": "code.{name}"}},', 1))
    return resolve(str(folder), None, Settings(trust_remote_code=True), ROOT)


def test_a_model_that_does_not_mask_padding_is_run_text_by_text(worker, make_model):
    """The same holds if the first batch has no padding, and so proves nothing."""
    model = with_code(make_model("bert", **SMALL), UNMASKED, "UnmaskedModel")
    texts = ["a a", "b b", "a b c d e f g h", "h g f e"]
    requests = [Request(ATTENTION, model, {"text": text}) for text in texts]
    together = {a.index: a.entry for a in worker.capture(requests, device="cpu", batch_size=2, max_tokens=99)}
    for index, request in enumerate(requests):
        (alone,) = worker.capture([request], device="cpu", batch_size=1, max_tokens=99)
        for layer in range(2):
            difference = probabilities(together[index], layer) - probabilities(alone.entry, layer)
            assert np.abs(difference).max() <= 2 / 255


def test_answers_nobody_waited_for_do_not_meet_the_next_job(worker):
    texts = ["the fox", "the river runs", "the barn is very old"]
    for _ in worker.capture(
        [Request(ATTENTION, ref(MINILM), {"text": text}) for text in texts], device="cpu", batch_size=8, max_tokens=99
    ):
        break
    for text, answer in zip(reversed(texts), run(worker, MINILM, *reversed(texts)), strict=True):
        assert answer.entry.meta["sequences"]["text"]["tokens"][1:-1] == text.split()


def test_a_model_that_fails_in_python_fails_only_its_text(worker, make_model):
    code = UNMASKED.replace("return", "if (input_ids == 5).any(): raise KeyError('five')\n        return")
    model = with_code(make_model("bert", **SMALL), code, "UnmaskedModel")
    requests = [Request(ATTENTION, model, {"text": text}) for text in ("a a", "b b", "c c")]
    answers = sorted(
        worker.capture(requests, device="cpu", batch_size=8, max_tokens=99), key=lambda answer: answer.index
    )
    process = worker._process.pid
    problem = answers[1].problem
    assert (problem.kind, problem.message) == ("text", "The model failed on this text: there is no 'five'.")
    assert re.search(r'(?s)^Traceback .*File ".*code\.py", line \d+, in forward.*KeyError: .five.$', problem.detail)
    assert [type(answer) for answer in answers] == [Captured, Refused, Captured]
    assert worker._process.pid == process


def test_a_device_there_is_not(worker):
    assert_unusable(run(worker, MINILM, "a cat", device="cuda:7"), "cannot be put on device 'cuda:7'")


def test_one_token(worker, make_model):
    (answer,) = run(worker, str(make_model("llama", **GROUPED)), "a")
    assert probabilities(answer.entry, 0).tolist() == [[[1.0]]] * 4


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype):
    model = resolve(MINILM, None, Settings(dtype=dtype), ROOT)
    loaded = load(model, "cpu")
    entry = attention.capture(Context(loaded, [Example(tokenize(loaded.tokenizer, TEXTS[17], None))]))[0]
    for layer, weights in enumerate(expected(model.path, TEXTS[17])):
        assert np.abs(probabilities(entry, layer) - weights).max() < 0.05


def test_modules_in_the_current_folder_are_not_imported(worker, monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    (answer,) = run(worker, MINILM, "a cat")
    assert isinstance(answer, Captured)


def test_code_of_a_model_is_not_run_unless_trusted(worker, make_model):
    folder = make_model("bert", **SMALL)
    (folder / "killer.py").write_text("raise SystemExit('ran')")
    config = (folder / "config.json").read_text()
    config = config.replace("{", '{"auto_map": {"AutoConfig": "killer.K", "AutoModel": "killer.K"},', 1)
    (folder / "config.json").write_text(config.replace('"model_type": "bert"', '"model_type": "killer"'))
    assert_unusable(run(worker, str(folder), "a b"), "trust_remote_code: true")


def test_a_model_without_attention_is_refused_before_its_weights_are_read(worker, make_model):
    folder = make_model("bert", **SMALL)
    (folder / "config.json").write_text('{"model_type": "mamba"}')
    (folder / "model.safetensors").unlink()
    assert_unusable(run(worker, str(folder), "a b"), "(mamba) has no attention to show: it is a state-space model.")


def test_a_model_without_attention_is_refused_though_it_is_in_memory(tmp_path, tokenizer_folder):
    model = transformers.MambaForCausalLM(tiny_models.config("mamba"))
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path)
    kept, wanted = LoadedModels(), ref(str(tmp_path))
    kept.get({"model": wanted}, "cpu", head=True, attention=False, changed=False)
    with pytest.raises(Unusable, match="has no attention to show: it is a state-space model"):
        kept.get({"model": wanted}, "cpu", head=True, attention=True, changed=False)


def test_pickled_weights_are_not_loaded(worker, make_model):
    folder = make_model("bert", **SMALL)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    assert_unusable(run(worker, str(folder), "a b"), "has no safetensors file; set `use_safetensors: false`")


def test_a_hub_that_cannot_be_reached(worker, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelFailed, match="Model 'org/name' is not on this machine, and the hub cannot be reached"):
        worker.hub_commit(ref("org/name"))


def test_a_hub_model_from_the_hub_cache(worker, monkeypatch, tmp_path):
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--induction"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(INDUCTION)
    assert worker.hub_commit(ref("org/induction")) == commit
    (answer,) = run(worker, "org/induction", "the rabbit hopped")
    assert_equal(answer.entry, expected(INDUCTION, "the rabbit hopped"))


def test_byte_level_tokens_are_readable():
    backend = Tokenizer(models.BPE({"Ġ": 0, "Ã": 1, "¤": 2, "Ã¤": 3, "a": 4}, [("Ã", "¤")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    from tokenizers import decoders

    backend.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    assert tokenize(tokenizer, "ä a", None).pretty == ["ä", " ", "a"]
    backend = Tokenizer(models.BPE({"Ã": 0, "¤": 1}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend)
    assert tokenize(tokenizer, "ä", None).pretty == ["ä‹1/2›", "ä‹2/2›"]


# ---- encoder–decoders

DATES = str(ROOT / "example_site" / "models" / "dates")
DATE = "march 5 2024"
UNLIKE = (
    SMALL | BART | {"encoder_layers": 3, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 2}
)


@pytest.mark.parametrize(
    ("model_type", "settings"), [("bart", UNLIKE), ("t5", T5 | {"num_layers": 3, "num_decoder_layers": 2})]
)
def test_three_stacks_of_different_depth(make_model, model_type, settings):
    """Several texts run at once, so that both sides are padded."""
    folder = make_model(model_type, auto=transformers.AutoModelForSeq2SeqLM, **settings)
    loaded = load(ref(str(folder)), "cpu")
    texts = [("a b c d e f g h", "a b"), ("h g f", "h g f e d"), ("a a b b c", "c")]
    inputs = [{"text": text, "text_target": target} for text, target in texts]
    entries = attention.capture(Context(loaded, [example(loaded, each, 99) for each in inputs]))
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, attn_implementation="eager").eval()
    for (text, target), entry in zip(texts, entries, strict=True):
        encoded, labels = (loaded.tokenizer(each, return_tensors="pt") for each in (text, target))
        with torch.no_grad():
            outputs = model(**encoded, labels=labels["input_ids"], output_attentions=True)
        for stack in ("encoder", "decoder", "cross"):
            assert_equal(entry, [layer[0].numpy() for layer in outputs[f"{stack}_attentions"]], stack)
        assert [entry.meta["stacks"][stack]["causal"] for stack in ("encoder", "decoder", "cross")] == [
            False,
            True,
            False,
        ]
        assert entry.meta["sequences"]["target"]["next"] == target.split()
        assert entry.meta["sequences"]["target"]["tokens"][1:] == target.split()[:-1]
        assert entry.meta["sequences"]["target"]["words"] == [None, *range(len(target.split()) - 1)]


def test_without_a_target_the_model_writes():
    """The target is transformers' own greedy `generate`."""
    loaded = load(ref(DATES), "cpu")
    read = example(loaded, {"text": DATE}, 99)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(DATES).eval()
    encoded = loaded.tokenizer(DATE, return_tensors="pt")
    encoded.pop("token_type_ids", None)
    with torch.no_grad():
        written = model.generate(**encoded, do_sample=False, num_beams=1)[0].tolist()
    assert read.target.ids == written[:-1]
    assert read.target.next == loaded.tokenizer.convert_ids_to_tokens(written[1:])
    entry = attention.capture(Context(loaded, [read]))[0]
    assert entry.meta["stacks"]["cross"]["rows"] == "target"
    assert entry.meta["stacks"]["cross"]["cols"] == "text"


def test_a_target_is_for_encoder_decoders(worker):
    request = Request(ATTENTION, ref(MINILM), {"text": "a cat", "text_target": "eine Katze"})
    (answer,) = worker.capture([request], device="cpu", batch_size=8, max_tokens=99)
    assert answer.problem.message.startswith(f"Model {MINILM!r} has no decoder beside an encoder; `text_target` is for")


def test_encoder_decoders_through_the_worker(worker):
    requests = [Request(ATTENTION, ref(DATES), {"text": text}) for text in (DATE, "x" * 9000, "7 may 1999")]
    first, long, last = sorted(
        worker.capture(requests, device="cpu", batch_size=8, max_tokens=99), key=lambda answer: answer.index
    )
    assert isinstance(long, Refused)
    assert set(first.entry.meta["stacks"]) == set(last.entry.meta["stacks"]) == {"encoder", "decoder", "cross"}


# ---- scores, norms, sinks

SCORED = {
    "bart": ("encoder decoder cross", []),
    "bloom": ("self", ["ALiBi"]),
    "deberta-v2": ("self", ["disentangled position"]),
    "gemma2": ("self", ["soft cap"]),
    "gpt2": ("self", []),
    "llama": ("self", []),
    "mistral": ("self", ["mask"]),
    "mpnet": ("self", ["relative position bias"]),
    "t5": ("encoder decoder", ["relative position bias"]),
}
STRONGER = {
    "gemma2": {"attn_logit_softcapping": 1.0},
    "mistral": {"sliding_window": 3},
    "bart": {"decoder_start_token_id": 2},
}


@pytest.mark.parametrize("model_type", SCORED)
def test_queries_keys_and_terms_give_the_weights(make_model, model_type):
    """The terms of a batch, decoded as the browser gets them, give transformers' own weights within 1e-3."""
    folder = make_model(model_type, **ARCHITECTURES[model_type] | STRONGER.get(model_type, {}))
    loaded = load(ref(str(folder)), "cpu")
    target = {"text_target": "a b c d"} if loaded.encoder_decoder else {}
    read = [example(loaded, {"text": text} | target, 99) for text in SENTENCES]
    stacks, terms = SCORED[model_type]
    for text, entry in zip(SENTENCES, scores.capture(Context(loaded, read)), strict=True):
        truth = expected(folder, text)
        for name in stacks.split():
            for layer in entry.meta["stacks"][name]["layers"]:
                number = layer["layer"]
                assert layer["neurons"]["terms"] == (terms if len(text) > 5 or terms != ["mask"] else [])
                made = decoding.recomputed(entry, name, number)
                assert np.abs(made - decoding.weights(entry, name, number)).max() <= 1e-3 + QUANTISATION
                if name in ("self", "encoder"):
                    assert np.abs(made - truth[number]).max() <= 1e-3


def test_grouped_keys_are_kept_once(make_model):
    loaded = load(ref(str(make_model("llama", **GROUPED))), "cpu")
    entry = scores.capture(Context(loaded, [example(loaded, {"text": "a b c"}, 99)]))[0]
    assert entry.meta["stacks"]["self"]["layers"][0]["neurons"] == {
        "d": 8,
        "kv_heads": 2,
        "scale": 8**-0.5,
        "terms": [],
    }


@pytest.mark.parametrize("model", [MINILM, INDUCTION])
def test_scores_of_trained_models(model):
    loaded = load(ref(model), "cpu")
    text = "the rabbit hopped over the fence and the rabbit"
    entry = scores.capture(Context(loaded, [example(loaded, {"text": text}, 99)]))[0]
    for layer, weights in enumerate(expected(loaded.ref.path, text)):
        assert np.abs(decoding.recomputed(entry, "self", layer) - weights).max() <= 1e-3


def test_norms_of_values_through_the_output_projection(minilm):
    """The norms ‖v · W_O‖ are computed head by head as defined; ours use W_O · W_Oᵀ."""
    entry = attention.capture(Context(minilm, [example(minilm, {"text": TEXTS[17]}, 99)]))[0]
    model = transformers.AutoModel.from_pretrained(minilm.ref.path).eval()
    with torch.no_grad():
        encoded = minilm.tokenizer(TEXTS[17], return_tensors="pt")
        hidden = model(**encoded, output_hidden_states=True).hidden_states
        for number, layer in enumerate(model.encoder.layer):
            value = layer.attention.self.value(hidden[number])[0].reshape(17, 12, 32)
            output = layer.attention.output.dense.weight.reshape(384, 12, 32)
            truth = torch.einsum("thv,dhv->htd", value, output).norm(dim=-1).numpy()
            found = decoding.scaled(entry.blobs[f"self/{number}/values"], 12)
            assert np.abs(found / truth - 1).max() < 5e-3


def test_rollout_and_overview_are_of_the_weights(minilm):
    entry = attention.capture(Context(minilm, [example(minilm, {"text": TEXTS[44]}, 99)]))[0]
    total = np.eye(44)
    for number, weights in enumerate(expected(minilm.ref.path, TEXTS[44])):
        total = (weights.mean(0) / 2 + np.eye(44) / 2) @ total
        steps = np.frombuffer(zlib.decompress(entry.blobs[f"self/{number}/rollout"]), np.uint8).reshape(44, 44)
        assert np.abs((steps.T / 255.0) ** 2 - total).max() < 0.02
    assert len(zlib.decompress(entry.blobs["self/overview"])) == 6 * 12 * 24 * 24


def test_what_a_sink_takes_is_a_column():
    loaded = tiny_models.tiny("gpt_oss")
    read = tiny_models.example(loaded)
    entry = attention.capture(Context(loaded, [read]))[0]
    assert entry.meta["stacks"]["self"]["cols"] == "text+sink"
    cols = entry.meta["sequences"]["text+sink"]
    assert (cols["tokens"][-1], cols["special"], cols["words"][-1]) == ("sink", [11], None)
    options = parse(Source("model: m\ntext: t\nsink: leave_out"), OPTIONS)
    assert select(options, options.options, entry).sinks == {"self": [11]}, "the learned sink, not the first token"
    assert "without the sink “sink”" in VIEWS["head"].drawing(options, entry).sentence
    with torch.no_grad():
        truth = loaded.model(torch.tensor([read.text.ids]), output_attentions=True).attentions
    for layer, weights in enumerate(truth):
        rest = 1 - weights[0].sum(-1).numpy()
        assert rest.max() > 0.01
        assert np.abs(decoding.weights(entry, "self", layer)[..., -1] - rest).max() <= QUANTISATION


def test_an_output_that_does_not_end_is_refused():
    """A truncated output would be stored under the key of the whole."""
    dates = load(ref(str(ROOT / "example_site" / "models" / "dates")), "cpu")
    with pytest.raises(ValueError, match="has written 9 tokens and come to no end; give it a `text_target`"):
        example(dates, {"text": "1/5/2021"}, 9)
    assert len(example(dates, {"text": "1/5/2021"}, 1024).target.ids) == 11


def test_words_where_a_tokenizer_takes_a_text_for_one():
    """Vocabularies like Llama's contain spaces, and nothing splits a text at them before."""
    pieces = [
        ("<unk>", 0.0),
        ("▁the", -1.0),
        ("▁tur", -1.0),
        ("tle", -1.0),
        ("▁", -5.0),
        *((c, -9.0) for c in "thurle"),
    ]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert set(tokenizer("the turtle").word_ids()) == {0}
    found = tokenize(tokenizer, "the turtle", None)
    assert (found.tokens, found.words) == (["▁the", "▁tur", "tle"], [0, 1, 1])


def test_alibi_is_a_slope(make_model):
    """Bloom's penalty grows by the same step from token to token, and each head has its own (Press et al. 2022)."""
    folder = make_model("bloom", **ARCHITECTURES["bloom"])
    loaded = load(ref(str(folder)), "cpu")
    entry = scores.capture(Context(loaded, [example(loaded, {"text": "a b c d e f g h"}, 99)]))[0]
    assert entry.meta["stacks"]["self"]["layers"][0]["neurons"]["terms"] == ["ALiBi"]
    term = decoding.scaled(entry.blobs["self/0/term/0"], 4).reshape(4, 8, 8)
    steps = np.diff(term[:, -1], axis=1)
    assert np.abs(steps - steps[:, :1]).max() < 1e-3
    assert np.allclose(np.abs(steps[:, 0]), [2.0 ** -(2 * n) for n in range(1, 5)], atol=1e-3)
