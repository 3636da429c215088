import { pieces, plainText } from "../token.js";
import type { FlowGroup, Paint } from "./flow.js";
import type { Sheet } from "./svg.js";

const [WIDTH, ROW, CHARACTER] = [680, 40, 8];

/** A flow of tokens for a file. */
export function flowSheet(
  groups: FlowGroup[],
  paint: (index: number) => Paint,
  inks: { ink: string; pale: string },
): Sheet {
  const boxes: { x: number; y: number; width: number; text: string; note: string; heading: boolean; index: number }[] =
    [];
  let [x, y, index] = [0, 0, 0];
  for (const { heading, tokens } of groups) {
    if (heading) {
      if (x > 0) [x, y] = [0, y + ROW];
      boxes.push({ x, y: y - 6, width: 0, text: heading, note: "", heading: true, index: -1 });
      y += ROW / 2;
    }
    for (const { text, note } of tokens) {
      const shown = pieces(text)
        .map((piece) => piece.text)
        .join("");
      const width = Math.max(24, CHARACTER * shown.length + 10);
      if (x > 0 && x + width > WIDTH) [x, y] = [0, y + ROW];
      boxes.push({ x, y, width, text: shown || plainText(text), note, heading: false, index: index++ });
      x += width + 2;
      if (text.includes("\n")) [x, y] = [0, y + ROW];
    }
    if (x > 0) [x, y] = [0, y + ROW];
  }
  return {
    width: WIDTH,
    height: y,
    draw: (pen) => {
      for (const box of boxes) {
        if (box.heading) {
          pen.text(box.text, 0, box.y + 16, { size: 12, color: inks.pale });
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
