/**
 * Open everything that hides the target of a link: closed `<details>`, and tabs in all the ways in which pages make
 * them. Return whether anything was hidden.
 */
export function reveal(element: Element): boolean {
  let opened = false;
  const around: Element[] = [];
  for (let at = element.parentElement; at; at = at.parentElement) around.unshift(at);
  for (const at of around) {
    if (at instanceof HTMLDetailsElement && !at.open) {
      at.open = true;
      opened = true;
    } else if (at.getAttribute("hidden") === "until-found") {
      at.dispatchEvent(new Event("beforematch", { bubbles: true }));
      at.removeAttribute("hidden");
      opened = true;
    } else if (isHidden(at)) opened = open(at) || opened;
  }
  return opened;
}

const isHidden = (element: Element): boolean => {
  const { display, visibility } = getComputedStyle(element);
  return display === "none" || visibility === "hidden";
};

function open(panel: Element): boolean {
  for (const control of [inputOf(panel), controlOf(panel), toggleIn(panel)]) {
    if (isHidden(panel)) control?.click();
  }
  return !isHidden(panel);
}

/** Return a panel's radio button: beside it (sphinx-design, sphinx-inline-tabs), or before all panels (Material). */
function inputOf(panel: Element): HTMLElement | null | undefined {
  const siblings = [...(panel.parentElement?.children ?? [])];
  const outside = [...(panel.parentElement?.parentElement?.children ?? [])].filter(isInput);
  const number = siblings.filter((other) => other.className === panel.className).indexOf(panel);
  const before = siblings.slice(0, siblings.indexOf(panel)).filter(isInput);
  return (before.at(-1) ?? outside[number]) as HTMLElement | undefined;
}

const isInput = (element: Element): boolean => element.matches("input[type=radio], input[type=checkbox]");

/** Return the element that declares that it opens the panel, by ARIA, Bootstrap, a label or a link. */
function controlOf(panel: Element): HTMLElement | null {
  const root = panel.getRootNode() as Document | ShadowRoot;
  const named = panel.getAttribute("aria-labelledby")?.split(" ")[0];
  const tab = named ? root.getElementById(named) : null;
  if (tab || !panel.id) return tab;
  const id = CSS.escape(panel.id);
  const ways = [`[aria-controls~="${id}"]`, `[data-bs-target="#${id}"]`, `[data-target="#${id}"]`, `a[href="#${id}"]`];
  return root.querySelector<HTMLElement>(ways.join());
}

/** Return the button inside a panel's parent that opens it (sphinx-togglebutton). */
const toggleIn = (panel: Element) => panel.parentElement?.querySelector<HTMLElement>(".toggle-button");
