import { type Chart, type Ink, label, type Mark, type Place } from "./chart.js";
import { type Head, keyGroups } from "./data.js";

/** A cell's colour, and what is written in it. */
export interface Filled {
  fill: string;
  text: string;
  ink: Ink;
}

const [EDGE, WIDEST] = [34, 58];
/** px of a character, and of the space beside a cell's text. */
const [CHARACTER, SPACE] = [7, 6];

/** px of the names of shared keys below, as in `views/head_index/picture.py`. */
const KEYS = 20;

/** The height of a cell, as `tall` in `views/head_index/picture.py`. */
const tall = (layers: number): number => (layers <= 12 ? 26 : layers <= 24 ? 20 : 16);

/** Layers in rows, heads in columns. Texts are written where every one has room. */
export function grid(layers: number[], heads: Head[], filled: Filled[], room: number): Chart {
  const most = Math.max(...heads.map(({ head }) => head)) + 1;
  const height = tall(layers.length);
  const width = Math.max(4, Math.min(WIDEST, Math.floor((room - EDGE) / most)));
  const longest = Math.max(...filled.map(({ text }) => text.length));
  const isWritten = width >= CHARACTER * longest + SPACE;
  const marks: Mark[] = [];
  const every = Math.ceil(22 / width);
  for (let head = 0; head < most; head += every) marks.push(label(EDGE + (head + 0.5) * width, EDGE - 8, String(head)));
  for (const [row, layer] of layers.entries())
    marks.push(label(EDGE - 8, EDGE + (row + 0.5) * height + 4, String(layer), "pale", "end"));
  marks.push(label(0, 12, "layer ↓  head →", "pale", "start"));
  const places = heads.map(({ layer, head }): Place => {
    return { x: EDGE + head * width, y: EDGE + layers.indexOf(layer) * height, width, height };
  });
  for (const { at } of heads) {
    const { x, y } = places[at] as Place;
    const { fill, text, ink } = filled[at] as Filled;
    marks.push({ kind: "cell", x, y, width: width - 1, height: height - 1, fill });
    if (isWritten) marks.push(label(x + (width - 1) / 2, y + height / 2 + 4, text, ink));
  }
  const end = EDGE + height * layers.length;
  const groups = keyGroups(heads);
  for (const [name, [first = 0, ...others]] of groups) {
    const [from, to] = [EDGE + first * width, EDGE + (first + others.length + 1) * width - 1];
    marks.push({ kind: "line", from: [from, end + 3], to: [to, end + 3], faint: true });
    const text = [name, name.replace("keys ", "k")].find(({ length }) => CHARACTER * length <= to - from + 1);
    if (text) marks.push(label((from + to) / 2, end + 15, text, "pale"));
  }
  const below = groups.length > 0 ? KEYS : 0;
  return { width: EDGE + width * most, height: end + below, marks, places, isRound: false };
}
