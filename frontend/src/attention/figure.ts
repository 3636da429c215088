import { type Blob, expect, type Figure, type Sequence } from "../element/figure.js";
import type { FirstState, LayerSource, Stack, AttentionFigure as Written } from "../element/figure-data.js";
import { oneOf } from "../lib/checks.js";

export type { LayerSource, Neurons, Preview, Stack } from "../element/figure-data.js";

/** The ways of looking that only some views of attention offer; in the others all have their defaults. */
type Ways =
  | "across_layers"
  | "across_heads"
  | "value_weighted"
  | "merge_words"
  | "special_tokens"
  | "sink"
  | "contrast"
  | "min_weight"
  | "mass";

/** The first state, and what the author has fixed. */
export type Options = FirstState & Required<Pick<FirstState, Ways>>;
export type Filter = Options["filter"];
export type AcrossLayers = Options["across_layers"];
export type AcrossHeads = Options["across_heads"];

/** The `data-figure` of a view of attention. Everything past `attentionOf` may trust it. */
export interface AttentionFigure extends Written {
  options: Options;
}

export const FILTERS = ["all", "aa", "ab", "ba", "bb"] as const satisfies Filter[];

/** Figures of older builds leave out what was not thought of then. */
function withDefaults(options: Partial<Options>, stacks: Record<string, Stack>): Options {
  const [name, stack] = Object.entries(stacks)[0] as [string, Stack];
  const layer = (stacks[options.stack ?? name] ?? stack).layers[0]?.layer ?? 0;
  return {
    ...{ stack: name, layer, heads: [], include_heads: null, filter: "all", across_layers: null, across_heads: null },
    ...{
      value_weighted: false,
      merge_words: false,
      special_tokens: true,
      sink: "show",
      contrast: 1,
      min_weight: null,
      mass: null,
    },
    ...options,
  };
}

/** Return the figure as one of attention. Throws if it is malformed. */
export function attentionOf(given: Figure): AttentionFigure {
  const figure = given as AttentionFigure;
  const stacks = Object.entries(figure.stacks ?? {});
  expect(stacks.length > 0, "has no stack");
  expect(figure.options, "has no options");
  for (const [name, stack] of stacks) {
    for (const side of [stack.rows, stack.cols])
      expect(Array.isArray(figure.sequences?.[side]?.tokens), `stack ${name} names the unknown sequence ${side}`);
    expect(stack.layers?.length > 0, `stack ${name} has no layers`);
    for (const { layer, heads, data, file, parts } of stack.layers)
      expect(heads > 0 && (data ?? file ?? parts), `layer ${layer} of stack ${name} has no data`);
  }
  return { ...figure, options: withDefaults(figure.options, figure.stacks) };
}

export function findStack(figure: AttentionFigure, name = Object.keys(figure.stacks)[0] ?? ""): Stack {
  oneOf("stack", name, Object.keys(figure.stacks));
  return figure.stacks[name] as Stack;
}

export function findLayer(stack: Stack, layer: number): LayerSource {
  const numbers = stack.layers.map((source) => source.layer);
  oneOf("layer", layer, numbers);
  return stack.layers[numbers.indexOf(layer)] as LayerSource;
}

/** The blobs that hold a layer's weights. */
export const weightBlobs = (source: LayerSource): Blob[] => source.parts ?? [source];

/** True if the page has weights of a head. */
export const isShipped = ({ kept }: LayerSource, head: number): boolean => kept?.[head] !== 0;

export function findSequence(figure: AttentionFigure, name: string): Sequence {
  return figure.sequences[name] as Sequence;
}

/** The names of the stacks in the controls of a figure that has several. */
export const STACKS: Record<string, string> = { self: "Self", encoder: "Encoder", decoder: "Decoder", cross: "Cross" };
