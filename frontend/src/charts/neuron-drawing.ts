import type { NeuronHead } from "../attention/neuron-scores.js";
import type { Rgba } from "../lib/color.js";
import { indices, inRange, type Range, ROW_HEIGHT } from "../lib/geometry.js";
import { addCurve } from "./lines.js";
import type { NumberColumn } from "./neuron-columns.js";
import { type NeuronLayout, STRIP_HEIGHT } from "./neuron-layout.js";
import type { Pen } from "./svg.js";

export interface SignedColors {
  negative: Rgba;
  positive: Rgba;
}

/** The token that is taken apart, and what is pointed at. */
export interface Expansion {
  head: NeuronHead;
  row: number;
  rows: Range;
  cols: Range;
  columns: NumberColumn[];
  color: string;
  text: string;
  signed: SignedColors;
  col: number | null;
  neuron: number | null;
}

const BAR = 3;
const SHORTEST_SCALE = 0.1;
const STRIP_TOP = (ROW_HEIGHT - STRIP_HEIGHT) / 2;

/** Opacity of a value by its share of the largest: a power below one lets small ones be seen. */
export function strength(share: number): number {
  return Math.min(1, Math.abs(share)) ** 0.55;
}

/** The same as a CSS gradient, from the most negative to the most positive. */
export function legendGradient({ negative, positive }: SignedColors): string {
  const stops = Array.from({ length: 17 }, (_, i) => i / 8 - 1).map((share) => {
    const [r, g, b] = share < 0 ? negative : positive;
    return `rgba(${r},${g},${b},${strength(share).toFixed(3)})`;
  });
  return `linear-gradient(90deg,${stops.join()})`;
}

/** A picture of one pixel a value, (height, width). */
function image(
  width: number,
  height: number,
  largest: number,
  { negative, positive }: SignedColors,
  value: (x: number, y: number) => number,
) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const pixels = new ImageData(width, height);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const found = value(x, y);
      const [r, g, b] = found < 0 ? negative : positive;
      pixels.data.set([r, g, b, 255 * strength(found / (largest || 1))], 4 * (y * width + x));
    }
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas;
}

/** Draws a line of a picture as a strip. */
export type PutStrip = (picture: HTMLCanvasElement, line: number, left: number, top: number, width: number) => void;

/** One expanded token: its query, all keys that are in view, their products, and a bar under each number. */
export function drawExpansion(
  pen: Pen,
  put: PutStrip,
  expansion: Expansion,
  layout: NeuronLayout,
  { start, end }: Range,
): void {
  const shown = { start: Math.max(start, expansion.cols.start), end: Math.min(end, expansion.cols.end) };
  drawTint(pen, expansion, layout);
  if (inRange(expansion.row, expansion.rows)) drawFan(pen, expansion, layout);
  drawStrips(pen, put, expansion, layout, shown);
  drawNumberBars(pen, expansion, layout, shown);
  drawGuides(pen, expansion, layout);
  pen.globalAlpha = 1;
}

const isMasked = ({ head, row }: Expansion, col: number) => head.row(row).scores[col] === Number.NEGATIVE_INFINITY;

function drawTint(pen: Pen, { col, cols, text }: Expansion, { width }: NeuronLayout): void {
  if (col === null) return;
  pen.globalAlpha = 0.08;
  pen.fillStyle = text;
  pen.fillRect(0, (col - cols.start) * ROW_HEIGHT, width, ROW_HEIGHT);
}

function drawFan(pen: Pen, expansion: Expansion, { q, k, strip }: NeuronLayout): void {
  const { head, row, rows, cols, color, col: only } = expansion;
  const { weights } = head.row(row);
  const [left, right] = [q + strip + 2, k - 2];
  const from = (row - rows.start + 0.5) * ROW_HEIGHT;
  pen.strokeStyle = color;
  pen.lineWidth = 1.5;
  for (const col of indices(cols)) {
    const weight = weights[col] as number;
    if (weight < 1e-4) continue;
    const to = (col - cols.start + 0.5) * ROW_HEIGHT;
    pen.globalAlpha = weight ** 0.6 * (only === null || only === col ? 1 : 0.3);
    pen.beginPath();
    addCurve(pen, left, from, right, to);
    pen.stroke();
  }
}

