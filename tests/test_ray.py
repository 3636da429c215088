"""The engine `ray`, on a real cluster of two nodes on this machine, one CPU each."""

import collections
import contextlib
import io
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import INDUCTION, MINILM, PATIENCE, ROOT
from safetensors.numpy import save_file
from test_large import deep_model
from test_large_entries import TEXT

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before ray is imported: its nodes are this process's children

from ray._private.state import actors
from ray.cluster_utils import Cluster

from mkdocs_attnviz.block.problem import Problem
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.blobs import FileBlobs, sizes
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.engine.capture import TENSORS, Capture
from mkdocs_attnviz.models.engine.client import Captured, EngineFailed, Refused
from mkdocs_attnviz.models.engine.ray.actor import PART
from mkdocs_attnviz.models.engine.ray.engine import RayEngine
from mkdocs_attnviz.models.engine.ray.schedule import JobKind, Waiting, chunks
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.identity.reference import resolve, resolve_tensors
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.attention.capture import ATTENTION
from mkdocs_attnviz.views.predict import PREDICTIONS

EN_DE = str(ROOT / "example_site" / "models" / "en-de")
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}
HEADS = Capture("heads", 1, run="mkdocs_attnviz.models.captures.heads:capture", corpus=True)
CORPUS = [{"line": line, "text": text} for line, text in ((1, "the cat sat"), (2, "the dog"), (4, "cat " * 200))]
WEIGHTS = re.compile(r"(self|encoder|decoder|cross)/\d+")
log = logging.getLogger("tests")


class TwoNodes(Cluster):
    """The first is the head, where the build runs; the other may be lost."""

    def __init__(self):
        super().__init__(initialize_head=True, head_node_args=NODE | {"include_dashboard": False, "no_monitor": True})
        self.other = self.add_node(**NODE)

    def lose(self):
        self.remove_node(self.other, allow_graceful=False)

    def be_whole(self):
        """Wait until Ray knows of a lost node, which takes a dozen seconds: an engine would ask for a worker there."""
        self.wait_for_nodes(PATIENCE)


@pytest.fixture(scope="module")
def cluster():
    with contextlib.redirect_stdout(io.StringIO()):
        cluster = started()
        yield cluster
        cluster.shutdown()


def started():
    """Ray gives each node half a minute to come up, which a busy machine may exceed."""
    for _ in range(3):
        with contextlib.suppress(Exception):
            return TwoNodes()
    return TwoNodes()


@pytest.fixture
def engine(cluster):
    cluster.be_whole()
    with closing(RayEngine(cluster.address, log)) as engine:
        yield engine


def ref(model, **settings):
    return resolve(str(model), None, Settings(**settings), ROOT)


def run(engine, *requests, **options):
    """Return the answers by their places; each text is answered once."""
    options = {"device": "auto", "batch_size": 8, "max_tokens": 512} | options
    answers = list(engine.capture(requests, **options))
    assert sorted(answer.index for answer in answers) == list(range(len(requests)))
    return sorted(answers, key=lambda answer: answer.index)


def asked(model, *texts):
    return [Request(ATTENTION, model, {"text": text}) for text in texts]


