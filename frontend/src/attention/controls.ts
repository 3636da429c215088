import { html, nothing, type TemplateResult } from "lit";
import { fetchAhead } from "../element/files.js";
import { type AcrossLayers, FILTERS, type Filter, findLayer, weightBlobs } from "./figure.js";
import { grouped, sharedKeys } from "./shared-keys.js";
import { isPair, offeredHeads } from "./state.js";
import { type AttentionViewState, type Chosen, STACKS } from "./view-state.js";
import type { WeightsController } from "./weights-controller.js";

/** Milliseconds after a turn to another layer until the one after it is fetched, too: the first is to come first. */
const TURNED_MS = 300;

/** A view's choices, whatever else it lets choose. */
type Chooser = Pick<AttentionViewState<Chosen, Partial<Chosen>>, "figure" | "stack" | "state" | "choose">;

const FILTER_NAMES: Record<Filter, string> = {
  all: "All",
  aa: "Sentence A → A",
  ab: "Sentence A → B",
  ba: "Sentence B → A",
  bb: "Sentence B → B",
};

/** A quiet select with its label. `near` is called when a pointer or the keyboard comes to it; `group` names groups. */
export function choice<T extends string | number>(
  label: string,
  value: T,
  options: readonly (readonly [T, string])[],
  choose: (value: T) => void,
  near?: () => void,
  group: (value: T) => string = () => "",
): TemplateResult {
  const list = (some: typeof options) =>
    some.map(([option, name]) => html`<option value=${option} .selected=${option === value}>${name}</option>`);
  const change = ({ target }: Event) => {
    const [found] = options[(target as HTMLSelectElement).selectedIndex] ?? [];
    if (found !== undefined) choose(found);
  };
  return html`<label @pointerenter=${near} @focusin=${near}>${label} <select @change=${change}>
    ${grouped(options, ([option]) => group(option)).map(([name, some]) =>
      name ? html`<optgroup label=${name}>${list(some)}</optgroup>` : list(some),
    )}
  </select></label>`;
}

export const numbers = (values: number[]) => values.map((value) => [value, String(value)] as const);

export function stackSelect(choices: Chooser): TemplateResult | typeof nothing {
  const names = Object.keys(choices.figure.stacks);
  if (names.length < 2) return nothing;
  const options = names.map((name) => [name, STACKS[name] ?? name] as const);
  return choice("Attention", choices.state.stack, options, (stack) => choices.choose({ stack }));
}

/** The layer after this one, or before it, is fetched: who comes to the control, or turns the pages, wants it next. */
function fetchBeside({ stack: { layers }, state }: Chooser, by = 1): void {
  const next = layers[layers.findIndex(({ layer }) => layer === state.layer) + by];
  for (const { file } of next ? weightBlobs(next) : []) fetchAhead(file);
}

/** Not there where all layers are shown as one. */
export function layerSelect(choices: Chooser): TemplateResult | typeof nothing {
  const { across_layers, layer } = choices.state as Chosen & { across_layers?: AcrossLayers };
  if (across_layers === "mean" || across_layers === "max") return nothing;
  const layers = choices.stack.layers.map((source) => source.layer);
  const turn = (layer: number) => choices.choose({ layer });
  return choice("Layer", layer, numbers(layers), turn, () => fetchBeside(choices));
}

/** A note of what the other controls do not say. */
export function howText({ how }: Pick<WeightsController, "how">): TemplateResult | typeof nothing {
  return how ? html`<span class="how">${how}</span>` : nothing;
}

/** The control that chooses one head. */
export function headSelect(choices: WeightsController): TemplateResult | typeof nothing {
  const { across_heads, across_layers, heads } = choices.state;
  if (across_heads || across_layers === "rollout") return nothing;
  return headChoice(choices, heads[0] as number, (head) => choices.choose({ heads: [head] }));
}

/** Heads that share keys stand in a group. */
export function headChoice(
  { figure, stack, state: { layer } }: Chooser,
  head: number,
  choose: (head: number) => void,
): TemplateResult {
  const source = findLayer(stack, layer);
  const group = (head: number) => sharedKeys(source, head).join(" · ");
  return choice("Head", head, numbers(offeredHeads(figure, stack, layer)), choose, undefined, group);
}

export function pairSelect(choices: Chooser): TemplateResult | typeof nothing {
  if (!isPair(choices.figure, choices.stack)) return nothing;
  const options = FILTERS.map((filter) => [filter, FILTER_NAMES[filter]] as const);
  return choice("Pairs", choices.state.filter, options, (filter) => choices.choose({ filter }));
}

/** The browser's own, like Ctrl+PageUp or ⌘[; but AltGr, which some keyboards need for a bracket, is Ctrl and Alt. */
const isBrowsers = ({ metaKey, ctrlKey, altKey }: KeyboardEvent) => metaKey || ctrlKey !== altKey;
const STEPS: Record<string, number> = { "[": -1, "]": 1 };

/** Brackets turn to the next layer. Returns whether the key meant one. */
export function layerKey(choices: Chooser, event: KeyboardEvent): boolean {
  const by = STEPS[event.key];
  const taken = isBrowsers(event) || (event.target as Element).matches("select, input, .table");
  if (taken || by === undefined) return false;
  const layers = choices.stack.layers.map((source) => source.layer);
  const next = layers[layers.indexOf(choices.state.layer) + by];
  if (next !== undefined) {
    choices.choose({ layer: next });
    setTimeout(fetchBeside, TURNED_MS, choices, by);
  }
  event.preventDefault();
  return true;
}
