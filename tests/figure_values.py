"""The values in every figure of the example site, read by its public interface, under two scripts or in two builds.

`python tests/figure_values.py HEAD~3` compares the site as it is with itself under the scripts of that revision;
`python tests/figure_values.py FOLDER` with another build of it. Of each figure are compared: its state, the state that
each of some links brings, what is told of a key that turns the layer, and the
numbers of `weights()`, `neurons()` and `values()`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import chromium
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
SITE = ROOT / "example_site" / "site"
STATIC = "mkdocs_attnviz/static"
LINKS = (
    "layer=1", "head=1", "heads=1", "heads=0,1&layer=1", "filter=ab", "across_layers=mean", "across_layers=rollout",
    "across_heads=max", "value_weighted=true", "merge_words=true", "special_tokens=false", "sink=leave_out",
    "contrast=2", "min_weight=0.1", "mass=0.5", "selected=left,1", "selected=right,1,2", "selected=1", "selected=null",
    "cell=1,1", "zoom=cells", "beside=1,1", "open=1,1", "order=pattern", "expanded=1", "stack=cross", "stack=decoder",
    "before=true", "before=true&layer=1", "shade=rank", "position=1", "style=bars", "show=entropy&cells=actual",
    "layer=1&position=1", "order=strength&token=1", "factor=1", "measure=svcca&row=1&col=0",
    "layer=99", "selected=up,1", "nothing=1",
)  # fmt: skip

READ = """async (links) => {
  const sha = async (value) => {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
    return [...digest].slice(0, 8).map((byte) => byte.toString(16).padStart(2, '0')).join('');
  };
  const tried = async (ask) => {
    try { return await sha(await ask()); } catch (error) { return `${error.name}: ${error.message}`; }
  };
  const read = async (element) => {
    const figure = JSON.parse(element.dataset.figure);
    const shown = figure.of ?? figure;
    const found = { view: figure.view, state: element.state, numbers: {}, links: {} };
    for (const [stack, { layers }] of Object.entries(shown.stacks ?? {}))
      for (const { layer, heads } of new Set([layers[0], layers.at(-1)]))
        for (const head of new Set([0, heads - 1, heads])) {
          const where = { stack, layer, head };
          const name = `${stack} ${layer} ${head}`;
          found.numbers[name] = await tried(() => element.weights(where));
          if (layers[0].neurons) found.numbers[`${name} neurons`] = await tried(() => element.neurons(where));
        }
    if (!shown.stacks)
      for (const request of [{}, { layer: 0 }, { position: 1 }, { layer: 1, position: 1 }])
        found.numbers[JSON.stringify(request)] = await tried(() => element.values(request));
    const id = element.closest('figure').id;
    for (const link of links) {
      location.hash = `${id}~${link}`;
      dispatchEvent(new HashChangeEvent('hashchange'));
      found.links[link] = JSON.stringify(element.state);
      await 0;
    }
    location.hash = `${id}~`;
    dispatchEvent(new HashChangeEvent('hashchange'));
    element.scrollIntoView();
    const told = [];
    element.addEventListener('attnviz-change', ({ detail }) => told.push(detail));
    await element.ready;
    await element.updateComplete;
    for (const key of [']', 'Escape'])
      for (const view of element.shadowRoot.querySelectorAll('.view'))
        view.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, composed: true }));
    found.told = told;
    return found;
  };
  const all = {};
  for (const [number, element] of [...document.querySelectorAll('attn-viz')].entries())
    all[`${number} ${element.closest('figure').id}`] = await read(element);
  return all;
}"""


def figures(folder: Path, browser, only: str):
    """Return what is read of each page's figures."""
    found = {}
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).as_posix()
        if "<attn-viz" not in path.read_text("utf-8") or only not in name:
            continue
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(300_000)
        page.goto(path.as_uri())
        page.wait_for_function("Boolean(customElements.get('attn-viz'))")
        found[name] = page.evaluate(READ, LINKS)
        page.close()
    return found


def with_scripts_of(revision: str, site: Path, folder: Path) -> Path:
    """Return a copy of a site whose pages load the scripts of another revision under the names of their own."""
    copy = folder / "site"
    shutil.copytree(site, copy)
    for path in (copy / "assets" / "attnviz").glob("attnviz-*.js"):
        name = f"{path.stem.rpartition('-')[0]}.js"
        script = f"{revision}:{STATIC}/{name}"
        command = ["git", "show", script] if revision != "." else ["cat", f"{STATIC}/{name}"]
        content = subprocess.run(command, cwd=ROOT, check=False, capture_output=True).stdout
        path.write_bytes(content)  # empty if that revision has the view in another script
    return copy


def differences(one, other, where=""):
    """Yield each place in which two records differ, and what they have there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from differences(one.get(key), other.get(key), f"{where} / {key}")
    elif one != other:
        yield f"{where}: {json.dumps(one)} → {json.dumps(other)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", help="a git revision, or the folder of another build")
    parser.add_argument("--only", default="", help="a part of a page's path")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        other = Path(given.other)
        if other.is_dir():
            folders = [other, SITE]
        else:
            folders = [with_scripts_of(each, SITE, Path(base) / f"{n}") for n, each in enumerate([given.other, "."])]
        before, now = (figures(folder, browser, given.only) for folder in folders)
        browser.close()
    found = list(differences(before, now))
    numbers = sum(len(figure["numbers"]) for page in now.values() for figure in page.values())
    print(*found, sep="\n")
    print(f"{len(now)} pages, {sum(map(len, now.values()))} figures, {numbers} answers, {len(found)} differences")
    return bool(found) or not now


if __name__ == "__main__":
    sys.exit(main())
