"""Pages load what attnviz wrote, whatever lies under the same name in the site's sources."""

import pytest
from hosts import Host, MkDocs, Sphinx, Zensical

from mkdocs_attnviz.figure.assets import AssetFolder
from mkdocs_attnviz.figure.scripts import script_file

LONG = "model: minilm\ntext: " + "the old cat sat on the mat and a dog ran over the hill " * 5
SOURCES = {MkDocs: "assets/attnviz", Sphinx: "_static/attnviz", Zensical: "assets/attnviz"}


@pytest.mark.parametrize("tool", [MkDocs, Sphinx, Zensical])
def test_a_file_in_the_sources_does_not_replace_ours(tool: type[Host], tmp_path, shared_cache):
    """Neither the script nor data, also where the other has the same size, or is a link."""
    host = tool(tmp_path, shared_cache)
    host.write("index", LONG)
    if isinstance(host, Sphinx):
        host.config["html_static_path"] = ["_static"]
        (host.source / "_static").mkdir()
    assert host.build(strict=True).returncode == 0
    site = tmp_path / "site"
    assets = {path.name: path for path in (site / SOURCES[tool]).glob("*.js")}
    right = {name: path.read_bytes() for name, path in assets.items()}
    assert len(right) >= 3
    folder = host.source / SOURCES[tool]
    folder.mkdir(parents=True, exist_ok=True)
    scripts = [name for name in right if name.startswith("attnviz")]
    first, *data = (name for name in right if name not in scripts)
    elsewhere = tmp_path / "elsewhere.js"
    elsewhere.write_bytes(b"elsewhere()")
    for name in [*scripts, *data]:
        (folder / name).write_bytes(b"a" * len(right[name]))
    (folder / first).unlink(missing_ok=True)
    (folder / first).symlink_to(elsewhere)
    (folder / "of-the-site.js").write_text("own()")

    built = host.build()
    after = {path.name: path.read_bytes() for path in (site / SOURCES[tool]).glob("*.js")}
    assert after.pop("of-the-site.js") == b"own()"
    assert {name: after[name] for name in scripts} == {name: right[name] for name in scripts}
    assert all(after[name] == right[name] for name in after), "what is there is right; what is not, the figure tells"
    for name in right.keys() - after.keys():
        assert f"{name} was replaced by another of that name" in built.log
    if tool is MkDocs:  # which copies them last
        assert host.build(strict=True).returncode != 0
    for path in folder.iterdir():
        path.unlink()
    assert host.build(strict=True).returncode == 0, "the next build is whole"
    assert {name: (site / SOURCES[tool] / name).read_bytes() for name in right} == right
    assert elsewhere.read_bytes() == b"elsewhere()"


def test_files_are_compared_and_not_their_sizes(tmp_path):
    assets = AssetFolder(tmp_path / "site", "site")
    assets.script("mkdocs_attnviz:static/attnviz.js")
    (placed,) = assets.place([[b"some data"]])
    name, content = script_file("mkdocs_attnviz:static/attnviz.js")
    data = (tmp_path / "site" / placed["file"]).read_bytes()
    for file, right in ((name, content), (placed["file"], data)):
        path = tmp_path / "site" / file
        path.write_bytes(b"x" * len(right))
        assets.script("mkdocs_attnviz:static/attnviz.js"), list(assets.place([[b"some data"]]))
        assert path.read_bytes() == right
        path.unlink()
        path.symlink_to("/dev/zero")
        assets.script("mkdocs_attnviz:static/attnviz.js"), list(assets.place([[b"some data"]]))
        assert path.read_bytes() == right
        assert not path.is_symlink()
