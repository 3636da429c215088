import type { Scene } from "../attention/scene.js";
import { WEIGHT } from "../attention/weights.js";
import { focused, inRange, type Range } from "../lib/geometry.js";

/** The tokens that the canvas shows. */
export interface InView {
  rows: Range;
  cols: Range;
}

/** The lines worth drawing, weakest first, and the share that they hold of all weight in view. */
export interface Marks {
  /** Offsets into `layer.bytes`. */
  offsets: number[];
  share: number;
}

/** Without a graphics processor a line takes 10 µs to draw. */
const MAX_LINES = 1300;
const MAX_LINES_PER_ROW = 50;
const MAX_FOCUSED_LINES = 800;
const MIN_OPACITY = 0.01;
/** The number of tokens that weights of longer texts, which are spread thinner, are scaled to. */
const USUAL_TOKENS = 64;

/**
 * The opacity of each byte. BertViz divides the weight by the number of active heads, so twelve heads are twelve times as
 * pale as one. Lines of several heads here lie side by side, not on top of each other: dividing by the root of the number
 * keeps them in balance, and a power below one lets weak weights be seen. A token in focus has few lines, so they are stronger.
 */
export function opacities({ heads, cols, focus, contrast = 1 }: Scene): Float64Array {
  const gain = Math.max(1, (cols.end - cols.start) / USUAL_TOKENS);
  const scaled = WEIGHT.map((weight) => Math.min(1, weight * gain));
  return scaled.map((weight) =>
    focus ? weight ** (0.6 * contrast) : weight ** (0.75 * contrast) / heads.length ** 0.5,
  );
}

/** Calls back with each stretch of bytes whose lines start or end in view; in focus, with those of the one token. */
function visit(
  { layer, heads, rows, cols, focus }: Scene,
  view: InView,
  stretch: (from: number, to: number) => void,
): void {
  const only = focus && focused(focus).map((index) => ({ start: index, end: index + 1 }));
  const someCols = focus?.side === "right" ? (only as Range[]) : [cols];
  const someRows = focus?.side === "left" ? (only as Range[]) : [rows];
  for (const head of heads)
    for (const range of someCols)
      for (let col = range.start; col < range.end; col++) {
        const line = layer.at(head, 0, col);
        for (const { start, end } of focus || inRange(col, view.cols) ? someRows : [view.rows])
          stretch(line + start, line + end);
      }
}

function histogram(scene: Scene, view: InView): Uint32Array {
  const counts = new Uint32Array(256);
  const { bytes } = scene.layer;
  visit(scene, view, (from, to) => {
    for (let at = from; at < to; at++) {
      const byte = bytes[at] as number;
      counts[byte] = (counts[byte] as number) + 1;
    }
  });
  return counts;
}

interface Cutoff {
  /** One of each `every[byte]` lines of a byte is drawn; none if it is Infinity. */
  every: Float64Array;
  share: number;
}

function budget({ focus }: Scene, { rows }: InView): number {
  return focus ? MAX_FOCUSED_LINES : Math.max(MAX_LINES, MAX_LINES_PER_ROW * (rows.end - rows.start));
}

/** Strong lines go first; where the last that fit are all alike, one in so many is drawn. */
function cutoff(scene: Scene, view: InView): Cutoff {
  const counts = histogram(scene, view);
  const opacity = opacities(scene);
  const every = new Float64Array(256).fill(Number.POSITIVE_INFINITY);
  let [left, drawn, total] = [budget(scene, view), 0, 0];
  for (let byte = 255; byte > 0; byte--) {
    const count = counts[byte] as number;
    const weight = WEIGHT[byte] as number;
    total += count * weight;
    if (count === 0 || left === 0 || (opacity[byte] as number) < MIN_OPACITY) continue;
    const step = Math.ceil(count / left);
    every[byte] = step;
    drawn += Math.ceil(count / step) * weight;
    left = step > 1 ? 0 : left - count;
  }
  return { every, share: drawn === total ? 1 : drawn / total };
}

export function collect(scene: Scene, view: InView): Marks {
  const { every, share } = cutoff(scene, view);
  const { bytes } = scene.layer;
  const seen = new Uint32Array(256);
  const offsets: number[] = [];
  visit(scene, view, (from, to) => {
    for (let at = from; at < to; at++) {
      const byte = bytes[at] as number;
      if (every[byte] === Number.POSITIVE_INFINITY) continue;
      if ((seen[byte] as number) % (every[byte] as number) === 0) offsets.push(at);
      seen[byte] = (seen[byte] as number) + 1;
    }
  });
  offsets.sort((a, b) => (bytes[a] as number) - (bytes[b] as number));
  return { offsets, share };
}
