// What axe finds wrong in a part of a page, as far as it is serious: the elements by rule. Without rules, all that axe
// runs by default and whose violations may be serious.
async ([part, rules]) => {
  const contrast = axe._audit.checks["color-contrast"];
  const { evaluate } = contrast;
  const seen = new Set();
  const grounds = new Map();
  const beside = new Map();

  /** What an element puts behind its text. */
  const ground = (element) => {
    const { backgroundColor, backgroundImage, filter, mixBlendMode, opacity } = getComputedStyle(element);
    return [backgroundColor, backgroundImage, filter, mixBlendMode, opacity].join().replace(NONE, "");
  };
  const NONE = /^rgba\(0, 0, 0, 0\),none,none,normal,1$/;

  function cached(map, element, make) {
    if (!map.has(element)) map.set(element, make(element));
    return map.get(element);
  }

  /** The grounds of a figure's elements without text, which may lie below the text of those beside them. */
  const wordless = (root) => {
    const inFigure = root.host || root.getRootNode() !== document;
    return inFigure ? [...root.children].filter((each) => !each.textContent).map(ground).join("") : "";
  };

  /** All grounds below an element's text. */
  const below = (element) => {
    const above = element.parentElement ?? element.getRootNode().host;
    return (above ? cached(grounds, above, below) : "") + ground(element) + cached(beside, element.parentNode, wordless);
  };

  const look = (element) => {
    const { color, fontSize, fontWeight, textShadow } = getComputedStyle(element);
    return [color, fontSize, fontWeight, textShadow, cached(grounds, element, below)].join();
  };

  // Most of axe's time goes into the contrast of texts that look alike: it measures each look until one has passed.
  contrast.evaluate = function (element, ...given) {
    const its = look(element);
    if (seen.has(its)) return true;
    const enough = evaluate.call(this, element, ...given);
    if (enough) seen.add(its);
    return enough;
  };
  // A rule tells in no other way whether axe runs it by default.
  const byDefault = ({ enabled, tags, impact }) =>
    enabled && !tags.includes("experimental") && !["minor", "moderate"].includes(impact);
  const values = rules.length ? rules : axe._audit.rules.filter(byDefault).map(({ id }) => id);
  try {
    const options = { resultTypes: ["violations"], preload: false, runOnly: { type: "rule", values } };
    const { violations } = await axe.run(part, options);
    const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
    return Object.fromEntries(serious.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]));
  } finally {
    contrast.evaluate = evaluate;
  }
}
