"""A link to a figure that something hides opens it: details, and tabs as themes and extensions make them."""

import pytest
from conftest import draw_all

BLOCK = "```attention\nmodel: minilm\ntext: The cat sat on the mat\nid: cats\n```\n"
HIDDEN = {
    "details": "<details><summary>More</summary>{}</details>",
    "details in details": "<details><summary>More</summary><details><summary>Again</summary>{}</details></details>",
    "material": '<div class="tabbed-set tabbed-alternate"><input checked id="t1" name="t" type="radio">'
    '<input id="t2" name="t" type="radio"><div class="tabbed-labels"><label for="t1">A</label><label for="t2">B</label>'
    '</div><div class="tabbed-content">'
    '<div class="tabbed-block"><p>One</p></div><div class="tabbed-block">{}</div></div>'
    "</div><style>.tabbed-block {{ display: none }}"
    "#t1:checked ~ .tabbed-content > :nth-child(1), #t2:checked ~ .tabbed-content > :nth-child(2) {{ display: block }}"
    "</style>",
    "sphinx-design": '<div class="sd-tab-set"><input checked id="t1" name="t" type="radio"><label for="t1">A</label>'
    '<div class="sd-tab-content"><p>One</p></div><input id="t2" name="t" type="radio"><label for="t2">B</label>'
    '<div class="sd-tab-content">{}</div></div><style>.sd-tab-content {{ display: none }}'
    "input:checked + label + .sd-tab-content {{ display: block }}</style>",
    "aria": '<div role="tablist"><button role="tab" id="t" aria-controls="p" '
    "onclick=\"document.getElementById('p').hidden = false\">B</button></div>"
    '<div role="tabpanel" id="p" aria-labelledby="t" hidden>{}</div>',
    "bootstrap": '<a href="#p" data-bs-target="#p" '
    "onclick=\"event.preventDefault(); document.getElementById('p').classList.add('active')\">B</a>"
    '<div class="tab-pane" id="p">{}</div><style>.tab-pane:not(.active) {{ display: none }}</style>',
    "until-found": '<div hidden="until-found">{}</div>',
    "togglebutton": '<div class="toggle"><button class="toggle-button" '
    "onclick=\"this.nextElementSibling.style.display = 'block'\">Show</button>"
    '<div style="display:none">{}</div></div>',
    "a tab in details": '<details><summary>More</summary><input id="t2" type="checkbox"><label for="t2">B</label>'
    '<div class="tab">{}</div><style>.tab {{ display: none }}'
    "input:checked ~ .tab {{ display: block }}</style></details>",
}


@pytest.fixture(scope="module")
def figure(tmp_path_factory, shared_cache):
    """The figure as it stands in a page that holds everything."""
    import markdown
    from conftest import MINILM

    settings = {"cache_dir": str(shared_cache), "lock_file": str(tmp_path_factory.mktemp("lock") / "attnviz.lock")}
    settings |= {"models": {"minilm": MINILM}}
    return markdown.markdown(BLOCK, extensions=["mkdocs_attnviz"], extension_configs={"mkdocs_attnviz": settings})


@pytest.mark.parametrize("way", HIDDEN)
def test_what_hides_a_figure_opens(figure, tmp_path, visits, open_page, way):
    head, above = "<!doctype html><meta charset=utf-8>", "<p>above</p>" * 60
    html = f"{above}{HIDDEN[way].format(figure)}{above}"
    for link, heads in (("#cats", 12), ("#cats~heads=3", 1)):
        page = visits.fragment(head, html)
        assert not page.locator("attn-viz").is_visible()
        page.evaluate("link => { location.hash = link }", link)
        page.locator("attn-viz").wait_for()
        draw_all(page)
        assert page.evaluate("document.querySelector('attn-viz').state.heads.length") == heads
        page.wait_for_function("Math.abs(document.querySelector('attn-viz').getBoundingClientRect().y) < innerHeight")
    (tmp_path / "page.html").write_text(f"{head}{html}", "utf-8")
    page = open_page(f"{(tmp_path / 'page.html').as_uri()}#cats~heads=3")  # who comes from another page
    page.locator("attn-viz").wait_for()
