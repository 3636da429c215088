"""Large models: spread over devices, in half precision, in bounded memory, and when memory runs out."""

import contextlib
import gc
import os
import re
import shutil
import signal
import sys
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import accelerate
import decoding
import numpy as np
import pytest
import tiny_models
import torch
import transformers
from conftest import INDUCTION, MINILM, ROOT
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mkdocs_attnviz.models.captures import attention, scores
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.engine import client, in_process
from mkdocs_attnviz.models.engine.client import Captured, ModelFailed, Refused, Worker, WorkerDied
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing.attention_discovery import find_attention_map
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.attention.capture import ATTENTION

torch.set_num_threads(1)
pytestmark = pytest.mark.usefixtures("cold_workers")

QUANTISATION = 0.00392
DATES = str(ROOT / "example_site" / "models" / "dates")
TEXT = "The animal did not cross the street because it was too tired to move."


def ref(model, **changes):
    return replace(resolve(str(model), None, Settings(), ROOT), **changes)


def captured(loaded, read):
    """Return the blobs of both captures by their names."""
    entries = [module.capture(Context(loaded, [read]))[0] for module in (attention, scores)]
    return [(entry.meta, entry.blobs) for entry in entries]


# ---- spread over devices, memory and disk

MIXED = {"embeddings": "cpu", **{f"encoder.layer.{n}": ("cpu", "disk")[n % 2] for n in range(6)}, "pooler": "disk"}


@pytest.fixture(scope="module")
def minilm():
    loaded = load(ref(MINILM), "cpu")
    return captured(loaded, example(loaded, {"text": TEXT}, 99))


@pytest.mark.parametrize("device_map", ["auto", "balanced_low_0", "sequential", {"": "disk"}, MIXED])
def test_a_model_that_is_spread_gives_the_same_entry(minilm, device_map):
    """Entries are equal to the byte, even if accelerate loads a layer's weights only for that layer's own pass."""
    loaded = load(ref(MINILM, device_map=device_map), "cpu")
    assert any(weight.is_meta for weight in loaded.model.parameters()) == isinstance(device_map, dict)
    assert captured(loaded, example(loaded, {"text": TEXT}, 99)) == minilm


@pytest.mark.parametrize("kind", ["gpt2", "bloom", "t5", "mpnet", "gpt_oss", "llama"])
def test_weights_that_are_elsewhere_between_calls(kind):
    """Every source of attention is covered: Conv1D and Linear, own code, a decoder, a sink, grouped keys."""
    loaded = tiny_models.tiny(kind)
    read = tiny_models.example(loaded)
    truth = captured(loaded, read)
    spread = tiny_models.tiny(kind)
    accelerate.cpu_offload(spread.model, execution_device="cpu")
    assert all(weight.is_meta for weight in spread.model.parameters())
    assert captured(spread, read) == truth


def test_an_encoder_decoder_writes_where_it_is_spread():
    loaded, spread = load(ref(DATES), "cpu"), load(ref(DATES), "cpu")
    accelerate.cpu_offload(spread.model, execution_device="cpu")
    written = [example(each, {"text": "march 5 2024"}, 99) for each in (loaded, spread)]
    assert written[0] == written[1]
    assert captured(spread, written[1]) == captured(loaded, written[0])


def test_a_model_in_a_notebook_may_be_spread():
    loaded = load(ref(INDUCTION, device_map={"": "disk"}), "cpu")
    assert loaded.model.device.type == "meta"
    made = in_process.entry(loaded.model, loaded.tokenizer, {"text": "the rabbit"}, ATTENTION, 99)
    assert made.blobs == attention.capture(Context(loaded, [example(loaded, {"text": "the rabbit"}, 99)]))[0].blobs


def test_attentions_that_are_handed_out_as_copies():
    """A model on several devices returns such copies: accelerate moves them all to the first device."""
    loaded = load(ref(INDUCTION), "cpu")

    def moved(module, args, outputs):
        if outputs.get("attentions"):
            outputs["attentions"] = tuple(slot.contiguous() for slot in outputs["attentions"])
        return outputs

    loaded.model.register_forward_hook(moved)
    assert find_attention_map(loaded, example(loaded, {"text": "the rabbit"}, 99)).way == "interface"


