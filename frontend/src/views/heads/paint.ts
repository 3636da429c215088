import { accent, DEEPEST, ground, tint } from "../../charts/tint.js";
import { type Ramp, ramp } from "../../controls/legend.js";
import type { Scheme } from "../../element/scheme.js";
import { headColor, neutral } from "../../lib/palette.js";
import { type Ink, label, type Mark, RADIUS } from "./chart.js";
import { extent, measureOf, type StackIndex, valueText } from "./data.js";
import type { Filled } from "./grid.js";
import type { Paint } from "./scatter.js";

/** The colour that tells kinds of heads apart, in place of a measure. */
export const KIND = "kind";
/** The words in a grid's cells for each kind of head; the last are those of all others. */
const LETTERS = ["next", "prev", "CLS", "SEP", "punct", "first", "broad", ""];
const OTHER = LETTERS.length - 1;
/** The share of the full colour that the smallest value has: in a mark, which has an edge, and in a cell. */
const [PALE_MARK, PALE_CELL] = [0.12, 0.06];
const [OTHER_MARK, OTHER_CELL] = [0.4, 0.12];
const CHARACTER = 7;

/** The colours of heads, by their kinds or by a measure. */
export class Paints {
  constructor(
    private readonly index: StackIndex,
    private readonly scheme: Scheme,
  ) {}

  kind(kind: number, share = OTHER_MARK): string {
    const { scheme } = this;
    return kind < OTHER ? headColor(kind, scheme.dark) : ground(neutral(scheme.dark), share, scheme);
  }

  /** The kinds that there are, and how many heads are of each. */
  get counts(): [kind: number, name: string, count: number][] {
    const { kinds, kind } = this.index;
    return kinds
      .map((name, at): [number, string, number] => [at, name, kind.filter((one) => one === at).length])
      .filter(([, , count]) => count);
  }

  /** The marks of a scatter. */
  marks(color: string): Paint[] {
    const { index, scheme } = this;
    if (color === KIND) return index.kind.map((kind) => ({ fill: this.kind(kind), edge: scheme.background }));
    const edge = accent(scheme);
    return this.shares(color).map((share) => ({ fill: ground(edge, between(PALE_MARK, share), scheme), edge }));
  }

  /** The cells of a grid. */
  cells(color: string): Filled[] {
    const { index, scheme } = this;
    if (color === KIND)
      return index.kind.map((kind) => {
        const fill = this.kind(kind, OTHER_CELL);
        return { fill, text: LETTERS[kind] as string, ink: tint(fill, 1, scheme).ink as Ink };
      });
    const measure = measureOf(index, color);
    const values = index.values[color] ?? [];
    return this.shares(color).map((share, at) => {
      const depth = between(PALE_CELL, share);
      const ink = (tint(accent(scheme), depth, scheme).ink ?? "ink") as Ink;
      return { fill: ground(accent(scheme), depth, scheme), text: valueText(values[at], measure), ink };
    });
  }

  /** The scale of the colours of a measure. */
  ramp(color: string, ofCells: boolean): Ramp {
    const { index, scheme } = this;
    const measure = measureOf(index, color);
    const [low, high] = extent(index.values[color] ?? []);
    const least = ofCells ? PALE_CELL : PALE_MARK;
    return ramp([valueText(low, measure), valueText(high, measure)], (share) =>
      ground(accent(scheme), between(least, share), scheme),
    );
  }

  /** A line of kinds for a file. */
  kindMarks(top: number): Mark[] {
    let x = RADIUS;
    return this.counts.flatMap(([kind, name, count]): Mark[] => {
      const [at, text] = [x, `${name} ${count}`];
      x += 26 + CHARACTER * text.length;
      const dot = { kind: "dot", x: at, y: top + 12, fill: this.kind(kind), edge: "" } as const;
      return [dot, label(at + 10, top + 16, text, "ink", "start")];
    });
  }

  /** Each head's share of the way from the smallest value to the largest. */
  private shares(name: string): number[] {
    const values = this.index.values[name] ?? [];
    const [low, high] = extent(values);
    return values.map((value) => (value === null ? 0 : (value - low) / (high - low || 1)));
  }
}

const between = (least: number, share: number): number => least + (DEEPEST - least) * share;
