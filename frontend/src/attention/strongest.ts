import { named, type Part } from "../controls/reading.js";
import type { Range } from "../lib/geometry.js";
import type { Layer } from "./weights.js";

/** The number of a head's weights that are told. */
const TOLD = 3;

/** Weights of some heads, from a range of one sequence's tokens to a range of another's. */
export interface Weighing {
  layer: Layer;
  heads: number[];
  rows: string[];
  cols: string[];
  from: Range;
  to: Range;
}

/**
 * The first head's largest weights in words: "cat → the 0.98". In a causal model the first token can only attend to itself, and
 * that is nothing to tell.
 */
export function strongestWeights({ layer, heads, rows, cols, from, to }: Weighing, causal: boolean): Part[] {
  const top: { row: number; col: number; weight: number }[] = [];
  const start = causal && from.end > 1 ? Math.max(1, from.start) : from.start;
  layer.each(heads[0] as number, { start, end: from.end }, to, (row, col, weight) => {
    if (weight < (top[TOLD - 1]?.weight ?? 0)) return;
    top.push({ row, col, weight });
    top.sort((a, b) => b.weight - a.weight || a.row - b.row || a.col - b.col).splice(TOLD);
  });
  return top.map(({ row, col, weight }, i) => [
    i ? "; " : "strongest: ",
    named(rows, row),
    " → ",
    named(cols, col),
    ` ${weight.toFixed(2)}`,
  ]);
}
