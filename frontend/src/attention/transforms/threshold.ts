import type { Range } from "../../lib/geometry.js";
import type { Layer } from "../weights.js";

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

/** Calls back with the place of each weight in range and with the weight, in the order in which they are stored. */
function each(
  layer: Layer,
  head: number,
  { rows, cols }: InRange,
  visit: (at: number, row: number, weight: number) => void,
): void {
  for (let col = cols.start; col < cols.end; col++) {
    const line = layer.at(head, 0, col);
    for (let row = rows.start; row < rows.end; row++) visit(line + row, row, layer.weight(head, row, col));
  }
}

/** Returns for each row the smallest byte that is still needed to hold the mass. */
function lastBytes(layer: Layer, head: number, range: InRange, mass: number): Uint8Array {
  const masses = new Float64Array(layer.rows * 256);
  each(layer, head, range, (at, row, weight) => {
    const slot = row * 256 + (layer.bytes[at] as number);
    masses[slot] = (masses[slot] as number) + weight;
  });
  return Uint8Array.from({ length: layer.rows }, (_, row) =>
    lastByte(masses.subarray(row * 256, (row + 1) * 256), mass),
  );
}

function lastByte(masses: Float64Array, mass: number): number {
  const wanted = mass * masses.reduce((sum, each) => sum + each, 0) - 1e-6;
  let held = 0;
  for (let byte = 255; byte > 0; byte--) {
    held += masses[byte] as number;
    if (held >= wanted) return byte;
  }
  return 1;
}

/** Weak weights are not drawn; their numbers stay. Hidden columns are part of the whole, and not drawn either. */
export function threshold(
  layer: Layer,
  heads: number[],
  range: InRange,
  { min_weight, mass }: Threshold,
  hidden: number[] = [],
): Kept {
  const bytes = Uint8Array.from(layer.bytes);
  const least = min_weight ?? 0;
  let [kept, all] = [0, 0];
  for (const head of heads) {
    const last = mass === null ? null : lastBytes(layer, head, range, mass);
    each(layer, head, range, (at, row, weight) => {
      all += weight;
      const weak = last ? (layer.bytes[at] as number) < (last[row] as number) : weight < least;
      if (weak) bytes[at] = 0;
      else kept += weight;
    });
    for (const col of hidden)
      for (let row = range.rows.start; row < range.rows.end; row++) all += layer.weight(head, row, col);
  }
  return { layer: layer.drawing(bytes), share: all > 0 ? kept / all : 1 };
}
