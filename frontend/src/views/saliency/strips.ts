import type { Groups, MethodsFigure, Strip } from "../../element/figure-data.js";
import type { Scaled } from "../../lib/packed.js";

/** A column of the strips: one token or several in a row. */
export interface Column {
  text: string;
  /** Pale: a special token, or text that is not marked. */
  special: boolean;
  start: number;
  end: number;
}

/** The sequences that are read, as their tokens are counted. */
const READ = ["text", "target"];

export const methodName = (method: string): string => method.replace("_x_", " × ").replace(/_/g, " ");

/** All tokens that a method has a number for: those of the text, then those before the output. */
export function inputsOf({ sequences, methods }: MethodsFigure): string[] {
  const tokens = READ.flatMap((name) => sequences[name]?.tokens ?? []);
  return tokens.slice(0, Math.max(...methods.map(({ known }) => known)));
}

/** The columns, by what numbers are summed over. */
export function columnsBy(figure: MethodsFigure, by: string): Column[] {
  const inputs = inputsOf(figure);
  const specials = new Set<number>();
  let first = 0;
  for (const name of READ) {
    for (const at of figure.sequences[name]?.special ?? []) specials.add(first + at);
    first += figure.sequences[name]?.tokens.length ?? 0;
  }
  const { starts, texts, marked }: Groups = (figure.groups as Record<string, Groups>)[by] ?? {
    starts: inputs.map((_, at) => at),
    texts: {},
    marked: [],
  };
  return starts.map((start, group) => ({
    text: texts[group] ?? (inputs[start] as string),
    special: marked.length ? !marked.includes(group) : specials.has(start),
    start,
    end: starts[group + 1] ?? inputs.length,
  }));
}

/** A strip as shares of the sum of its absolute values; NaN for tokens that have none, or have no part in the scale. */
export function sharesOf(scaled: Scaled, row: number, { known }: Strip, ignored: readonly number[]): Float32Array {
  const counted = scaled
    .row(row)
    .slice(0, known)
    .map((value, at) => (ignored.includes(at) ? Number.NaN : value));
  const sum = counted.reduce((sum, value) => sum + (Math.abs(value) || 0), 0) || 1;
  return counted.map((value) => value / sum);
}

/** The sum over a column; NaN if none of its tokens has a number. */
export function summed(shares: Float32Array, { start, end }: Column): number {
  const known = [...shares.slice(start, end)].filter((share) => !Number.isNaN(share));
  return known.length ? known.reduce((sum, share) => sum + share, 0) : Number.NaN;
}

/** The share of the first `k` tokens of two orders that are the same. */
export function overlap(one: readonly number[], other: readonly number[], k: number): number {
  const first = new Set(one.slice(0, k));
  return other.slice(0, k).filter((token) => first.has(token)).length / k;
}