def test_what_goes_to_the_disk_goes_with_the_model(tmp_path, monkeypatch):
    """Experts are put together when they are loaded, and so cannot be read from their file again."""
    made = tiny_models.tiny("mixtral")
    made.model.save_pretrained(tmp_path / "model")
    transformers.AutoTokenizer.from_pretrained(INDUCTION).save_pretrained(tmp_path / "model")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    loaded = load(ref(tmp_path / "model", device_map={"": "disk"}), "cpu")
    assert any(file.is_file() for file in (tmp_path / "temporary").rglob("*"))
    read = tiny_models.example(loaded)
    assert captured(loaded, read) == captured(load(ref(tmp_path / "model"), "cpu"), read)
    del loaded
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(Unusable, match=r"has `device_map: auto`, which needs accelerate; install it with `pip install"):
        load(ref(MINILM, device_map="auto"), "cpu")


# ---- half precision


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("model", [MINILM, INDUCTION])
def test_half_precision_equals_output_attentions_of_the_same_precision(model, dtype):
    """Stored weights are compared, and those by queries and keys, where the scores are rounded by the model and not by
    us.
    """
    chosen = ref(model, dtype=dtype)
    loaded = load(chosen, "cpu")
    read = example(loaded, {"text": TEXT}, 99)
    (entry,), (scored,) = attention.capture(Context(loaded, [read])), scores.capture(Context(loaded, [read]))
    bare = transformers.AutoModel.from_pretrained(chosen.path, dtype=dtype, attn_implementation="eager")
    with torch.no_grad():
        truth = bare(**loaded.tokenizer(TEXT, return_tensors="pt"), output_attentions=True).attentions
    assert truth[0].dtype == getattr(torch, dtype)
    for layer, weights in enumerate(truth):
        exact = weights[0].float().numpy()
        assert np.abs(decoding.weights(entry, "self", layer) - exact).max() <= QUANTISATION
        made = decoding.recomputed(scored, "self", layer)
        assert np.abs(made - exact).max() <= 8 * torch.finfo(truth[0].dtype).eps
        assert np.abs(made - decoding.weights(scored, "self", layer)).max() <= 1e-3 + 2 * QUANTISATION
        assert decoding.meta(scored, "self", layer)["neurons"]["terms"] == []


TERMS = {
    "bloom": ["ALiBi"],
    "falcon": [],
    "gemma2": ["soft cap"],
    "gpt_neo": [],
    "gptj": [],
    "mpnet": ["relative position bias"],
    "roformer": [],
    "xlm": [],
}


@pytest.mark.parametrize("kind", TERMS)
def test_what_enters_a_score_is_the_same_in_half_precision(kind):
    """Rounding is no term of its own, and does not hide queries and keys of a model's own code."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        loaded = tiny_models.tiny(kind)
        loaded.model.to(dtype)
        (entry,) = scores.capture(Context(loaded, [tiny_models.example(loaded)]))
        for layer in entry.meta["stacks"]["self"]["layers"]:
            assert layer["neurons"]["terms"] == TERMS[kind]
            made = decoding.recomputed(entry, "self", layer["layer"])
            assert np.abs(made - decoding.weights(entry, "self", layer["layer"])).max() <= 1e-3 + 2 * QUANTISATION


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_in_half_precision(dtype):
    """The model's own values and weights, which are exact numbers, are multiplied in full precision."""
    loaded = load(ref(MINILM, dtype=str(dtype).removeprefix("torch.")), "cpu")
    values = []
    first = loaded.model.encoder.layer[0].attention
    hook = first.self.value.register_forward_hook(lambda module, args, output: values.append(output[0]))
    (entry,) = attention.capture(Context(loaded, [example(loaded, {"text": TEXT}, 99)]))
    hook.remove()
    value = values[-1].double().reshape(-1, 12, 32)
    truth = torch.einsum("thv,dhv->htd", value, first.output.dense.weight.double().reshape(384, 12, 32)).norm(dim=-1)
    found = decoding.scaled(entry.blobs["self/0/values"], 12)
    assert np.abs(found / truth.detach().numpy() - 1).max() < 1e-3


# ---- memory of a capture


