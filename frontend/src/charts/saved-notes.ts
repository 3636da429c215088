import { percentText } from "../attention/readout.js";
import type { Scene } from "../attention/scene.js";
import { focused, indices, type Range, sameRange } from "../lib/geometry.js";
import { collect } from "./marks.js";

/** Returns the note below a saved picture of lines: the tokens it shows, and the share of their weight. */
export function savedNotes(whole: Scene, saved: Scene, hidden: number[], kept: number): string[] {
  const notes = windowNotes(whole, saved);
  if (notes.length > 0 && saved.layer.share < 1) return notes; // a preview has not all weights
  const share =
    notes.length > 0 ? ownShare(whole, saved, hidden) : collect(saved, saved).share * kept * saved.layer.share;
  return share < 1 ? [...notes, `${percentText(share)} of the weight drawn`] : notes;
}

/** Returns a note of the tokens that a picture shows, if they are not all. */
export function windowNotes(
  whole: Pick<Scene, "rows" | "cols">,
  { rows, cols }: Pick<Scene, "rows" | "cols">,
): string[] {
  if (sameRange(whole.rows, rows) && sameRange(whole.cols, cols)) return [];
  const part = (all: Range, { start, end }: Range) => `tokens ${start} to ${end - 1} of ${all.start} to ${all.end - 1}`;
  const [from, to] = [part(whole.rows, rows), part(whole.cols, cols)];
  const shown = from === to ? from : `${from} attend to ${to}`;
  return [`${shown[0]?.toUpperCase()}${shown.slice(1)}`];
}

/** The drawn share of all that the tokens in the picture attend to; of a token in focus, of its weight alone. */
function ownShare({ cols, rows }: Scene, saved: Scene, hidden: number[]): number {
  const { layer, heads, focus } = saved;
  const own = focus && focused(focus);
  const attending = focus?.side === "left" ? own : indices(focus ? rows : saved.rows);
  const attended = focus?.side === "right" ? own : [...indices(cols), ...hidden];
  let all = 0;
  for (const head of heads) {
    for (const row of attending ?? []) for (const col of attended ?? []) all += layer.weight(head, row, col);
  }
  const drawn = collect(saved, saved).offsets.reduce((sum, at) => sum + layer.weight(...layer.placeOf(at)), 0);
  return all > 0 ? Math.min(1, drawn / all) : 1;
}
