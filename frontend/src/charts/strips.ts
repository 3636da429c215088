import type { StripData, SublayerData, UnitData } from "../element/figure-data.js";

/** px: a box, the room of bars, the space below a line of boxes, a strip's name, a layer's number. */
export const [BOX, BAR, GAP, NAME, NUMBER] = [26, 34, 10, 18, 14];
/** px of a box: the least, the most, and of one of mean size if there is room. */
const [NARROWEST, WIDEST, USUAL] = [12, 160, 44];
/** px between two units, and more between two layers. */
const [BETWEEN, LAYER] = [2, 6];
/** px: the height of a line of dots, and the scale below all of them. */
export const [DOTS, SCALE] = [30, 40];

/** A sublayer with its place in the picture. */
export interface Box {
  /** Its number, counted over all strips. */
  index: number;
  strip: number;
  unit: number;
  sublayer: SublayerData;
  x: number;
  y: number;
  width: number;
  /** The change of the loss that is drawn below, and where its bar may stand. */
  change: { value: number; x: number; width: number } | null;
}

export interface Layout {
  boxes: Box[];
  texts: { text: string; x: number; y: number; pale: boolean }[];
  /** The lines of dots: the strip and where it begins. */
  dots: { strip: number; y: number }[];
  width: number;
  height: number;
}

export type Change = "zero" | "swap" | null;

/**
 * Return the width of each sublayer's box, by strip, unit and place in the unit, in px. All strips have one scale. Where
 * it would make a box too narrow to hold its letter, the strips wrap instead.
 */
export function widths(strips: readonly StripData[], room: number): number[][][] {
  const sizes = strips.map(({ units }) => units.map(({ sublayers }) => sublayers.map(({ parameters }) => parameters)));
  const flat = sizes
    .flat(2)
    .filter((size) => size > 0)
    .sort((a, b) => a - b);
  const lengths = sizes.map((strip) => strip.reduce((sum, unit) => sum + Math.max(...unit), 0));
  const total = Math.max(1, ...lengths);
  const count = sizes[lengths.indexOf(total)]?.length ?? 1;
  const free = room - (BETWEEN + LAYER / 2) * count;
  let scale = Math.min(free, USUAL * count) / total;
  scale = Math.max(scale, NARROWEST / (flat[Math.floor(flat.length / 10)] ?? 1));
  scale = Math.min(scale, WIDEST / (flat.at(-1) ?? 1));
  return sizes.map((strip) =>
    strip.map((unit) => unit.map((size) => Math.max(NARROWEST, Math.floor(size * scale + 0.5)))),
  );
}

/** Return where everything stands in a figure of this width. */
export function layoutOf(strips: readonly StripData[], room: number, change: Change): Layout {
  const layout: Layout = { boxes: [], texts: [], dots: [], width: 0, height: 0 };
  const all = widths(strips, room);
  const row = BOX + (change ? BAR : 0);
  let y = 0;
  for (const [strip, { name, units, losses }] of strips.entries()) {
    if (name) {
      layout.texts.push({ text: name, x: 0, y, pale: false });
      y += NAME;
    }
    const numbered = units.some(({ sublayers }) => (sublayers[0]?.layer ?? null) !== null);
    const above = numbered ? NUMBER : 0;
    const height = above + Math.max(...units.map(({ sublayers }) => sublayers.length)) * row + GAP;
    let x = 0;
    let last: number | null = null;
    for (const [number, unit] of units.entries()) {
      const sizes = all[strip]?.[number] as number[];
      const width = Math.max(...sizes);
      const layer = unit.sublayers[0]?.layer ?? null;
      const starts = layer !== last;
      if (number && starts) x += LAYER;
      if (x && x + width > room) {
        x = 0;
        y += height;
      }
      if (layer !== null && (starts || !x)) layout.texts.push({ text: String(layer), x, y, pale: true });
      last = layer;
      for (const box of boxesOf(unit, sizes, x, y + above, row, change))
        layout.boxes.push({ ...box, index: layout.boxes.length, strip, unit: number });
      x += width + BETWEEN;
      layout.width = Math.max(layout.width, x);
    }
    y += height;
    if (losses) {
      layout.dots.push({ strip, y });
      y += DOTS;
    }
  }
  if (layout.dots.length) {
    y += SCALE;
    layout.width = room;
  }
  layout.height = y;
  return layout;
}

function* boxesOf(
  { sublayers, swap }: UnitData,
  sizes: number[],
  x: number,
  y: number,
  row: number,
  change: Change,
): Generator<Pick<Box, "sublayer" | "x" | "y" | "width" | "change">> {
  const whole = Math.max(...sizes);
  for (const [place, sublayer] of sublayers.entries()) {
    const width = sizes[place] as number;
    const last = place === sublayers.length - 1;
    let bar: Box["change"] = null;
    if (change === "zero" && sublayer.zero !== undefined)
      bar = { value: sublayer.zero, x: x + 2, width: Math.max(4, width - 4) };
    if (change === "swap" && last && typeof swap === "number")
      bar = { value: swap, x: x + whole + BETWEEN / 2 - 5, width: 10 };
    yield { sublayer, x, y: y + place * row, width, change: bar };
  }
}

/** The lowest and the highest of some numbers, with 0 between them. */
export function spanOf(boxes: readonly Box[]): [number, number] {
  const values = boxes.flatMap(({ change }) => (change ? [change.value] : []));
  return [Math.min(0, ...values), Math.max(0, ...values)];
}

/** The place of a bar below its box: on the line of no change, upwards where the loss rises. */
export function barOf(value: number, [low, high]: [number, number]): { top: number; height: number } {
  const scale = (BAR - 6) / Math.max(high - low, 1e-12);
  const zero = 3 + high * scale;
  const height = Math.max(1, Math.abs(value) * scale);
  return { top: BOX + (value < 0 ? zero : zero - height), height };
}

/** The scale of losses that an author gives, or null. */
export function scaleOf(strips: readonly StripData[]): [number, number] | null {
  const losses = strips.flatMap(({ losses }) => losses ?? []);
  if (!losses.length) return null;
  const [low, high] = [Math.min(...losses), Math.max(...losses)];
  const edge = (high - low) * 0.05 || Math.abs(high) * 0.01 || 1;
  return [low - edge, high + edge];
}
