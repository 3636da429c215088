import { inks } from "../controls/save.js";
import type { Scheme } from "../element/scheme.js";
import { indices, type Range, ROW_HEIGHT } from "../lib/geometry.js";
import { plainText } from "../lib/token.js";
import type { Column } from "./column.js";
import type { SvgPen } from "./svg.js";

/** The number of tokens up to which a whole text is saved; of longer ones the visible part is. */
export const SAVED_ROWS = 128;
const LONGEST = 40;

/** Room for the longest token, found without laying them out. */
export function savedWidth({ sequence }: Column): number {
  const lengths = sequence.tokens.map((token) => plainText(token).length);
  return 16 + 8.5 * Math.min(Math.max(0, ...lengths), LONGEST);
}

/** A column's tokens in a saved picture; `x` is their edge towards its middle. */
export function writeTokens(pen: SvgPen, { sequence, side }: Column, range: Range, x: number, scheme: Scheme): void {
  const { ink, pale } = inks(scheme.dark, scheme.pale);
  const anchor = side === "left" ? "end" : "start";
  for (const index of indices(range)) {
    const color = sequence.special.includes(index) ? pale : ink;
    const y = (index - range.start) * ROW_HEIGHT + 17;
    pen.text(plainText(sequence.tokens[index] as string), x, y, { anchor, color });
  }
}
