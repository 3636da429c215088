import { html, nothing, type TemplateResult } from "lit";
import type { SvgPen } from "../charts/svg.js";
import { headColor } from "../lib/palette.js";

/** Evenly spaced colours as CSS, and the values of the first and the last. */
export interface Ramp {
  colors: string[];
  ends: [string, string];
}

/** The key to a picture's colours: one line on the page, and the same in a file. */
export interface Legend {
  /** Its parts stand between " · ", the most important first: a narrow figure shows as many as have room. */
  text: string;
  ramp?: Ramp | null;
  /** Heads whose colours a file explains; on the page their squares do. */
  heads?: number[];
  /** A text about the way the numbers were computed; on the page it stands behind the options. */
  notes?: string;
}

const STEPS = 24;
/** Widths in a file, in px: a square, a cell of a ramp, a gap, and a character with some to spare. */
const [SQUARE, CELL, SPACE, CHARACTER, SIZE] = [12, 3, 8, 7, 12];

/** Return a ramp, from the colour of each share of the way. */
export function ramp(ends: [string, string], color: (share: number) => string): Ramp {
  return { ends, colors: Array.from({ length: STEPS }, (_, i) => color(i / (STEPS - 1))) };
}

export function legendText({ text, ramp }: Legend): TemplateResult {
  return html`${
    ramp
      ? html`<span class="scale" role="img" aria-label="Colours from ${ramp.ends[0]} to ${ramp.ends[1]}"
          >${ramp.ends[0]}<i .style="background:linear-gradient(90deg,${ramp.colors})"></i>${ramp.ends[1]}</span
        >`
      : nothing
  }${text.split(" · ").map((part) => html`<span>${part}</span>`)}`;
}

/** Write pieces of a legend into a file, side by side: texts, and colours as wide as `width`. Return where they end. */
function write(pen: SvgPen, y: number, ink: string, width: number, pieces: (string | string[])[]): number {
  let x = 0;
  for (const piece of pieces) {
    if (typeof piece === "string") pen.text(piece, x, y, { color: ink, size: SIZE });
    else
      piece.forEach((color, i) => {
        pen.fillStyle = color;
        pen.fillRect(x + i * width, y - 10, width, SQUARE);
      });
    x += SPACE + (typeof piece === "string" ? CHARACTER : width) * piece.length;
  }
  return x;
}

/** Write which colour is which head. */
export function writeHeads(pen: SvgPen, heads: number[], y: number, dark: boolean, ink: string): number {
  const squares = heads.flatMap((head) => [[headColor(head, dark)], String(head)]);
  return write(pen, y, ink, SQUARE, ["Heads", ...squares]);
}

export function writeRamp(pen: SvgPen, { ends: [first, last], colors }: Ramp, y: number, ink: string): number {
  return write(pen, y, ink, CELL, [first, colors, last]) + SPACE;
}
