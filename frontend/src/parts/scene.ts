import { opposite, type Range, type TokenRef } from "../place.js";
import type { Layer } from "../weights.js";

/** What is to be drawn. */
export interface Scene {
  layer: Layer;
  /** The active heads and, in the same order, their colours. */
  heads: number[];
  colors: string[];
  rows: Range;
  cols: Range;
  /** Only the lines of this token … */
  focus: TokenRef | null;
  /** … and of these only the one to this token of the other side in full strength. */
  partner: number | null;
}

/** The weights of the heads between the token in focus and one of the other side. */
export function weightsWith({ layer, heads, focus }: Scene, other: number): number[] {
  if (!focus) return [];
  const [row, col] = focus.side === "left" ? [focus.index, other] : [other, focus.index];
  return heads.map((head) => layer.weight(head, row, col));
}

export function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The tokens facing the one in focus. */
export function facing(scene: Scene): Range {
  return scene.focus && opposite(scene.focus.side) === "left" ? scene.rows : scene.cols;
}