class Alive(TorchDispatchMode):
    """A counter of the bytes of all tensors that are made inside the `with` block and still alive."""

    def __init__(self):
        super().__init__()
        self.sizes, self.alive, self.most = {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.note(tensor.untyped_storage())
        return made

    def note(self, storage):
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            weakref.finalize(storage, self.forget, storage._cdata)
            self.alive += storage.nbytes()
            self.most = max(self.most, self.alive)

    def forget(self, storage):
        self.alive -= self.sizes.pop(storage)


def most(run):
    gc.collect()
    with Alive() as alive, torch.inference_mode():
        run()
    return alive.most


CONFIGS = {
    "interface": lambda depth: transformers.BertConfig(
        hidden_size=64, num_hidden_layers=depth, num_attention_heads=8, intermediate_size=64, vocab_size=100
    ),
    "operations": lambda depth: transformers.BloomConfig(
        hidden_size=64, n_layer=depth, n_head=8, vocab_size=100, use_cache=False
    ),
}


@pytest.mark.parametrize(("way", "layers"), [("interface", 4), ("operations", 8)])
def test_memory_of_a_capture_does_not_grow_with_depth(way, layers):
    """The peak above transformers' own pass is at most one layer's attention for weights, and a few for scores.

    The stored weights add one byte each. Scores of traced operations take 6.2 layers, and sometimes one more that the
    garbage collector has not come to yet.
    """
    tokens = 256
    layer = 4 * 8 * tokens**2
    for depth in (3, 9):
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(CONFIGS[way](depth), attn_implementation="eager").eval()
        tokenizer = SimpleNamespace(pad_token_id=0, model_max_length=10**30)
        loaded = Loaded(SimpleNamespace(name=way), model, tokenizer, torch.device("cpu"))
        read = tiny_models.Example(tiny_models.tokens(tokens))
        assert find_attention_map(loaded, read).way == way
        bare = most(lambda: model(torch.tensor([read.text.ids])))  # noqa: B023
        kept = depth * layer / 4
        assert most(lambda: attention.store_calls(loaded, [read], {}.__setitem__)) - bare - kept <= 1.1 * layer  # noqa: B023
        assert most(lambda: scores.capture(Context(loaded, [read]))) - bare <= layers * layer  # noqa: B023


# ---- memory that runs out: a worker under a limit of its address space, which Linux alone keeps


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def limited():
    """A worker that has run `wide`, and may be limited.

    Memory that it frees is free: glibc would keep smaller blocks, in pieces that depend on what came before.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setenv("MALLOC_ARENA_MAX", "1")
        environment.setenv("MALLOC_MMAP_THRESHOLD_", str(1 << 20))
        worker = Worker()
        worker.start()
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """One layer's attention of a text of T tokens takes 16 × T² × 4 bytes; everything else is small."""
    return saved(tmp_path_factory.mktemp("wide"), num_attention_heads=16, max_position_embeddings=2048)


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """Two models whose weights take 120 MB each; for a moment loading takes twice as much."""
    folder = tmp_path_factory.mktemp("heavy")
    saved(folder / "one", hidden_size=1024, vocab_size=25_000)
    shutil.copytree(folder / "one", folder / "two", copy_function=os.link)
    return folder / "one", folder / "two"


def saved(folder, **settings):
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "intermediate_size": 64, "num_attention_heads": 4}
    config = transformers.BertConfig(**{"vocab_size": 200, "max_position_embeddings": 64} | sizes | settings)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(INDUCTION)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)
    return folder


def deep_model(folder):
    """Save a narrow model with 24 layers × 16 heads whose weights are no runs of equal bytes."""
    saved(folder, vocab_size=2000, num_hidden_layers=24, num_attention_heads=16, max_position_embeddings=1024)
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False)
    with torch.no_grad():
        for layer in model.encoder.layer:
            layer.attention.self.query.weight.mul_(5)
            layer.attention.self.key.weight.mul_(5)
    model.save_pretrained(folder)
    return folder


def run(worker, model, *texts):
    requests = [Request(ATTENTION, ref(model), {"text": text}) for text in texts]
    answers = worker.capture(requests, device="cpu", batch_size=8, max_tokens=2048)
    return sorted(answers, key=lambda answer: answer.index)


@contextlib.contextmanager
def leaving(worker, megabytes):
    """Limit the worker's address space to its present size plus `megabytes` inside the `with` block."""
    import resource

    pid = worker._process.pid
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(pid, resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="no other system limits a process' address space")


@on_linux
def test_a_batch_is_halved_until_it_fits(limited, wide, monkeypatch):
    """The batches after the halved one are no larger."""
    sizes = []
    read = client.read_message

    def noted(stream):
        message, data = read(stream)
        if message.get("event") == "running":
            sizes.append(len(message["indices"]))
        return message, data

    run(limited, wide, *["the fox"] * 8)
    monkeypatch.setattr(client, "read_message", noted)
    with leaving(limited, 115):
        answers = run(limited, wide, *[f"{'the ' * 500}{n}" for n in range(16)])
    assert [answer.problem for answer in answers if isinstance(answer, Refused)] == []
    read_one_by_one, sizes = sizes[:16], sizes[16:]
    assert read_one_by_one == [1] * 16
    assert sizes == [8, 4, *[2] * 8], "nothing is run twice"


