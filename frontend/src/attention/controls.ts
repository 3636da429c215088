import { html, nothing, type TemplateResult } from "lit";
import { choice, numbers } from "../controls/choice.js";
import { type AcrossLayers, FILTERS, type Filter, findLayer, STACKS } from "./figure.js";
import { type Chooser, fetchBeside } from "./layer-key.js";
import { sharedKeys } from "./shared-keys.js";
import { isPair, offeredHeads } from "./state.js";
import type { Chosen } from "./view-state.js";
import type { WeightsController } from "./weights-controller.js";

const FILTER_NAMES: Record<Filter, string> = {
  all: "All",
  aa: "Sentence A → A",
  ab: "Sentence A → B",
  ba: "Sentence B → A",
  bb: "Sentence B → B",
};

export function stackSelect(choices: Chooser): TemplateResult | typeof nothing {
  const names = Object.keys(choices.figure.stacks);
  if (names.length < 2) return nothing;
  const options = names.map((name) => [name, STACKS[name] ?? name] as const);
  return choice("Attention", choices.state.stack, options, (stack) => choices.choose({ stack }));
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
