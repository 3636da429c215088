import type { Place } from "./chart.js";

/** px of a character and of a line of a label. */
const [CHARACTER, LINE, GAP] = [7, 13, 8];

interface Named {
  x: number;
  y: number;
  text: string;
}

export interface PlacedLabel extends Named {
  anchor: "start" | "middle" | "end";
}

type Box = [left: number, top: number, right: number, bottom: number];

const overlaps = (a: Box, b: Box): boolean => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

/** The places around a mark where its label may stand, the best first. */
function* around({ x, y, text }: Named): Generator<[PlacedLabel, Box]> {
  const width = CHARACTER * text.length;
  const middle = y + 4;
  const places = [
    ["start", GAP, middle],
    ["end", -GAP, middle],
    ["middle", 0, y - GAP],
    ["middle", 0, y + GAP + LINE - 3],
    ["start", GAP - 2, y - GAP + 2],
    ["end", 2 - GAP, y - GAP + 2],
    ["start", GAP - 2, y + GAP + 6],
    ["end", 2 - GAP, y + GAP + 6],
  ] as const;
  for (const [anchor, right, baseline] of places) {
    const at = x + right;
    const left = anchor === "start" ? at : anchor === "end" ? at - width : at - width / 2;
    yield [{ x: at, y: baseline, text, anchor }, [left, baseline - LINE + 3, left + width, baseline + 3]];
  }
}

/**
 * Place labels in their order, each where it covers neither a mark nor a label that is there already. One for which no
 * such place is left has none. `taken` are texts that are there anyway.
 */
export function placeLabels(
  wanted: Named[],
  marks: (Place | null)[],
  width: number,
  height: number,
  taken: Box[] = [],
): PlacedLabel[] {
  const boxes = [
    ...taken,
    ...marks.flatMap((mark): Box[] => (mark ? [[mark.x, mark.y, mark.x + mark.width, mark.y + mark.height]] : [])),
  ];
  return wanted.flatMap((named) => {
    for (const [placed, box] of around(named)) {
      const isInside = box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= height;
      if (!isInside || boxes.some((other) => overlaps(box, other))) continue;
      boxes.push(box);
      return [placed];
    }
    return [];
  });
}
