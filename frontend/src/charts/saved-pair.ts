import type { Sheet } from "./svg.js";

const [GAP, HEADING, SQUARE] = [32, 28, 12];

/** A picture for a file under a heading with its head's colour. */
export interface Titled {
  title: string;
  color: string;
  sheet: Sheet | null;
}

/** Return two pictures as one. */
export function sideBySide(...both: [Titled, Titled]): Sheet | null {
  const [left, right] = both.map(({ sheet }) => sheet);
  if (!left || !right) return null;
  return {
    width: left.width + GAP + right.width,
    height: HEADING + Math.max(left.height, right.height),
    notes: both.flatMap(({ title, sheet }) => sheet?.notes?.map((note) => `${title}: ${note}`) ?? []),
    draw: (pen) => {
      for (const { title, color, sheet } of both) {
        pen.globalAlpha = 1;
        pen.fillStyle = color;
        pen.fillRect(0, 2, SQUARE, SQUARE);
        pen.text(title, SQUARE + 6, 13, { weight: 600 });
        pen.moveBy(0, HEADING);
        sheet?.draw(pen);
        pen.moveBy(left.width + GAP, -HEADING);
      }
      pen.moveBy(-2 * (left.width + GAP), 0);
    },
  };
}
