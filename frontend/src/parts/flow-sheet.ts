import { levelsOf, visualOrder } from "../direction.js";
import { pieces, plainText } from "../token.js";
import type { FlowGroup, FlowToken, Paint } from "./flow.js";
import type { Sheet } from "./svg.js";

const [WIDTH, ROW, CHARACTER] = [680, 40, 8];

/** A token with its ground, or a heading, whose index is −1. */
interface Box {
  x: number;
  y: number;
  width: number;
  text: string;
  note: string;
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
): Sheet {
  const boxes: Box[] = [];
  let [y, index] = [0, 0];
  for (const { heading, tokens } of groups) {
    const { base, levels } = levelsOf(tokens);
    if (heading) {
      const x = base ? WIDTH : 0;
      boxes.push({ x, y: y - 6, width: 0, text: heading, note: "", anchor: base ? "end" : "start", index: -1 });
      y += ROW / 2;
    }
    const widths = tokens.map(({ text }) => Math.max(24, CHARACTER * shownText(text).length + 10));
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
          anchor: "middle",
          index: index + at,
        });
        x += width + 2;
      }
      y += ROW;
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
        const { background, ink } = paint(box.index);
        if (background) {
          pen.fillStyle = background;
          pen.fillRect(box.x, box.y, box.width, 22);
        }
        const middle = box.x + box.width / 2;
        pen.text(box.text, middle, box.y + 16, { anchor: "middle", color: ink || inks.ink });
        pen.text(box.note, middle, box.y + 33, { anchor: "middle", size: 10, color: inks.pale });
      }
    },
  };
}
