import type { Allowed } from "../attention/scene.js";
import { FADED } from "../attention/scene.js";
import { type Layer, WEIGHT } from "../attention/weights.js";
import type { Scheme } from "../element/scheme.js";
import type { Range } from "../lib/geometry.js";
import { hexToRgba } from "../lib/palette.js";
import { tint } from "./tint.js";

/** One head's weights, as a heat map shows them. */
export interface Heat {
  layer: Layer;
  head: number;
  color: string;
  contrast: number;
  rows: Range;
  cols: Range;
  /** Absent if all may attend to all. */
  allowed?: Allowed | undefined;
  scale: Scale;
  /** Columns that are drawn faintly. */
  faded?: number[];
  /** An ink for each stored weight that can be read on its shade; none where the page's own can. */
  inks: (string | undefined)[];
}

/** The opacity of a weight between 0 and `most`, on one hue from the background to the colour. */
export const shade = (weight: number, most: number, contrast: number): number =>
  most > 0 ? Math.min(1, weight / most) ** (0.75 * contrast) : 0;

export function inksOn(color: string, most: number, contrast: number, scheme: Scheme): (string | undefined)[] {
  return Array.from(WEIGHT, (weight) => tint(color, shade(weight, most, contrast), scheme).ink);
}

/** The pairs that are not allowed: a row, and the columns of a run. Of cells that share a pixel, one stands for all. */
export function* barred(
  allowed: Allowed,
  rows: Range,
  cols: Range,
  down = 1,
  across = 1,
): Generator<[row: number, start: number, end: number]> {
  for (let row = rows.start; row < rows.end; row += down)
    for (let col = cols.start; col < cols.end; col += across) {
      const start = col;
      while (col < cols.end && !allowed(Math.floor(row), Math.floor(col))) col += across;
      if (col > start) yield [row, start, Math.min(col, cols.end)];
    }
}

/** Digits that tell the weights of a scale apart. */
export const digitsOf = ({ most }: Scale): number => (most < 0.1 ? 3 : 2);

/** The value that is written in a cell, and its ink; nothing where it rounds to zero. */
export function valueText(heat: Heat, row: number, col: number): [string, string | undefined] {
  const { layer, head, inks, scale, faded } = heat;
  const text = layer.weight(head, row, col).toFixed(digitsOf(scale));
  return [Number(text) === 0 ? "" : text, faded?.includes(col) ? undefined : inks[layer.byte(head, row, col)]];
}

/** A picture of one pixel a cell: `alpha(row, col)` of a colour, in 0…255. */
export function heatImage(
  color: string,
  rows: Range,
  cols: Range,
  alpha: (row: number, col: number) => number,
): ImageData {
  const [height, width] = [rows.end - rows.start, cols.end - cols.start];
  const image = new ImageData(width, height);
  const [r, g, b] = hexToRgba(color);
  let at = 0;
  for (let row = rows.start; row < rows.end; row++)
    for (let col = cols.start; col < cols.end; col++, at += 4) {
      image.data[at] = r;
      image.data[at + 1] = g;
      image.data[at + 2] = b;
      image.data[at + 3] = alpha(row, col);
    }
  return image;
}

/** The image as something that can be drawn larger; on a canvas that is used anew, if one is given. */
export function toCanvas(image: ImageData, canvas = document.createElement("canvas")): HTMLCanvasElement {
  Object.assign(canvas, { width: image.width, height: image.height });
  canvas.getContext("2d")?.putImageData(image, 0, 0);
  return canvas;
}

export interface Scale {
  /** The weight that the full colour stands for, and whether some weights are larger. */
  most: number;
  exceeded: boolean;
}

/** The number of rows up to which the scale ends with the largest weight; of more, most rows' largest would be lost. */
const FEW_ROWS = 24;
const NOT_EXCEEDED = 0.9;

/** The scale ends with the largest weight that is not faded, or where nine rows of ten have no larger one. */
export function scaleOf(layer: Layer, head: number, rows: Range, cols: Range, faded: number[] = []): Scale {
  const largest = new Float64Array(rows.end - rows.start);
  layer.plane(head);
  for (let col = cols.start; col < cols.end; col++)
    for (let row = rows.start; row < rows.end; row++)
      if (!faded.includes(col))
        largest[row - rows.start] = Math.max(largest[row - rows.start] as number, layer.weight(head, row, col));
  largest.sort();
  const last = largest.length - 1;
  const most = (largest.length > FEW_ROWS && largest[Math.floor(NOT_EXCEEDED * last)]) || largest[last] || 0;
  return { most, exceeded: most < (largest[last] ?? 0) };
}

/** Reduces a picture in which `across` × `down` cells share a pixel; the strongest is seen. */
export function heatPicture(
  { layer, head, color, contrast, scale, faded }: Heat,
  rows: Range,
  cols: Range,
  across = 1,
  down = 1,
): ImageData {
  const alphas = Array.from(WEIGHT, (weight) => Math.round(255 * shade(weight, scale.most, contrast)));
  const alpha = (row: number, col: number) =>
    (alphas[layer.byte(head, row, col)] as number) * (faded?.includes(col) ? FADED : 1);
  if (across <= 1 && down <= 1) return heatImage(color, rows, cols, alpha);
  const pixels = ({ start, end }: Range, step: number) => ({ start: 0, end: Math.ceil((end - start) / step) });
  const edge = ({ start, end }: Range, pixel: number, step: number) => Math.min(end, start + Math.floor(pixel * step));
  return heatImage(color, pixels(rows, down), pixels(cols, across), (y, x) => {
    let strongest = 0;
    for (let col = edge(cols, x, across); col < edge(cols, x + 1, across); col++)
      for (let row = edge(rows, y, down); row < edge(rows, y + 1, down); row++)
        strongest = Math.max(strongest, alpha(row, col));
    return strongest;
  });
}
