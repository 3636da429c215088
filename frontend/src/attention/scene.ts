import { type Focus, focused, opposite, type Range } from "../lib/geometry.js";
import type { Layer } from "./weights.js";

/** Tells if a token on the left may attend to one on the right. */
export type Allowed = (row: number, col: number) => boolean;

/** The note in a legend on pairs that may not. */
export const SHADED = " · shaded: not allowed";

/** The weights to draw, and how. */
export interface Scene {
  layer: Layer;
  /** The active heads and, in the same order, their colours. */
  heads: number[];
  colors: string[];
  rows: Range;
  cols: Range;
  /** Only the lines of this token … */
  focus: Focus | null;
  /** … and of these only the one to this token of the other side in full strength. */
  partner: number | null;
  /** The way in which several heads, and several layers, were made one. */
  combined?: string | null;
  across?: string | null;
  /** Above one weak weights are paler, below one they are stronger. */
  contrast?: number;
  /** Columns that are drawn faintly. */
  faded?: number[];
  /** Absent if all may attend to all. */
  allowed?: Allowed | undefined;
}

/** Tells if what is in focus may not attend to one token of the other side, or be attended to by it. */
export function isBarred({ focus, allowed }: Scene, other: number): boolean {
  const left = focus?.side === "left";
  const may = (own: number) => allowed?.(left ? own : other, left ? other : own);
  return !!(focus && allowed && !focused(focus).some(may));
}

/** The opacity of what is drawn of a faded column, as a share of its usual one; `views/attention/sinks.py` has the same. */
export const FADED = 0.15;

/** The weights of the heads between what is in focus and one token of the other side; of several tokens their sum. */
export function weightsWith({ layer, heads, focus }: Scene, other: number): number[] {
  if (!focus) return [];
  const left = focus.side === "left";
  return heads.map((head) =>
    focused(focus).reduce((sum, own) => sum + layer.weight(head, left ? own : other, left ? other : own), 0),
  );
}

/** Tells if a weight between them is drawn, or if all are too weak. */
export function isDrawn({ layer, heads, focus }: Scene, other: number): boolean {
  const left = focus?.side === "left";
  return heads.some((head) =>
    focused(focus as Focus).some((own) => layer.byte(head, left ? own : other, left ? other : own) > 0),
  );
}

export function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The tokens facing the one in focus. */
export function facing(scene: Scene): Range {
  return scene.focus && opposite(scene.focus.side) === "left" ? scene.rows : scene.cols;
}
