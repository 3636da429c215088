import { named, type Part } from "../controls/reading.js";
import type { Range } from "../lib/geometry.js";
import { mean } from "./scene.js";
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
 * A head's largest weights in words: "cat → the 0.98". In a causal model the first token can only attend to itself, and
 * that is nothing to tell.
 */
export function strongestWeights({ layer, heads, rows, cols, from, to }: Weighing, causal: boolean): Part[] {
  for (const head of heads) layer.plane(head);
  const top: { row: number; col: number; weight: number }[] = [];
  for (let row = causal && from.end > 1 ? Math.max(1, from.start) : from.start; row < from.end; row++)
    for (let col = to.start; col < to.end; col++) {
      const weight = mean(heads.map((head) => layer.weight(head, row, col)));
      if (top.length === TOLD && weight <= (top[TOLD - 1]?.weight ?? 0)) continue;
      top.push({ row, col, weight });
      top.sort((a, b) => b.weight - a.weight).splice(TOLD);
    }
  return top.map(({ row, col, weight }, i) => [
    i ? "; " : "strongest: ",
    named(rows, row),
    " → ",
    named(cols, col),
    ` ${weight.toFixed(2)}`,
  ]);
}
