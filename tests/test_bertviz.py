"""BertViz's eight notebooks as blocks on one page, with the architectures they use (random weights, a few layers)."""

import numpy as np
import pytest
import torch
import transformers
from conftest import draw_all
from tokenizers import Tokenizer, models, pre_tokenizers, processors

QUANTISATION = 0.00392
WORDS = [
    *("the", "cat", "sat", "on", "mat", "lay", "rug", "rabbit", "quickly", "hopped", "turtle", "slowly", "crawled"),
    *("at", "store", ",", "she", "bought", "apples", "oranges", "bananas", "house", "budget", "committee", "voted"),
    *("saturday", "to", "pass", "a", "$", "3", ".", "5", "trillion", "spending", "bill", "passed", "sees", "small"),
    *("elephant", "sie", "sieht", "den", "kleinen", "elefanten"),
]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]

SIZE = {"vocab_size": len(WORDS) + len(SPECIAL), "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 2}
BERT = SIZE | {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
BART = SIZE | {"d_model": 32, "encoder_layers": 3, "decoder_layers": 2, "encoder_attention_heads": 4}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "decoder_start_token_id": 2}
MODELS = {
    "distilbert-base-uncased": (
        "distilbert",
        SIZE | {"dim": 32, "hidden_dim": 48, "n_layers": 3, "n_heads": 4},
    ),
    "facebook/bart-large-cnn": ("bart", BART),
    "bert-base-uncased": ("bert", BERT),
    "Helsinki-NLP/opus-mt-en-de": ("marian", BART | {"decoder_start_token_id": 0}),
    "gpt2": ("gpt2", SIZE | {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64, "bos_token_id": 1}),
    "roberta-base": ("roberta", BERT | {"pad_token_id": 0, "type_vocab_size": 1}),
}
NOTEBOOKS = {
    "head_view_distilbert": ("distilbert-base-uncased", "head", {"text": "The cat sat on the mat"}),
    "model_view_bart": (
        "facebook/bart-large-cnn",
        "model",
        {
            "text": "The House Budget Committee voted Saturday to pass a $3.5 trillion spending bill",
            "text_target": "The House Budget Committee passed a spending bill.",
        },
    ),
    "model_view_bert": (
        "bert-base-uncased",
        "model",
        {"text": "the rabbit quickly hopped", "text_pair": "The turtle slowly crawled"},
    ),
    "model_view_distilbert": ("distilbert-base-uncased", "model", {"text": "The cat sat on the mat"}),
    "model_view_encoder_decoder": (
        "Helsinki-NLP/opus-mt-en-de",
        "model",
        {"text": "She sees the small elephant.", "text_target": "Sie sieht den kleinen Elefanten."},
    ),
    "neuron_view_bert": (
        "bert-base-uncased",
        "neuron",
        {
            "text": "The cat sat on the mat",
            "text_pair": "The cat lay on the rug",
            "theme": "dark",
            "layer": 2,
            "head": 0,
        },
    ),
    "neuron_view_gpt2": (
        "gpt2",
        "neuron",
        {"text": "At the store, she bought apples, oranges, bananas,", "theme": "dark"},
    ),
    "neuron_view_roberta": (
        "roberta-base",
        "neuron",
        {"text": "The cat sat on the mat", "text_pair": "The cat lay on the rug"},
    ),
}


def make_tokenizer(kind):
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate(SPECIAL + WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    pair = {
        "bert": "<s> $A </s> $B:1 </s>:1",
        "distilbert": "<s> $A </s> $B </s>",
        "roberta": "<s> $A </s> </s> $B </s>",
    }
    single = {"gpt2": "$A", "bart": "<s> $A </s>", "marian": "$A </s>"}
    backend.post_processor = processors.TemplateProcessing(
        single=single.get(kind, "<s> $A </s>"),
        pair=pair.get(kind, "$A $B"),
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (kind == "bert")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=names,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


@pytest.fixture(scope="module")
def folders(once):
    """Return for each name on the hub a folder with a random model of that architecture."""
    folder = once("bertviz-models", save_models)
    return {name: str(folder / kind) for name, (kind, _) in MODELS.items()}


def save_models(path):
    for number, (kind, settings) in enumerate(MODELS.values()):
        torch.manual_seed(number)
        config = transformers.AutoConfig.for_model(kind, **settings)
        auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModel
        model = auto.from_config(config)
        with torch.no_grad():  # small random weights give uniform attention, which would hide mistakes
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(6)
        folder = path / kind
        model.save_pretrained(folder)
        make_tokenizer(kind).save_pretrained(folder)


def expected(folder, keys):
    """Return transformers' own `output_attentions`, (heads, rows, cols), by stack and layer."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = dict(tokenizer(keys["text"].lower(), (keys.get("text_pair") or "").lower() or None, return_tensors="pt"))
    if "text_target" in keys:
        labels = tokenizer(keys["text_target"].lower(), return_tensors="pt").input_ids
        start = torch.tensor([[model.config.decoder_start_token_id]])
        inputs["decoder_input_ids"] = torch.cat([start, labels[:, :-1]], 1)
    with torch.no_grad():
        outputs = model(**inputs, output_attentions=True)
    if "text_target" not in keys:
        return {"self": [layer[0].numpy() for layer in outputs.attentions]}
    stacks = {name: outputs[f"{name}_attentions"] for name in ("encoder", "decoder", "cross")}
    return {name: [layer[0].numpy() for layer in layers] for name, layers in stacks.items()}


@pytest.fixture(scope="module")
def page(folders, tmp_path_factory, share, browser):
    """Open a page with all eight figures."""
    from conftest import Site

    site = Site(tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("cache"))
    site.settings["models"] = folders
    blocks = []
    for name, (model, view, keys) in NOTEBOOKS.items():
        texts = {key: value.lower() if key.startswith("text") else value for key, value in keys.items()}
        lines = [f"model: {model}", f"view: {view}", f"id: {name}"]
        lines += [f"{key}: '{value}'" if isinstance(value, str) else f"{key}: {value}" for key, value in texts.items()]
        blocks.append("```attention\n" + "\n".join(lines) + "\n```\n")
    site.write("index.md", "# BertViz\n\n" + "\n".join(blocks))
    page = browser.new_page()
    page.goto((share(site, "--strict").folder / "site" / "index.html").as_uri())
    draw_all(page)
    yield page
    page.close()


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_weights_are_those_that_bertviz_would_be_given(page, folders, name):
    model, _, keys = NOTEBOOKS[name]
    element = page.locator(f"#{name} attn-viz")
    for stack, layers in expected(folders[model], keys).items():
        for layer, heads in enumerate(layers):
            for head, weights in enumerate(heads):
                where = {"stack": stack, "layer": layer, "head": head}
                found = element.evaluate("(element, where) => element.weights(where)", where)
                assert np.abs(np.array(found["values"]) - weights).max() <= QUANTISATION, where


@pytest.mark.parametrize("name", [name for name, (_, view, _) in NOTEBOOKS.items() if view == "neuron"])
def test_softmax_of_the_scores_shown_is_the_attention(page, folders, name):
    model, _, keys = NOTEBOOKS[name]
    for layer, heads in enumerate(expected(folders[model], keys)["self"]):
        where = {"layer": layer, "head": 1}
        found = page.locator(f"#{name} attn-viz").evaluate("(element, where) => element.neurons(where)", where)
        scores = np.array([[-np.inf if score is None else score for score in row] for row in found["scores"]], float)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        assert np.abs(powers / powers.sum(-1, keepdims=True) - heads[1]).max() < 1e-3


def test_the_neuron_views_do_not_clash(page):
    """Two neuron views on one page share their state in BertViz."""
    state = "name => document.querySelector(`#${name} attn-viz`).state"
    page.eval_on_selector("#neuron_view_gpt2 attn-viz", "element => { element.state = { layer: 1, head: 3 } }")
    assert page.evaluate(state, "neuron_view_gpt2")["layer"] == 1
    assert page.evaluate(state, "neuron_view_bert")["layer"] == 2
