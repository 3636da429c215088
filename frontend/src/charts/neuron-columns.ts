import type { NeuronHead, ScoreRow } from "../attention/neuron-scores.js";

/** A column of numbers, each with a small bar, that says one step of how a weight comes about. */
export interface NumberColumn {
  heading: string;
  note: string;
  about: string;
  values: Float64Array;
  /** Weights are never negative, and of neither colour. */
  weights: boolean;
}

const TERMS: Record<string, string> = {
  "relative position bias": "What the tokens’ distance adds, learnt for this head",
  ALiBi: "What is taken off for each token of distance",
  "soft cap": "What keeps scores within the model's limit",
  sink: "No token, but a place for attention, learnt for this head",
  mask: "Tokens that this layer hides from this one",
  "disentangled position": "What content and position say of each other",
};

export const STRIPS = {
  q: { heading: "Query q", about: "What the token looks for: a number for each neuron" },
  k: { heading: "Key k", about: "What each token offers to be found by" },
  product: { heading: "q × k", about: "Query times key, neuron by neuron: blue where both have the same sign" },
};

export function numberColumns({ layer }: NeuronHead, row: ScoreRow): NumberColumn[] {
  const { scale, terms } = layer;
  const summed = terms.length > 0;
  // Masked scores count for neither digits nor bars.
  const unmasked = (values: Float64Array) =>
    values.map((value, col) => (row.scores[col] === Number.NEGATIVE_INFINITY ? Number.NaN : value));
  return [
    {
      heading: "q · k",
      note: `× ${Number(scale.toPrecision(3))}`,
      about: "The sum of all products, scaled so as not to grow with their number",
      values: unmasked(row.dots),
      weights: false,
    },
    ...terms.map(({ name }, i) => ({
      heading: `+ ${name}`,
      note: "",
      about: TERMS[name] ?? "What else this model adds to the score",
      values: unmasked(row.terms[i] as Float64Array),
      weights: false,
    })),
    ...(summed
      ? [{ heading: "= score", note: "", about: "What goes into the softmax", values: row.scores, weights: false }]
      : []),
    {
      heading: "Softmax",
      note: "→ weight",
      about: "The attention weight: e to the power of the score, as a share of all tokens’",
      values: row.weights,
      weights: true,
    },
  ];
}

/** Formats with as many digits as tell the numbers of a column apart, and a true minus sign. */
export function formatNumbers(values: ArrayLike<number>): (value: number) => string {
  const largest = Array.from(values).reduce(
    (most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most),
    0,
  );
  const digits = largest >= 100 ? 0 : largest >= 10 ? 1 : largest >= 0.1 ? 2 : 3;
  return (value) => formatted(value, digits);
}

export function formatted(value: number, digits: number): string {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}
