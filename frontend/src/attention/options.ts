import { html, nothing, type TemplateResult } from "lit";
import { check, choice } from "../controls/choice.js";
import { files, type Saved } from "../controls/menu.js";
import { type Change, CONTRAST, offers, SINK } from "./state.js";
import type { WeightsController } from "./weights-controller.js";

/** The options that a view adds to those that all views share. */
export interface OptionsOf extends Saved {
  /** True if there are several heads to put together. */
  heads: boolean;
  /** True if tokens can be locked. */
  tokens: boolean;
  /** True if only small pictures are shown. */
  coarse?: boolean;
  /** Switches of its own. */
  more?: unknown;
}

/** Everything that is not needed at first. What cannot apply to this figure is not there. */
export function optionsPanel(choices: WeightsController, view: OptionsOf): TemplateResult | typeof nothing {
  if (!choices.open.options) return nothing;
  return html`<div class="options" role="group" aria-label="Options">
    ${view.coarse ? sink(choices) : [across(choices, view), switches(choices, view), sink(choices), threshold(choices)]}${contrast(choices)}${files(choices, view)}
  </div>`;
}

function across(choices: WeightsController, view: OptionsOf): TemplateResult {
  const { state, stack } = choices;
  const { length } = stack.layers;
  const rollout = offers(choices.figure, stack).rollout ? ([["rollout", "rollout"]] as const) : [];
  const layers = [[null, "one"], ["mean", `mean of ${length}`], ["max", `maximum of ${length}`], ...rollout] as const;
  const heads = [
    [null, "each"],
    ["mean", "mean"],
    ["max", "maximum"],
  ] as const;
  const of = <T>(options: readonly (readonly [T, string])[]) => options.map(([v, n]) => [String(v), n] as const);
  const pick = <T>(options: readonly (readonly [T, string])[], text: string) =>
    options.find(([value]) => String(value) === text)?.[0] as T;
  const several = length > 1 || rollout.length > 0;
  return html`${
    several
      ? choice("Layers", String(state.across_layers), of(layers), (text) =>
          choices.choose({ across_layers: pick(layers, text) }),
        )
      : nothing
  }${
    view.heads && state.across_layers !== "rollout"
      ? choice("Heads", String(state.across_heads), of(heads), (text) =>
          choices.choose({ across_heads: pick(heads, text) }),
        )
      : nothing
  }`;
}

function sink(choices: WeightsController): TemplateResult | typeof nothing {
  if (!offers(choices.figure, choices.stack).sink) return nothing;
  return choice("Sink", choices.state.sink, SINK, (sink) => choices.choose({ sink }));
}

type Switch = "value_weighted" | "merge_words" | "special_tokens";

function switches(choices: WeightsController, view: OptionsOf): TemplateResult {
  const { values, words, special } = offers(choices.figure, choices.stack);
  const { state } = choices;
  const tick = (name: Switch, label: string, title: string) =>
    check(label, title, state[name], (on) => choices.choose({ [name]: on }));
  const several = (on: boolean) => {
    choices.several = on;
    choices.host.requestUpdate();
  };
  return html`${
    values && state.across_layers !== "rollout"
      ? tick("value_weighted", "Value-weighted", "Weights times the norm of what each token's value adds")
      : nothing
  }${words ? tick("merge_words", "Whole words", "Pieces of a word are put together") : nothing}${
    special ? tick("special_tokens", "Special tokens", "Show them, or leave them out") : nothing
  }${
    view.tokens
      ? check(
          "Select several",
          "Taps add to the locked tokens, as Ctrl or Shift with a click does",
          choices.several,
          several,
        )
      : nothing
  }${view.more ?? nothing}`;
}

function slider(
  label: string,
  [least, most, step]: readonly [number, number, number],
  value: number,
  text: string,
  change: (value: number) => void,
): TemplateResult {
  return html`<label>${label}<input
    type="range"
    min=${least}
    max=${most}
    step=${step}
    .value=${String(value)}
    aria-valuetext=${text}
    @input=${({ target }: Event) => change(Number((target as HTMLInputElement).value))}
  /><output aria-hidden="true">${text}</output></label>`;
}

const ALL = "all";
const THRESHOLDS = [
  [ALL, "all weights"],
  ["min_weight", "weights of at least"],
  ["mass", "the strongest of each row"],
] as const;
/** The initial values of the thresholds. */
const FIRST = { min_weight: 0.1, mass: 0.8 };

function threshold(choices: WeightsController): TemplateResult {
  const { min_weight, mass } = choices.state;
  const kind = min_weight !== null ? "min_weight" : mass !== null ? "mass" : ALL;
  const pick = (kind: (typeof THRESHOLDS)[number][0]) => {
    const change: Change = kind === ALL ? { min_weight: null, mass: null } : { [kind]: FIRST[kind] };
    choices.choose(change);
  };
  const percent = `${Math.round((mass ?? 0) * 100)}%`;
  return html`<span class="together">${choice("Show", kind, THRESHOLDS, pick)}${
    min_weight !== null
      ? slider("", [0, 0.5, 0.01], min_weight, min_weight.toFixed(2), (value) => choices.choose({ min_weight: value }))
      : mass !== null
        ? slider("", [0.05, 1, 0.05], mass, percent, (value) => choices.choose({ mass: value }))
        : nothing
  }</span>`;
}

/** The slider is even in the logarithm, so that its middle is "as is". */
function contrast(choices: WeightsController): TemplateResult {
  const { contrast } = choices.state;
  const most = Math.log2(CONTRAST.most);
  const change = (power: number) => choices.choose({ contrast: Math.round(2 ** power * 100) / 100 });
  return slider("Contrast", [-most, most, 0.25], Math.log2(contrast), `× ${contrast}`, change);
}
