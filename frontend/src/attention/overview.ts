import type { ViewHost } from "../element/view.js";
import type { Range } from "../lib/geometry.js";
import { type AttentionFigure, type Filter, findSequence, type Stack } from "./figure.js";
import { filtered, type Tokens } from "./tokens.js";

/** Parts a side, at most. */
const PARTS = 24;
export const OVERVIEW_LEVELS = 15;

/** The largest weights of every head on a coarse grid, (Σ heads, cols', rows'), 0 to 15. */
export class Overview {
  readonly rows: number;
  readonly cols: number;
  private readonly first = new Map<number, number>();

  constructor(
    private readonly bytes: Uint8Array,
    stack: Stack,
    rows: number,
    cols: number,
  ) {
    this.rows = Math.min(rows, PARTS);
    this.cols = Math.min(cols, PARTS);
    let heads = 0;
    for (const source of stack.layers) {
      this.first.set(source.layer, heads);
      heads += source.heads;
    }
    const expected = heads * this.rows * this.cols;
    if (bytes.length !== expected) throw new Error(`${bytes.length} bytes are no overview of ${expected}`);
  }

  level(layer: number, head: number, row: number, col: number): number {
    const picture = (this.first.get(layer) as number) + head;
    return this.bytes[(picture * this.cols + col) * this.rows + row] as number;
  }
}

/** Return the overview of a stack, or undefined while it loads, or if the page has none. */
export function overviewOf(host: ViewHost, figure: AttentionFigure, stack: Stack): Overview | undefined {
  const [rows, cols] = [stack.rows, stack.cols].map((name) => findSequence(figure, name).tokens.length);
  return (
    stack.overview && host.blob(stack.overview, (bytes) => new Overview(bytes, stack, rows as number, cols as number))
  );
}

/** The part of a token among so many. */
export function partOf(token: number, tokens: number): number {
  return Math.ceil(((token + 1) * Math.min(tokens, PARTS)) / tokens) - 1;
}

/** The parts that a pair filter lets through: part i of n starts at token ⌊i · tokens / n⌋. */
export function filteredParts(side: Pick<Tokens, "tokens" | "sentence_b_start">, filter: Filter, left: boolean): Range {
  const tokens = side.tokens.length;
  const parts = Math.min(tokens, PARTS);
  const { start, end } = filtered(side, filter, left ? "left" : "right");
  const part = (token: number) => Math.round((token * parts) / tokens);
  return { start: Math.min(part(start), parts - 1), end: Math.max(part(end), part(start) + 1) };
}