function drawStrips(pen: Pen, put: PutStrip, expansion: Expansion, layout: NeuronLayout, shown: Range): void {
  const { head, row, rows, cols, signed, text } = expansion;
  const { largest, layer } = head;
  const height = shown.end - shown.start;
  const strip = (picture: HTMLCanvasElement, line: number, left: number, at: number, alpha = 1) => {
    const top = at * ROW_HEIGHT + STRIP_TOP;
    pen.globalAlpha = 0.06 * alpha;
    pen.fillStyle = text;
    pen.fillRect(left, top, layout.strip, STRIP_HEIGHT);
    pen.globalAlpha = alpha;
    put(picture, line, left, top, layout.strip);
  };
  const draw = (lines: number, most: number, value: (neuron: number, line: number) => number) =>
    image(layer.d, lines, most, signed, value);
  const query = draw(1, largest.q, (i) => head.q(row, i));
  if (inRange(row, rows)) strip(query, 0, layout.q, row - rows.start);
  if (height <= 0) return;
  const keys = draw(height, largest.k, (i, line) => head.k(shown.start + line, i));
  const products = draw(height, largest.product, (i, line) => head.q(row, i) * head.k(shown.start + line, i));
  for (let line = 0; line < height; line++) {
    const at = shown.start + line - cols.start;
    const masked = isMasked(expansion, shown.start + line);
    strip(keys, line, layout.k, at, masked ? 0.35 : 1);
    if (masked) hatch(pen, layout.product, at * ROW_HEIGHT + STRIP_TOP, layout.strip, text);
    else strip(products, line, layout.product, at);
  }
}

/** Masked tokens take no part in the sum. */
function hatch(pen: Pen, left: number, top: number, width: number, color: string): void {
  pen.globalAlpha = 0.25;
  pen.strokeStyle = color;
  pen.lineWidth = 1;
  pen.beginPath();
  const bottom = top + STRIP_HEIGHT;
  for (let x = left - STRIP_HEIGHT + 6; x < left + width; x += 6) {
    const [from, to] = [Math.max(x, left), Math.min(x + STRIP_HEIGHT, left + width)];
    pen.moveTo(from, bottom - (from - x));
    pen.quadraticCurveTo(to, bottom - (to - x), to, bottom - (to - x));
  }
  pen.stroke();
}

function drawNumberBars(pen: Pen, expansion: Expansion, layout: NeuronLayout, shown: Range): void {
  const { columns, cols, signed, text } = expansion;
  pen.globalAlpha = 1;
  columns.forEach(({ values, weights }, i) => {
    const left = layout.numbers[i] as number;
    const finite = values.subarray(cols.start, cols.end).filter(Number.isFinite);
    const largest = finite.reduce((most, value) => Math.max(most, Math.abs(value)), weights ? SHORTEST_SCALE : 1e-9);
    const [zero, room] = weights ? [left, layout.number] : [left + layout.number / 2, layout.number / 2];
    for (const col of indices(shown)) {
      const value = values[col] as number;
      if (!Number.isFinite(value)) continue;
      const length = (value / largest) * room;
      const [r, g, b] = value < 0 ? signed.negative : signed.positive;
      pen.fillStyle = weights ? text : `rgb(${r},${g},${b})`;
      const top = (col - cols.start + 1) * ROW_HEIGHT - BAR - 1;
      pen.fillRect(Math.min(zero, zero + length), top, Math.abs(length), BAR);
    }
  });
}

/** Two hairlines run down through a neuron's cells. */
function drawGuides(pen: Pen, { neuron, row, rows, cols, text }: Expansion, layout: NeuronLayout): void {
  if (neuron === null) return;
  const { cell } = layout;
  pen.globalAlpha = 0.7;
  pen.fillStyle = text;
  const frame = (edge: number, top: number, height: number) => {
    for (const x of [edge + neuron * cell - 1, edge + (neuron + 1) * cell]) pen.fillRect(x, top, 1, height);
  };
  frame(layout.q, (row - rows.start) * ROW_HEIGHT + 2, ROW_HEIGHT - 4);
  for (const edge of [layout.k, layout.product]) frame(edge, 0, (cols.end - cols.start) * ROW_HEIGHT);
}
