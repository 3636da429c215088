import type { AttentionFigure } from "../src/attention/figure.js";

/** A pair of two and three tokens, two layers of four heads. */
export function pairFigure(): AttentionFigure {
  return {
    view: "head",
    label: "A pair",
    theme: "auto",
    sequences: { input: { tokens: ["[CLS]", "a", "b", "c", "[SEP]"], special: [0, 4], sentence_b_start: 2 } },
    stacks: {
      self: {
        rows: "input",
        cols: "input",
        layers: [
          { layer: 1, heads: 4, data: "x" },
          { layer: 5, heads: 2, file: "x.js" },
        ],
      },
    },
    options: {
      stack: "self",
      layer: 1,
      heads: [0, 3],
      include_heads: null,
      filter: "all",
      across_layers: null,
      across_heads: null,
      value_weighted: false,
      merge_words: false,
      special_tokens: true,
      sink: "show",
      contrast: 1,
      min_weight: null,
      mass: null,
    },
  };
}