def thirty_blocks():
    """Three models, two kinds of capture, texts of many lengths."""
    words = [
        "the",
        "rabbit",
        "hopped",
        "over",
        "the",
        "fence",
        "while",
        "the",
        "turtle",
        "slept",
        "near",
        "the",
        "river",
    ]
    for number in range(10):
        text = " ".join(words[: 1 + number % len(words)] * (1 + number // 7)) + f" {number}"
        view = "neuron" if number % 5 == 0 else "head"
        yield Source(f"model: {MINILM}\nview: {view}\ntext: {text}")
        yield Source(f"model: {INDUCTION}\ntext: {text}")
        yield Source(f"model: {EN_DE}\ntext: She sees the small elephant{'.' * number}")


SPREAD = """
import json, logging, sys
from contextlib import closing
from pathlib import Path
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.engine.ray.engine import RayEngine
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings
address, base, folder = sys.argv[1:]
engine = RayEngine(address, logging.getLogger())
settings = Settings(cache_dir=folder, lock_file=f"{folder}/attnviz.lock")
with closing(engine), Pipeline(settings, Path(base), logging.getLogger(), engine=engine).build() as build:
    build.prepare([Source(body) for body in json.load(sys.stdin)])
print(sorted(sys.modules.keys() & {"torch", "transformers", "numpy"}))
"""


def largest_step(one, other):
    """Return the largest difference between the weights of two entries, in steps of 255."""
    arrays = [[blob for name, blob in entry.blobs.items() if WEIGHTS.fullmatch(name)] for entry in (one, other)]
    assert [one.meta[part] for part in ("key", "sequences")] == [other.meta[part] for part in ("key", "sequences")]
    first, second = (np.frombuffer(b"".join(map(zlib.decompress, blobs)), np.uint8).astype(int) for blobs in arrays)
    return np.abs(first - second).max()


def entries(folder):
    """Return entries by file name, which is the key."""
    return {path.name: Entry.from_bytes(path.read_bytes()) for path in folder.rglob("*.attnviz")}


def test_a_large_entry_comes_in_parts(cluster, tmp_path):
    """No message has more than a part; what is put together is what the worker process wrote."""
    model = resolve(str(deep_model(tmp_path / "model")), None, Settings(), tmp_path)
    text = " ".join((2 * TEXT.split())[:320])
    request = Request(ATTENTION, model, {"text": text})
    with closing(RayEngine(cluster.address, log)) as engine:
        engine.folder = tmp_path / "cache"
        (answer,) = engine.capture([request], device="cpu", batch_size=8, max_tokens=512)
    assert isinstance(answer, Captured), answer.problem
    assert isinstance(answer.entry.blobs, FileBlobs)
    assert answer.entry.blobs.path.parent == tmp_path / "cache"
    assert sum(sizes(answer.entry.blobs).values()) > PART
    for name in ("self/0", "self/23"):
        assert len(zlib.decompress(answer.entry.blobs[name])) == 16 * 320 * 320


def test_thirty_blocks_as_the_local_engine_has_them(cluster, tmp_path):
    """Entries have the same keys; batches and threads may change a last bit. The build's end needs no torch."""
    blocks = list(thirty_blocks())
    told = subprocess.run(
        [sys.executable, "-c", SPREAD, cluster.address, str(ROOT), str(tmp_path / "ray")],
        input=json.dumps([block.body for block in blocks]),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert told.stdout == "[]\n", told.stderr
    settings = Settings(cache_dir=str(tmp_path / "local"), lock_file=str(tmp_path / "attnviz.lock"))
    with Pipeline(settings, ROOT, log).build() as build:
        build.prepare(blocks)
    spread, local = entries(tmp_path / "ray"), entries(tmp_path / "local")
    assert len(local) == 30
    assert local.keys() == spread.keys()
    assert max(largest_step(spread[key], local[key]) for key in local) <= 1


FATAL = """
import os
from transformers.models.bert.modeling_bert import BertModel
class FatalModel(BertModel):
    def forward(self, input_ids, **kwargs):
        if (input_ids == {token}).any():
            open({deaths!r}, "a").write("x")
            os._exit(7)
        return super().forward(input_ids, **kwargs)
"""


@pytest.fixture
def fatal(tmp_path):
    """MiniLM, but "fox" ends the process; and the file that counts how often."""
    original, folder, deaths = Path(ref(MINILM).path), tmp_path / "fatal", tmp_path / "deaths"
    shutil.copytree(original, folder)  # links that lead elsewhere are refused
    token = json.loads((original / "tokenizer.json").read_text())["model"]["vocab"]["fox"]
    config = json.loads((original / "config.json").read_text()) | {"auto_map": {"AutoModel": "code.FatalModel"}}
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(FATAL.format(token=token, deaths=str(deaths)))
    return ref(folder, trust_remote_code=True), deaths


def test_a_text_that_ends_three_workers_fails_alone(engine, fatal):
    model, deaths = fatal
    *good, bad = run(engine, *asked(model, "a cat", "a dog", "the river runs", "the fox"))
    assert all(isinstance(answer, Captured) for answer in good)
    assert isinstance(bad, Refused)
    assert bad.problem.key == "text"
    assert bad.problem.message == (
        "Running this text through the model ended 3 workers, the last time: its process ended with exit code 7."
    )
    assert deaths.read_text() == "xxx"


@pytest.fixture(scope="module")
def answered(cluster, tmp_path_factory):
    """Return the outcome of one run of all sorts of requests, by name."""
    cluster.be_whole()
    folder = tmp_path_factory.mktemp("own")
    weights = np.full((2, 3, 3), 1 / 3, np.float32)
    save_file({"self.0": weights}, folder / "own.safetensors", {"tokens": '["a", "b", "c"]'})
    (folder / "not.safetensors").write_text("no")
    (folder / "config.json").write_text('{"model_type": "mamba"}')
    own, damaged = (resolve_tensors(f"{name}.safetensors", Settings(), folder) for name in ("own", "not"))
    requests = {
        "own": Request(TENSORS, own, {"text": ""}),
        "damaged": Request(TENSORS, damaged, {"text": ""}),
        "too long": Request(ATTENTION, ref(MINILM), {"text": "x " * 300}),
        "package elsewhere": Request(ATTENTION, replace(ref(MINILM), path="/nowhere"), {"text": "a cat"}),
        "other files": Request(ATTENTION, replace(ref(INDUCTION), identity="sha256:0123"), {"text": "a cat"}),
        "no attention": Request(ATTENTION, ref(folder), {"text": "a cat"}),
        "corpus": Request(HEADS, ref(INDUCTION), {"corpus": {"digest": "sha256:0", "texts": CORPUS}}),
        "good": Request(ATTENTION, ref(INDUCTION), {"text": "a cat"}),
        "two": Request(VIEWS["similarity"].capture, ref(INDUCTION), {"text": "the old cat sat"}, other=ref(EN_DE)),
        "two, other files": Request(
            VIEWS["similarity"].capture,
            ref(INDUCTION),
            {"text": "a cat"},
            other=replace(ref(EN_DE), identity="sha256:0123"),
        ),
        "two, not to be loaded": Request(
            VIEWS["similarity"].capture,
            ref(INDUCTION),
            {"text": "a cat"},
            other=replace(ref(EN_DE), path="/none", local=False),
        ),
    }
    with closing(RayEngine(cluster.address, log)) as engine:
        return dict(zip(requests, run(engine, *requests.values(), max_tokens=100), strict=True))


def test_the_good_are_answered_whatever_else_is_asked(answered):
    assert isinstance(answered["good"], Captured)
    assert answered["two"].entry.meta["similar"]["self"]["other_stack"] == "encoder"


def test_what_the_local_engine_refuses(answered):
    assert answered["too long"].problem.key == "text"
    assert answered["too long"].problem.message == "The text has 302 tokens; `max_tokens` is 100."
    assert answered["no attention"].problem.key == "model"
    assert "(mamba) has no attention to show" in answered["no attention"].problem.message


def test_a_directory_must_be_the_same_on_the_nodes(answered):
    """Another one of that name would be drawn under a key that is not its own."""
    refused = answered["other files"]
    assert refused.problem.key == "model"
    assert (
        f"is the directory {INDUCTION}, which node {socket.gethostname()} of the Ray cluster" in refused.problem.message
    )
    assert "does not hold with the same files" in refused.problem.message


def test_of_two_models_the_one_at_fault_is_named(answered):
    refused, damaged = answered["two, other files"], answered["two, not to be loaded"]
    assert (refused.problem.key, damaged.problem.key) == ("other", "other")
    assert refused.problem.message.startswith(f"Model {EN_DE!r} is the directory {EN_DE}, which node")
    assert damaged.problem.message.startswith("Model '/none' cannot be loaded")


def test_a_package_may_lie_elsewhere_on_the_nodes(answered):
    assert isinstance(answered["package elsewhere"], Captured)


def test_the_texts_of_a_corpus_are_sent_along(answered):
    index = answered["corpus"].entry.meta["heads"]
    assert (index["texts"], index["left_out_count"]) == (2, 1)
    assert index["left_out"] == [{"line": 4, "why": "The text has 200 tokens; `max_tokens` is 100."}]


def test_an_authors_own_file_is_sent_along(answered):
    assert answered["own"].entry.meta["sequences"]["text"]["tokens"] == ["a", "b", "c"]
    assert answered["damaged"].problem.message.startswith("not.safetensors is no whole safetensors file")


def test_a_cluster_without_what_a_worker_needs(cluster):
    with closing(RayEngine(cluster.address, log, patience=4)) as engine:
        (answer,) = run(engine, *asked(ref(INDUCTION), "a cat"), device="cuda")
    assert answer == Refused(
        0,
        Problem(
            "model", "model", "No worker of the Ray cluster came up in 4 s; it needs a node with 1 CPU and 1 GPU free."
        ),
    )


def wait_for_both_workers():
    deadline = time.monotonic() + 300
    while len(actors(actor_state_name="ALIVE")) < 2:
        assert time.monotonic() < deadline, "one node has no worker"
        time.sleep(0.1)


def test_a_lost_node_costs_no_text(cluster, engine, caplog):
    """The last test of the cluster: its node is gone."""
    caplog.set_level(logging.INFO)
    texts = [f"sentence {number} says that dogs chase cats " * 8 for number in range(20)]
    requests = [
        *asked(ref(MINILM), *texts),
        *asked(ref(INDUCTION), *texts),
        *asked(ref(EN_DE), *(f"She sees the elephant{'.' * number}" for number in range(20))),
    ]
    came = []
    for answer in engine.capture(requests, device="auto", batch_size=1, max_tokens=512):
        came.append(answer)
        if len(came) == 10:
            wait_for_both_workers()
            cluster.lose()
    assert "was lost" in caplog.text
    assert all(isinstance(answer, Captured) for answer in came)
    assert sorted(answer.index for answer in came) == list(range(60))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_answers(address):
    with closing(RayEngine(address, log)) as engine, pytest.raises(EngineFailed) as told:
        run(engine, *asked(ref(INDUCTION), "a cat"))
    assert str(told.value).startswith(f"The Ray cluster {address!r} cannot be used: [Errno 111] Connection refused.")


# ---- who does what; no cluster needed


def texts(model, number, characters=100):
    return [Request(ATTENTION, model, {"text": f"{each:{characters}}"}) for each in range(number)]


def taken(waiting, workers):
    """Return the number of workers that get a first chunk of each model."""
    at_work = collections.Counter()
    for _ in range(workers):
        chunk = waiting.take(None, (), at_work)
        if chunk is not None:
            at_work[chunk.models] += 1
    return {"+".join(model.path for model in models): number for models, number in at_work.items()}


def test_workers_are_shared_out_by_work():
    """Nine chunks of one model, three of another."""
    waiting = Waiting(texts(ref(MINILM), 9 * 32) + texts(ref(INDUCTION), 3 * 32), batch_size=8)
    assert taken(waiting, 4) == {ref(MINILM).path: 3, INDUCTION: 1}


def test_a_model_with_little_work_is_loaded_once():
    waiting = Waiting(texts(ref(MINILM), 32), batch_size=8)
    assert taken(waiting, 3) == {ref(MINILM).path: 1}


def test_a_worker_stays_with_the_model_it_has():
    waiting = Waiting(texts(ref(MINILM), 320) + texts(ref(INDUCTION), 64), batch_size=8)
    loaded = waiting.take(None, {JobKind((replace(ref(MINILM), name=""),))}, {}).models
    assert [model.path for model in loaded] == [INDUCTION]
    assert waiting.take(loaded, (), {}).models == loaded


def test_a_model_that_has_not_what_one_view_wants_may_have_what_another_does():
    """A model without attention still predicts: what a worker lacks, and what is refused, is of the one view."""
    model = ref(INDUCTION)
    waiting = Waiting([*texts(model, 3), Request(PREDICTIONS, model, {"text": "a"}, {"top_k": 3})], batch_size=8)
    first = waiting.take(None, (), {})
    assert set(first.requests) == {0, 1, 2}
    waiting.put(first)
    (other,) = waiting.take(None, {first.kinds[1]}, {}).requests
    assert other == 3
    assert [list(chunk.requests) for chunk in waiting.drop(first.kinds[1])] == [list(first.requests)]
    assert waiting.take(None, {first.kinds[0]}, {}) is None


def test_two_models_are_given_together():
    """A worker that has one of them is none that has both, and what compares other models is another chunk."""
    one, two, three = ref(INDUCTION), ref(MINILM), ref(EN_DE)
    requests = [
        Request(VIEWS["similarity"].capture, one, {"text": "a cat"}, other=other) for other in (two, three, two, None)
    ]
    assert [list(chunk.requests) for chunk in chunks(requests, 8)] == [[0, 2], [1], [3]]
    waiting = Waiting(requests, batch_size=8)
    assert taken(waiting, 3) == {f"{INDUCTION}+{two.path}": 1, f"{INDUCTION}+{EN_DE}": 1, INDUCTION: 1}


def test_long_texts_come_first_and_few_at_a_time():
    requests = texts(ref(MINILM), 40, 100) + texts(ref(MINILM), 40, 4000)
    sizes = [[len(request.inputs["text"]) for request in chunk.requests.values()] for chunk in chunks(requests, 8)]
    assert sizes == [[4000] * 7] * 5 + [[4000] * 5 + [100] * 27, [100] * 13]
