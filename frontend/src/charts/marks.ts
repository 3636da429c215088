import type { Scene } from "../attention/scene.js";
import { WEIGHT } from "../attention/weights.js";
import { focused, inRange, only, type Range } from "../lib/geometry.js";

/** The tokens that the canvas shows. */
export interface InView {
  rows: Range;
  cols: Range;
}

/** The lines worth drawing, weakest first, and the share that they hold of all weight in view. */
export interface Marks {
  /** Places in the layer, as `layer.at` has them. */
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

/** Calls back with each weight whose line starts or ends in view; in focus, with those of the tokens in focus. */
function each(
  { layer, heads, rows, cols, focus }: Scene,
  view: InView,
  visit: (at: number, byte: number) => void,
): void {
  const own = focus ? focused(focus).map(only) : [];
  const someCols = focus?.side === "right" ? own : [cols];
  const someRows = focus?.side === "left" ? own : [rows];
  for (const head of heads) {
    const plane = layer.known(head);
    const first = layer.at(head, 0, 0);
    if (plane)
      for (const range of someCols)
        for (let col = range.start; col < range.end; col++) {
          const line = col * layer.rows;
          for (const { start, end } of focus || inRange(col, view.cols) ? someRows : [view.rows])
            for (let at = line + start; at < line + end; at++) visit(first + at, plane[at] as number);
        }
    else
      for (const from of someRows) {
        const strongest = (start: number, end: number, to: Range) =>
          layer.strongest(head, { start, end }, to, (row, col, byte) => visit(layer.at(head, row, col), byte));
        const { start, end } = focus ? from : view.rows;
        for (const to of someCols) strongest(start, end, to);
        strongest(from.start, start, view.cols);
        strongest(end, from.end, view.cols);
      }
  }
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
  const counts = new Uint32Array(256);
  each(scene, view, (_, byte) => {
    counts[byte] = (counts[byte] as number) + 1;
  });
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
  const seen = new Uint32Array(256);
  const offsets: number[][] = Array.from(seen, () => []);
  each(scene, view, (at, byte) => {
    if (every[byte] === Number.POSITIVE_INFINITY) return;
    if ((seen[byte] as number) % (every[byte] as number) === 0) offsets[byte]?.push(at);
    seen[byte] = (seen[byte] as number) + 1;
  });
  // Alike lines are drawn in one order, however they were found: pictures of a preview and of its layer are the same.
  return { offsets: offsets.flatMap((alike) => alike.sort((a, b) => a - b)), share };
}