@on_linux
def test_a_text_that_does_not_fit_alone_is_refused_with_the_numbers(limited, wide):
    run(limited, wide, "the fox")
    process = limited._process.pid
    with leaving(limited, 100):
        short, long, other = run(limited, wide, "the fox", "the " * 1500, "the rabbit")
        (next_one,) = run(limited, wide, "the " * 300)
    assert all(isinstance(answer, Captured) for answer in (short, other, next_one))
    assert limited._process.pid == process
    assert re.fullmatch(
        r"Memory ran out on this text of 1500 tokens: the attention of one layer takes 144 MB \(16 heads × 1500 × "
        r"1500 × 4 bytes\), and computing it takes several times as much; 144 MB more were needed, and device "
        r"'cpu' has \d+ MB of [\d.]+ GB free\. What helps: a shorter text, `dtype: float16` or `bfloat16` for the "
        r"model, `device_map: auto` for the model, another `device`\. `max_tokens` refuses what is too long before it "
        r"is run\.",
        long.problem.message,
    )


@on_linux
def test_a_model_that_does_not_fit_is_refused_with_the_numbers(limited, wide, heavy):
    run(limited, wide, "the fox")
    with leaving(limited, 150):
        (refused,) = run(limited, heavy[0], "the fox")
        (other,) = run(limited, wide, "the fox")
    assert refused.problem.key == "model"
    assert re.fullmatch(
        rf"Model '{re.escape(str(heavy[0]))}' does not fit into memory: its weights take 12\d MB, and device 'cpu' has "
        r"\d+ MB of [\d.]+ GB free\. What helps: `dtype: float16` or `bfloat16` for the model, `device_map: auto` for "
        r"the model, another `device`, a smaller model\.",
        refused.problem.message,
    )
    assert isinstance(other, Captured)


@on_linux
def test_a_model_that_does_not_fit_beside_another_takes_its_place(limited, heavy):
    run(limited, heavy[0], "the fox")
    with leaving(limited, 150):
        assert isinstance(run(limited, heavy[1], "the fox")[0], Captured)
        assert isinstance(run(limited, heavy[0], "the fox")[0], Captured)


@on_linux
def test_two_models_must_fit_together(limited, wide, heavy):
    """An unused model gives up its memory, the one that is compared does not."""

    def compared(one, other):
        request = Request(VIEWS["similarity"].capture, ref(one), {"text": "the fox sat"}, other=ref(other))
        (answer,) = limited.capture([request], device="cpu", batch_size=8, max_tokens=2048)
        return answer

    run(limited, heavy[0], "the fox")
    run(limited, wide, "the fox")
    with leaving(limited, 150):
        refused = compared(heavy[0], heavy[1])
        assert isinstance(compared(wide, heavy[1]), Captured)
    assert isinstance(compared(*heavy), Captured)
    assert refused.problem.key == "other"
    assert refused.problem.message.startswith(f"Model {str(heavy[1])!r} does not fit into memory: its weights take 12")
    assert refused.problem.message.endswith(
        f"Models that are compared are in memory together, and {str(heavy[0])!r} is there already."
    )


def test_a_worker_that_is_killed_says_what_to_do(worker):
    worker.start()
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match="memory ran out; a shorter text, or `dtype: float16` or `device_map: auto`"):
        worker._receive(60)


# ---- where a hub's model is looked up


def without(monkeypatch, *modules):
    """Workers started from now on cannot import these."""
    blocked = "".join(f"sys.modules[{name!r}] = None\n" for name in modules)
    monkeypatch.setattr(client, "WORKER", f"import sys\n{blocked}{client.WORKER}")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--org--induction"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / COMMIT).symlink_to(INDUCTION)


def test_a_commit_is_looked_up_without_torch(worker, hub_cache, monkeypatch):
    without(monkeypatch, "torch", "transformers", "tokenizers", "safetensors", "numpy")
    assert worker.hub_commit(ref("org/induction", revision=None)) == COMMIT
    with pytest.raises(ModelFailed, match="'org/other' is not on this machine, and the hub cannot be reached"):
        worker.hub_commit(ref("org/other"))
    (answer,) = run(worker, MINILM, "a cat")
    assert answer.problem.message.startswith("Running a model needs torch and transformers (")


def test_a_commit_cannot_be_looked_up_without_huggingface_hub(worker, monkeypatch):
    without(monkeypatch, "huggingface_hub")
    with pytest.raises(ModelFailed) as failed:
        worker.hub_commit(ref("org/induction"))
    assert str(failed.value) == (
        "Model 'org/induction' has to be looked up on the hub, which needs huggingface_hub (import of huggingface_hub "
        "halted; None in sys.modules); install it with `pip install huggingface_hub`, or give the model's commit as "
        "`revision`."
    )
