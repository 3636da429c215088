import { levelsOf, visualOrder } from "../lib/direction.js";
import { pieces, plainText } from "../lib/token.js";
import { type FlowGroup, type FlowToken, type Paint, type Strip, TEXT } from "./flow.js";
import type { Sheet } from "./svg.js";

const [WIDTH, ROW, CHARACTER] = [680, 40, 8];

/** A token with its ground, or a heading, whose index is −1. */
interface Box {
  x: number;
  y: number;
  width: number;
  text: string;
  note: string;
  /** px of the strip between the text and the note. */
  strip: number;
  anchor: "start" | "middle" | "end";
  index: number;
}

const shownText = (text: string): string =>
  pieces(text)
    .map((piece) => piece.text)
    .join("");

/** The tokens of each line, in the order of reading. */
function linesOf(tokens: FlowToken[], widths: number[]): number[][] {
  const lines: number[][] = [];
  let [x, full] = [0, true];
  tokens.forEach(({ text }, at) => {
    const width = widths[at] as number;
    if (full || x + width > WIDTH) {
      lines.push([]);
      x = 0;
    }
    lines.at(-1)?.push(at);
    x += width + 2;
    full = text.includes("\n");
  });
  return lines;
}

/** A flow of tokens for a file. */
export function flowSheet(
  groups: FlowGroup[],
  paint: (index: number) => Paint,
  inks: { ink: string; pale: string },
  strip: Strip = { height: 0, above: false },
): Sheet {
  const above = strip.above ? strip.height : 0;
  const boxes: Box[] = [];
  let [y, index] = [0, 0];
  for (const { heading, tokens } of groups) {
    const { base, levels } = levelsOf(tokens);
    if (heading) {
      const x = base ? WIDTH : 0;
      const anchor = base ? "end" : "start";
      boxes.push({ x, y: y - 6, width: 0, text: heading, note: "", strip: 0, anchor, index: -1 });
      y += ROW / 2;
    }
    const widths = tokens.map(({ text, note }) =>
      Math.max(24, CHARACTER * shownText(text).length + 10, 6 * note.length + 8),
    );
    const first = index;
    const below = tokens.some((_, at) => paint(first + at).bars) ? strip.height - above : 0;
    for (const line of linesOf(tokens, widths)) {
      const order = visualOrder(line.map((at) => levels[at] as number)).map((i) => line[i] as number);
      let x = base ? WIDTH - line.reduce((sum, at) => sum + (widths[at] as number) + 2, 0) : 0;
      for (const at of order) {
        const { text, note } = tokens[at] as FlowToken;
        const width = widths[at] as number;
        boxes.push({
          x,
          y,
          width,
          text: shownText(text) || plainText(text),
          note,
          strip: below,
          anchor: "middle",
          index: index + at,
        });
        x += width + 2;
      }
      y += ROW + above + below;
    }
    index += tokens.length;
  }
  return {
    width: WIDTH,
    height: y,
    draw: (pen) => {
      for (const box of boxes) {
        if (box.index < 0) {
          pen.text(box.text, box.x, box.y + 16, { size: 12, color: inks.pale, anchor: box.anchor });
          continue;
        }
        const { background, ink, bars = [] } = paint(box.index);
        const [middle, text] = [box.x + box.width / 2, box.y + above];
        if (background) {
          pen.fillStyle = background;
          pen.fillRect(box.x, text, box.width, TEXT);
        }
        for (const { color, top, height, width = box.width } of bars) {
          pen.fillStyle = color;
          pen.fillRect(middle - width / 2, box.y + (above ? 0 : TEXT) + top, width, height);
        }
        pen.text(box.text, middle, text + 16, { anchor: "middle", color: ink || inks.ink });
        pen.text(box.note, middle, text + 33 + box.strip, { anchor: "middle", size: 10, color: inks.pale });
      }
    },
  };
}
