import type { Blob } from "../element/figure.js";
import type { Decode } from "../element/store.js";
import { Scaled, upTo } from "../lib/packed.js";
import type { LayerSource, Neurons } from "./figure.js";

/** Queries, keys and what else makes the scores of one layer, as stored. */
export interface NeuronLayer extends Pick<Neurons, "d" | "kv_heads" | "scale"> {
  heads: number;
  rows: number;
  cols: number;
  causal: boolean;
  /** (heads·d, rows), (kv_heads·d, cols) and, for each term, (heads, rows·cols). */
  q: Scaled;
  k: Scaled;
  terms: { name: string; values: Scaled }[];
}

/** Gets a decoded blob, at once or later. */
type Get<T> = (blob: Blob, decode: Decode<Scaled>) => T;

/** Asks for all blobs of a layer's neurons: q, k, then the terms. */
export function neuronBlobs<T>({ heads, neurons }: LayerSource, rows: number, cols: number, get: Get<T>): T[] {
  if (!neurons) return [];
  const { d, kv_heads, q, k, terms } = neurons;
  const read = (blob: Blob, groups: number, length: number) =>
    get(
      blob,
      upTo(groups * (4 + 2 * length), (bytes) => {
        const values = new Scaled(bytes, groups);
        if (values.length !== length) throw new Error(`${values.length} values in a row, not ${length}`);
        return values;
      }),
    );
  return [
    read(q, heads * d, rows),
    read(k, kv_heads * d, cols),
    ...terms.map((term) => read(term, heads, rows * cols)),
  ];
}

export function neuronLayer(
  { heads, neurons }: LayerSource,
  rows: number,
  cols: number,
  causal: boolean,
  [q, k, ...terms]: Scaled[],
): NeuronLayer {
  const { d, kv_heads, scale, terms: sources } = neurons as Neurons;
  const named = sources.map(({ name }, i) => ({ name, values: terms[i] as Scaled }));
  return { d, kv_heads, scale, heads, rows, cols, causal, q: q as Scaled, k: k as Scaled, terms: named };
}

/** The steps from one token's scores to its weights; each array has one number per token that it may attend to. */
export interface ScoreRow {
  /** q·k·scale */
  dots: Float64Array;
  /** −∞ where it is masked. */
  terms: Float64Array[];
  /** The input of the softmax; −∞ where it is masked. */
  scores: Float64Array;
  weights: Float64Array;
}

/** One head of a layer. With grouped queries several heads share their keys. */
export class NeuronHead {
  /** The largest |value| of all tokens' queries, keys and their products. */
  readonly largest: { q: number; k: number; product: number };
  private readonly query: Float32Array[];
  private readonly key: Float32Array[];
  private readonly known = new Map<number, ScoreRow>();

  constructor(
    readonly layer: NeuronLayer,
    readonly head: number,
  ) {
    const { d, heads, kv_heads, q, k } = layer;
    const neurons = Array.from({ length: d }, (_, i) => i);
    this.query = neurons.map((i) => q.row(head * d + i));
    this.key = neurons.map((i) => k.row(Math.floor((head * kv_heads) / heads) * d + i));
    const [query, key] = [this.query.map(largestOf), this.key.map(largestOf)];
    const product = Math.max(...query.map((value, i) => value * (key[i] as number)));
    this.largest = { q: Math.max(...query), k: Math.max(...key), product };
  }

  q(row: number, neuron: number): number {
    return (this.query[neuron] as Float32Array)[row] as number;
  }

  k(col: number, neuron: number): number {
    return (this.key[neuron] as Float32Array)[col] as number;
  }

  row(row: number): ScoreRow {
    const found = this.known.get(row) ?? this.computed(row);
    this.known.set(row, found);
    return found;
  }

  private computed(row: number): ScoreRow {
    const { d, cols, scale, terms } = this.layer;
    const dots = new Float64Array(cols);
    for (let i = 0; i < d; i++)
      for (let col = 0; col < cols; col++) (dots[col] as number) += this.q(row, i) * this.k(col, i) * scale;
    const values = terms.map((term) => {
      const stored = term.values.row(this.head).subarray(row * cols, (row + 1) * cols);
      return Float64Array.from(stored, (value) => (Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value));
    });
    const sum = (col: number) => values.reduce((total, term) => total + (term[col] as number), dots[col] as number);
    const scores = dots.map((_, col) => (this.isFuture(row, col) ? Number.NEGATIVE_INFINITY : sum(col)));
    return { dots, terms: values, scores, weights: softmax(scores) };
  }

  /** A column past the last row is no token but a sink, which all tokens see. */
  private isFuture(row: number, col: number): boolean {
    const { causal, rows } = this.layer;
    return causal && col > row && col < rows;
  }
}

function largestOf(values: Float32Array): number {
  return values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}

export function softmax(scores: Float64Array): Float64Array {
  const most = Math.max(...scores);
  if (most === Number.NEGATIVE_INFINITY) return scores.map(() => 0);
  const powers = scores.map((score) => Math.exp(score - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

/** The same for a program: plain arrays, with −Infinity where it is masked. */
export interface HeadNeurons {
  /** (rows, d) and (cols, d) */
  query: number[][];
  key: number[][];
  scale: number;
  /** The input of the softmax, (rows, cols): q·k·scale plus all other terms. */
  scores: number[][];
  terms: { name: string; values: number[][] }[];
}

export function headNeurons(layer: NeuronLayer, number: number): HeadNeurons {
  const { d, rows, cols, scale, terms } = layer;
  const head = new NeuronHead(layer, number);
  const table = (length: number, width: number, value: (token: number, neuron: number) => number) =>
    Array.from({ length }, (_, token) => Array.from({ length: width }, (_, i) => value(token, i)));
  const perRow = Array.from({ length: rows }, (_, row) => head.row(row));
  return {
    query: table(rows, d, (row, i) => head.q(row, i)),
    key: table(cols, d, (col, i) => head.k(col, i)),
    scale,
    scores: perRow.map(({ scores }) => [...scores]),
    terms: terms.map(({ name }, i) => ({ name, values: perRow.map((row) => [...(row.terms[i] as Float64Array)]) })),
  };
}
