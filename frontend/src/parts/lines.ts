import { opposite, type Range, ROW_HEIGHT, type TokenRef } from "../place.js";
import { type Layer, WEIGHT } from "../weights.js";

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

/** Where it is to be drawn, in CSS pixels: line ends at x = left and right; the canvas shows a window of the rows. */
export interface Frame {
  left: number;
  right: number;
  top: number;
  height: number;
}

/** The bytes worth a line, weakest first, and the share of all weight that they hold. */
export interface Marks {
  /** Offsets into `layer.bytes`. */
  offsets: number[];
  share: number;
}

const MAX_LINES = 6000;
const MIN_OPACITY = 0.01;
const UNFOCUSED = 0.25;

/**
 * BertViz divides by the number of active heads, so twelve heads are twelve times as pale as one. Lines of several heads
 * here lie side by side, not on top of each other: dividing by the root keeps them in balance and a strong line strong.
 * A token that is pointed at has few lines and shows them in full strength.
 */
export function opacity(byte: number, heads: number, focused: boolean): number {
  return (WEIGHT[byte] as number) / (focused ? 1 : Math.sqrt(heads));
}

function histogram({ layer, heads, rows, cols }: Scene): Uint32Array {
  const counts = new Uint32Array(256);
  for (const head of heads)
    for (let col = cols.start; col < cols.end; col++) {
      const line = (head * layer.cols + col) * layer.rows;
      const end = line + rows.end;
      for (let at = line + rows.start; at < end; at++) counts[layer.bytes[at] as number]!++;
    }
  return counts;
}

/** The smallest byte that still gets a line, and the share of the weight at or above it. */
export function cutoff(scene: Scene): { byte: number; share: number } {
  const counts = histogram(scene);
  const focused = scene.focus !== null;
  let [lines, drawn, byte] = [0, 0, 255];
  for (; byte > 0; byte--) {
    lines += counts[byte] as number;
    if (lines > MAX_LINES || opacity(byte, scene.heads.length, focused) < MIN_OPACITY) break;
    drawn += (counts[byte] as number) * (WEIGHT[byte] as number);
  }
  const total = counts.reduce((sum, count, b) => sum + count * (WEIGHT[b] as number), 0);
  const complete = counts.slice(1, byte + 1).every((count) => count === 0);
  return { byte: byte + 1, share: complete ? 1 : drawn / total };
}

/** A token that is pointed at narrows the picture to its own row or column. */
function narrowed(scene: Scene): Scene {
  const { focus } = scene;
  if (!focus) return scene;
  const only = { start: focus.index, end: focus.index + 1 };
  return focus.side === "left" ? { ...scene, rows: only } : { ...scene, cols: only };
}

export function collect(full: Scene): Marks {
  const scene = narrowed(full);
  const { layer, heads, rows, cols } = scene;
  const { byte, share } = cutoff(scene);
  const offsets: number[] = [];
  for (const head of heads)
    for (let col = cols.start; col < cols.end; col++) {
      const line = (head * layer.cols + col) * layer.rows;
      const end = line + rows.end;
      for (let at = line + rows.start; at < end; at++) if ((layer.bytes[at] as number) >= byte) offsets.push(at);
    }
  offsets.sort((a, b) => (layer.bytes[a] as number) - (layer.bytes[b] as number));
  return { offsets, share };
}

/** Lines of several heads between the same two tokens lie side by side. */
function lane(slot: number, heads: number): number {
  return (slot - (heads - 1) / 2) * Math.min(1.75, 14 / heads);
}

export function drawLines(context: CanvasRenderingContext2D, scene: Scene, frame: Frame, { offsets }: Marks): void {
  const { layer, heads, colors, rows, cols, focus, partner } = scene;
  const slots = new Map(heads.map((head, slot) => [head, slot]));
  const bend = (frame.right - frame.left) * 0.4;
  context.lineWidth = heads.length > 1 ? 1.5 : 2;
  for (const at of offsets) {
    const row = at % layer.rows;
    const col = Math.floor(at / layer.rows) % layer.cols;
    const slot = slots.get(Math.floor(at / (layer.rows * layer.cols))) as number;
    const shift = ROW_HEIGHT / 2 + lane(slot, heads.length) - frame.top;
    const from = (row - rows.start) * ROW_HEIGHT + shift;
    const to = (col - cols.start) * ROW_HEIGHT + shift;
    if (Math.max(from, to) < 0 || Math.min(from, to) > frame.height) continue;
    const other = focus?.side === "left" ? col : row;
    const strength = partner === null || other === partner ? 1 : UNFOCUSED;
    context.globalAlpha = strength * opacity(layer.bytes[at] as number, heads.length, focus !== null);
    context.strokeStyle = colors[slot] as string;
    context.beginPath();
    context.moveTo(frame.left, from);
    context.bezierCurveTo(frame.left + bend, from, frame.right - bend, to, frame.right, to);
    context.stroke();
  }
  context.globalAlpha = 1;
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
