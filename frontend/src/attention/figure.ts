import { oneOf } from "../checks.js";
import { type Blob, expect, type Figure, type Sequence } from "../figure.js";

/** What views of attention find in `data-figure`. Everything past `attentionOf` may trust it. */
export interface AttentionFigure extends Figure {
  sequences: Record<string, Sequence>;
  stacks: Record<string, Stack>;
  options: Options;
}

/** The attention of one set of layers: tokens of `rows` attend to tokens of `cols`. */
export interface Stack {
  rows: string;
  cols: string;
  /** By construction no token attends to a later one. */
  causal?: boolean;
  layers: LayerSource[];
  /** The largest weights of every head on a coarse grid. */
  overview?: Blob;
  /** The pattern of each head, nine bytes a head (`views/patterns.py`). */
  patterns?: Blob;
}

/** The blob of a layer's weights, and those that belong to it. */
export interface LayerSource extends Blob {
  layer: number;
  heads: number;
  /** Scaled, (heads, cols): the norm of what a token's value adds through a head (Kobayashi et al. 2020). */
  values?: Blob;
  /** Weights of one head: attention rollout up to this layer. */
  rollout?: Blob;
  neurons?: Neurons;
  /** What the first picture draws of a layer that is in a file. */
  preview?: Preview;
}

/** Deflated: a count as uint32, so many offsets into the layer's bytes as uint32, and so many bytes. */
export interface Preview extends Blob {
  /** Of the weight in view. */
  share: number;
}

/** Queries (heads · d, rows) and keys (kv_heads · d, cols), both scaled, and what else enters the scores. */
export interface Neurons {
  d: number;
  kv_heads: number;
  scale: number;
  q: Blob;
  k: Blob;
  /** Scaled, (heads, rows · cols). */
  terms: (Blob & { name: string })[];
}

export const FILTERS = ["all", "aa", "ab", "ba", "bb"] as const;
export type Filter = (typeof FILTERS)[number];
export type AcrossLayers = "mean" | "max" | "rollout" | null;
export type AcrossHeads = "mean" | "max" | null;

/** The first state, and what the author has fixed. */
export interface Options {
  stack: string;
  layer: number;
  heads: number[];
  include_heads: number[] | null;
  filter: Filter;
  across_layers: AcrossLayers;
  across_heads: AcrossHeads;
  value_weighted: boolean;
  merge_words: boolean;
  /** Shown, or left out. */
  special_tokens: boolean;
  contrast: number;
  /** Of these two at most one is set. */
  min_weight: number | null;
  /** The strongest weights of each row that together hold this share. */
  mass: number | null;
  /** Model view: the cell whose detail is open. */
  open?: { layer: number; head: number } | null;
  /** Model view: heads in rows of layers, or in groups by their patterns. */
  order?: "layer" | "pattern";
  /** Matrix: all cells in the width there is, or cells large enough to read. */
  zoom?: "fit" | "cells";
  /** Neuron: the token whose weights are taken apart at first. */
  expanded?: number | null;
}

/** Figures of older builds leave out what was not thought of then. */
function withDefaults(options: Partial<Options>, stacks: Record<string, Stack>): Options {
  const [name, stack] = Object.entries(stacks)[0] as [string, Stack];
  const layer = (stacks[options.stack ?? name] ?? stack).layers[0]?.layer ?? 0;
  return {
    ...{ stack: name, layer, heads: [], include_heads: null, filter: "all", across_layers: null, across_heads: null },
    ...{ value_weighted: false, merge_words: false, special_tokens: true, contrast: 1, min_weight: null, mass: null },
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
    for (const { layer, heads, data, file } of stack.layers)
      expect(heads > 0 && (data ?? file), `layer ${layer} of stack ${name} has no data`);
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

export function findSequence(figure: AttentionFigure, name: string): Sequence {
  return figure.sequences[name] as Sequence;
}
