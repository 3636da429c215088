import { only, type Range } from "../../lib/geometry.js";
import { byteOf, type Layer } from "../weights.js";

export interface Threshold {
  min_weight: number | null;
  /** The strongest weights of each row that together hold this share of it. */
  mass: number | null;
}

export interface Kept {
  layer: Layer;
  /** The share of the weight, hidden columns included, that passes the threshold. */
  share: number;
}

type InRange = { rows: Range; cols: Range };

/** Returns for each row the smallest byte that is still needed to hold the mass. */
function lastBytes(layer: Layer, head: number, { rows, cols }: InRange, mass: number): Uint8Array {
  const masses = new Float64Array(layer.rows * 256);
  const left = new Float64Array(layer.rows).fill(-1e-6);
  layer.each(head, rows, cols, (row, _, weight) => {
    const slot = row * 256 + byteOf(weight);
    masses[slot] = (masses[slot] as number) + weight;
    left[row] = (left[row] as number) + weight * mass;
  });
  return Uint8Array.from(left, (wanted, row) => {
    let byte = 256;
    for (let held = 0; --byte > 1; ) {
      held += masses[row * 256 + byte] as number;
      if (held >= wanted) break;
    }
    return byte;
  });
}

/** Weak weights are not drawn; their numbers stay. Hidden columns are part of the whole, and not drawn either. */
export function threshold(
  layer: Layer,
  heads: number[],
  range: InRange,
  { min_weight, mass }: Threshold,
  hidden: number[] = [],
): Kept {
  const last: Uint8Array[] = [];
  const isDrawn = (head: number, row: number, weight: number) =>
    last[head] ? byteOf(weight) >= (last[head][row] as number) : weight >= (min_weight ?? 0);
  let [kept, all] = [0, 0];
  for (const head of heads) {
    if (mass !== null) last[head] = lastBytes(layer, head, range, mass);
    for (const cols of [range.cols, ...hidden.map(only)])
      layer.each(head, range.rows, cols, (row, _, weight) => {
        all += weight;
        if (cols === range.cols && isDrawn(head, row, weight)) kept += weight;
      });
  }
  return { layer: layer.drawing(isDrawn), share: all > 0 ? kept / all : 1 };
}
