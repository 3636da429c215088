"""`attnviz check --recompute`: what the models give is what the cache holds."""

import copy
import json
import random
import re
import shutil
import zlib

import commands
import numpy as np
import pytest
import yaml
from conftest import INDUCTION, MIXTURE

from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.models.comparison import difference
from mkdocs_attnviz.models.encoding import json_blob, scaled_blob, weights_blob
from mkdocs_attnviz.models.router_comparison import mixture_of
from mkdocs_attnviz.views import VIEWS
from mkdocs_attnviz.views.svg.token_flow import json_of

TEXT = "text: the old cat sat on the mat . the old cat"
CAPTURES = {view.capture.name: name for name, view in sorted(VIEWS.items(), reverse=True)}
"""One view of each capture."""
MODELS = {"mine": INDUCTION, "mixed": MIXTURE}
BLOCKS = {
    name: f"model: {'mixed' if name == 'experts' else 'mine'}\n{TEXT}\nview: {name}" for name in CAPTURES.values()
}


def attnviz(folder, *arguments):
    return commands.run("mkdocs_attnviz", *arguments, cwd=folder)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    for name, source in MODELS.items():
        shutil.copytree(source, folder / "models" / name)
    settings = {"models": {name: f"models/{name}" for name in MODELS}}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump({"site_name": "x", "plugins": [{"attnviz": settings}]}))
    (folder / "docs").mkdir()
    for name, block in BLOCKS.items():
        (folder / "docs" / f"{name}.md").write_text(f"```attention\n{block}\n```\n")
    made = attnviz(folder, "run")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def entries(site):
    """The entry of each page, by its name."""
    blocks = json.loads(attnviz(site, "status", "--json").stdout)["blocks"]
    paths = {each["page"][:-3]: site / ".attnviz" / each["key"][:2] / f"{each['key']}.attnviz" for each in blocks}
    return {name: (path, Entry.from_bytes(path.read_bytes())) for name, path in paths.items()}


def test_what_is_true_passes_and_what_is_forged_does_not(site, entries):
    """A forged entry of each capture, with a checksum that fits: `check` is content, until it may run the models."""
    true = attnviz(site, "check", "--recompute")
    assert (true.returncode, true.stderr.count("does not hold")) == (0, 0), true.stderr
    count = len(BLOCKS)
    assert true.stdout == f"{count} blocks on {count} pages: nothing is missing, and {count} entries computed again\n"
    some = json.loads(attnviz(site, "check", "--recompute", "--sample", "2", "--json").stdout)
    assert (some["ok"], some["recomputed"]) == (True, 2)
    whole = {name: path.read_bytes() for name, (path, _) in entries.items()}
    try:
        for path, entry in entries.values():
            path.write_bytes(forged(entry).to_bytes())
        assert attnviz(site, "check").returncode == 0
        found = json.loads(attnviz(site, "check", "--recompute", "--json").stdout)
        assert {each["page"][:-3] for each in found["problems"] if each["kind"] == "untrue"} == set(BLOCKS)
    finally:
        for name, (path, _) in entries.items():
            path.write_bytes(whole[name])


def forged(entry):
    """Another token among those that are listed by name; else other numbers, or for every second capture another token
    of the text."""
    meta, blobs = copy.deepcopy(dict(entry.meta)), dict(entry.blobs)
    named = next((blob for blob in blobs if "vocabulary" in (listed(blobs[blob]) or ())), None)
    numbers = [blob for blob in sorted(blobs) if listed(blobs[blob]) is None and "overview" not in blob]
    if named is not None:
        lists = json_of(blobs[named])
        lists["vocabulary"][0] = "forged"
        blobs[named] = json_blob(lists)
    elif numbers and len(dict(meta["key"])["capture"]) % 2:
        content = bytearray(zlib.decompress(blobs[numbers[0]]))
        content[-2:] = b"\x60\x60"
        blobs[numbers[0]] = zlib.compress(bytes(content))
    else:
        meta["sequences"]["text"]["tokens"][1] = "forged"
    return Entry(meta, blobs)


def listed(blob):
    """Return the JSON of a blob, or None if it holds numbers."""
    try:
        return json_of(blob)
    except ValueError:
        return None


def test_a_model_that_is_not_here(site):
    """Neither is: the entry that is drawn by lot may be of any model."""
    (site / "models").rename(site / "away")
    try:
        made = attnviz(site, "check", "--recompute", "--sample", "1")
        assert made.returncode == 1
        absent = "Its entry cannot be computed again. Model '(mine|mixed)' is no directory on this machine"
        assert re.search(absent, made.stderr)
    finally:
        (site / "away").rename(site / "models")
    assert "`--sample` is the number of entries" in attnviz(site, "check", "--sample", "1").stderr


@pytest.mark.parametrize("name", BLOCKS)
def test_last_bits_may_differ(entries, name):
    _, entry = entries[name]
    chance = random.Random(name)
    blobs = dict(entry.blobs)
    for blob, content in entry.blobs.items():
        raw = zlib.decompress(content)
        if listed(content) is not None:
            blobs[blob] = json_blob(nearly(listed(content), chance))
        elif mixture_of(blob, entry.meta):
            numbers = np.frombuffer(raw, "<u2")
            blobs[blob] = zlib.compress(np.where((numbers > 512) & (numbers < 65535), numbers - 1, numbers).tobytes())
        elif blob == "self/0" and "masks" not in entry.meta:  # a mask has no last bit
            steps = np.frombuffer(raw, np.uint8)
            blobs[blob] = weights_blob(np.where(steps > 1, steps - 1, steps).astype(np.uint8))
        elif blob == "self/cka":
            groups = entry.meta["similar"]["self"]["layers"]
            scales, values = np.frombuffer(raw[: 4 * groups], "<f4"), np.frombuffer(raw[4 * groups :], "<i2")
            blobs[blob] = scaled_blob((values.reshape(groups, -1) * scales[:, None] * 1.0001).astype(np.float32))
    assert difference(Entry(entry.meta, blobs), entry) == ""


def nearly(value, chance):
    if isinstance(value, dict):
        return {name: nearly(part, chance) for name, part in value.items()}
    if isinstance(value, list):
        return [nearly(part, chance) for part in value]
    return value * (1 + 1e-4 * chance.uniform(-1, 1)) if isinstance(value, float) else value


@pytest.mark.parametrize("name", BLOCKS)
def test_any_part_that_is_another(entries, name):
    """Each text of the header, and each part, is compared."""
    _, entry = entries[name]
    for blob in entry.blobs:
        for content in (zlib.compress(b"[1, 2]"), zlib.compress(bytes(40)), b"no", b""):
            assert difference(Entry(entry.meta, {**entry.blobs, blob: content}), entry), blob
    for blob in list(entry.blobs)[:1]:
        fewer = {name: content for name, content in entry.blobs.items() if name != blob}
        assert "other parts" in difference(Entry(entry.meta, fewer), entry)
    assert "another `sequences`" in difference(Entry({**entry.meta, "sequences": {}}, entry.blobs), entry)
    assert difference(Entry({**entry.meta, "made_with": {}}, entry.blobs), entry) == ""
