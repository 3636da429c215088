// What is wrong with the layout of a page's figures: voids, overprinted or cut text, a page that is too wide.
(() => {
  const VOID = 60;
  const TOUCH = 2; // px that boxes of text may share: they are higher than their letters
  const hidden = (style) => style.visibility === "hidden" || style.display === "none" || style.opacity === "0";
  const parent = (node) => node.parentElement ?? (node.getRootNode() instanceof ShadowRoot ? node.getRootNode().host : null);
  const clips = (style) => [style.overflowX, style.overflowY].map((value) => value !== "visible");
  /** True for what stands above other text, which its ground hides. */
  const above = ({ position, backgroundColor }) =>
    position === "sticky" || (position === "absolute" && /^(rgb\(|color\([^/]*\)$)/.test(backgroundColor));
  const scrolls = (style) => [style.overflowX, style.overflowY].map((value) => value === "auto" || value === "scroll");

  const up = function* (node, end) {
    for (let at = node; at && at !== end; at = parent(at)) yield at;
  };

  /** What is visible of a box, and by how much an ancestor that does not scroll cuts it. */
  function seen(box, element, figure) {
    const found = { left: box.left, right: box.right, top: box.top, bottom: box.bottom, cut: 0, above: false };
    for (const at of up(element, figure.parentElement)) {
      const style = getComputedStyle(at);
      if (hidden(style) || at.classList.contains("unseen")) return null;
      found.above ||= above(style);
      const [x, y] = clips(style);
      const [sx, sy] = scrolls(style);
      const edge = at.getBoundingClientRect();
      if (x && at !== element.ownerDocument.body) {
        if (!sx) found.cut = Math.max(found.cut, edge.left - found.left, found.right - edge.right);
        [found.left, found.right] = [Math.max(found.left, edge.left), Math.min(found.right, edge.right)];
      }
      if (y) {
        // A line that scrolls may be cut above and below, but not so that nobody sees that there is more.
        if (!sy) found.cut = Math.max(found.cut, (edge.top - found.top) / 2, (found.bottom - edge.bottom) / 2);
        [found.top, found.bottom] = [Math.max(found.top, edge.top), Math.min(found.bottom, edge.bottom)];
      }
    }
    return found.right - found.left > 0 && found.bottom - found.top > 0 ? found : null;
  }

  function* texts(root) {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (!node.data.trim() || node.parentElement.closest("style, option, noscript")) continue;
      if (!node.parentElement.checkVisibility()) continue; // within what is folded
      yield node;
    }
  }

  /** A long token may end in an ellipsis where its title has all of it. */
  const told = (element) => Boolean(element.closest("[title], [data-tip]"));

  function audit(figure) {
    const host = figure.querySelector("attn-viz");
    const root = host.shadowRoot;
    if (!root?.querySelector(".figure")) return ["not drawn"];
    const problems = [];
    const all = [];
    let ink = -Infinity;
    for (const node of texts(root.querySelector(".figure"))) {
      const range = document.createRange();
      range.selectNodeContents(node);
      const element = node.parentElement;
      for (const box of range.getClientRects()) {
        if (box.width < 1) continue;
        const part = seen(box, element, host);
        if (!part) continue;
        ink = Math.max(ink, part.bottom);
        if (part.cut > 1.5 && !told(element)) problems.push(`cut by ${part.cut.toFixed(0)} px: ${node.data.trim().slice(0, 60)}`);
        if (part.right > innerWidth + 1 || part.left < -1) problems.push(`outside of the window: ${node.data.trim().slice(0, 60)}`);
        all.push({ ...part, text: node.data.trim().slice(0, 30), node });
      }
    }
    for (const mark of root.querySelectorAll(".figure :is(canvas, svg, select, button, .bar)")) {
      const part = seen(mark.getBoundingClientRect(), mark, host);
      if (part) ink = Math.max(ink, part.bottom);
      if (part && mark.matches("button, select") && part.cut > 1.5) problems.push(`cut by ${part.cut.toFixed(0)} px: ${mark.title || mark.localName}`);
    }
    all.sort((a, b) => a.top - b.top);
    for (const [i, a] of all.entries())
      for (let j = i + 1; j < all.length && all[j].top < a.bottom - TOUCH; j++) {
        const b = all[j];
        if (a.node === b.node || a.above || b.above) continue;
        const [wide, high] = [Math.min(a.right, b.right) - Math.max(a.left, b.left), Math.min(a.bottom, b.bottom) - b.top];
        if (wide > TOUCH && high > 3 * TOUCH) problems.push(`overprinted: ${a.text} | ${b.text}`);
      }
    const empty = host.getBoundingClientRect().bottom - ink;
    if (empty > VOID) problems.push(`a void of ${empty.toFixed(0)} px below`);
    const legends = [...root.querySelectorAll(".legend")].filter((legend) => legend.getBoundingClientRect().height);
    if (legends.length !== (root.querySelector(".predict-view") ? 0 : 1)) problems.push(`${legends.length} legends`);
    for (const legend of legends) {
      const [first] = legend.children;
      const lines = legend.getBoundingClientRect().height / 24;
      if (lines !== 1) problems.push(`a legend of ${lines} lines`);
      if (!first || first.scrollWidth > first.clientWidth + 1) problems.push("a legend that is empty or cut");
    }
    for (const { rows } of root.querySelectorAll("table"))
      for (const [i, row] of [...rows].entries()) {
        const gap = i && row.getBoundingClientRect().top - rows[i - 1].getBoundingClientRect().bottom;
        if (gap > 6) problems.push(`${gap.toFixed(0)} px above a row: ${row.cells[0].textContent.trim()}`);
      }
    const around = figure.getBoundingClientRect();
    const within = host.getBoundingClientRect();
    if (within.right > around.right + 1 || within.left < around.left - 1) problems.push("wider than its place");
    if (host.scrollWidth > host.clientWidth + 1) problems.push(`its contents are ${host.scrollWidth - host.clientWidth} px wider`);
    return [...new Set(problems)];
  }

  const found = {};
  for (const figure of document.querySelectorAll("figure.attnviz")) {
    if (!figure.checkVisibility({ contentVisibilityAuto: true })) continue;
    const problems = audit(figure);
    if (problems.length) found[figure.id] = problems;
  }
  const { scrollWidth } = document.scrollingElement;
  if (scrollWidth > innerWidth + 1) found.page = [`${scrollWidth - innerWidth} px wider than the window`];
  return found;
})()
