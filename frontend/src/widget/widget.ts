import { AttnViz } from "../element/element.js";
import type { ViewClass } from "../element/view.js";
import { provide } from "./provided.js";

/** The part of anywidget's model that the module needs. Hosts without a kernel have only `get`, `set` and `on`. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  on(name: string, callback: () => void): void;
  off(name: string, callback: () => void): void;
  save_changes(): void;
}

interface Place {
  model: Model;
  el: HTMLElement;
}

/** Scripts of other packages' views, which are run once a page. */
const scripts = new Map<string, Promise<void>>();

/** Make the views known and return anywidget's widget. */
export function widget(views: Record<string, ViewClass>): { render(place: Place): Promise<() => void> } {
  AttnViz.define(views);
  AttnViz.publish();
  return { render };
}

/** Draw a model's figure, and return the function that removes it. */
async function render({ model, el }: Place): Promise<() => void> {
  await Promise.all(((model.get("scripts") as string[]) ?? []).map(run));
  const release = provide(model.get("data") as Record<string, never>);
  el.innerHTML = String(model.get("figure") ?? "");
  // Pages that Jupyter exports set their text in it, but not what widgets show. Elsewhere there is no such variable.
  el.style.fontFamily = "var(--jp-content-font-family)";
  customElements.upgrade(el);
  const figure = el.querySelector<AttnViz>("attn-viz");
  const unfollow = figure ? follow(figure, model, el) : () => {};
  el.addEventListener("keydown", keepKey);
  return () => {
    unfollow();
    release();
    el.removeEventListener("keydown", keepKey);
    el.replaceChildren();
  };
}

function run(url: string): Promise<void> {
  const running = scripts.get(url) ?? loaded(url);
  scripts.set(url, running);
  return running;
}

/** A script that cannot be loaded costs the figures of its view only: they keep their static pictures. */
function loaded(url: string): Promise<void> {
  return new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = script.onerror = () => resolve();
    document.head.append(script);
  });
}

/** Keep the states of figure and model the same, and return the function that ends this. */
function follow(figure: AttnViz, model: Model, el: HTMLElement): () => void {
  // Later, because ipywidgets loses what is set back while it tells of a change.
  const report = async (problem: string) => {
    await null;
    showProblem(el, problem);
    if (same(model.get("state"), figure.state) && (model.get("problem") ?? "") === problem) return;
    model.set("state", figure.state);
    model.set("problem", problem);
    attempt(() => model.save_changes());
  };
  const onReader = () => report("");
  const onModel = () => {
    const { state } = figure;
    const wanted = { ...(model.get("state") as object) };
    if (same(wanted, state)) return;
    try {
      figure.state = wanted;
      report("");
    } catch (error) {
      figure.state = state;
      report(String((error as Error).message));
    }
  };
  try {
    onModel();
  } catch {
    return () => {}; // its data are damaged, which it says itself
  }
  figure.addEventListener("attnviz-change", onReader);
  model.on("change:state", onModel);
  return () => {
    figure.removeEventListener("attnviz-change", onReader);
    attempt(() => model.off("change:state", onModel));
  };
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);

/** Call what hosts without a kernel refuse. */
function attempt(call: () => void): void {
  try {
    call();
  } catch {
    // mystmd's model throws: it has nothing to save to
  }
}

/** Say below the figure why it does not show the state that a program has set. */
function showProblem(el: HTMLElement, problem: string): void {
  el.querySelector(".attnviz-problem")?.remove();
  if (!problem) return;
  const line = document.createElement("p");
  line.className = "attnviz-problem";
  line.setAttribute("role", "alert");
  line.textContent = `This state cannot be shown: ${problem}`;
  el.append(line);
}

/**
 * Keep a key that means something here from a host that has shortcuts for it: one that the figure has used, or one that
 * is typed into a field. The host cannot tell the latter, because a field inside a shadow root is not seen from outside.
 */
function keepKey(event: KeyboardEvent): void {
  const field = (event.composedPath()[0] as Element).closest("input, select, textarea");
  if (event.defaultPrevented || (field && !event.ctrlKey && !event.metaKey && !event.altKey)) event.stopPropagation();
}
