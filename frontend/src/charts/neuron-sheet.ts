import type { Scene } from "../attention/scene.js";
import type { Scheme } from "../element/scheme.js";
import { indices, ROW_HEIGHT } from "../lib/geometry.js";
import { formatNumbers, STRIPS } from "./neuron-columns.js";
import { drawExpansion, type Expansion, type PutStrip, strength } from "./neuron-drawing.js";
import { legendNumber } from "./neuron-headings.js";
import { type NeuronLayout, STRIP_HEIGHT } from "./neuron-layout.js";
import type { NeuronPicture } from "./neuron-picture.js";
import { savedNotes, windowNotes } from "./saved-notes.js";
import { SAVED_ROWS, savedWidth, writeTokens } from "./saved-tokens.js";
import type { Sheet, SvgPen } from "./svg.js";

const LINES_WIDTH = 240;
const HEADINGS = 44;

/** The picture as it stands, for a file. */
export function neuronSheet(
  picture: NeuronPicture,
  scene: Scene,
  expansion: Expansion | null,
  layout: NeuronLayout | null,
  scheme: Scheme,
): Sheet {
  const { columns } = picture;
  const [rows, cols] = [picture.savedRange(scene.rows, SAVED_ROWS), picture.savedRange(scene.cols, SAVED_ROWS)];
  const [left, right] = [savedWidth(columns.left), savedWidth(columns.right)];
  const open = expansion && layout;
  const between = open ? layout.width : LINES_WIDTH;
  const height = Math.max(rows.end - rows.start, cols.end - cols.start) * ROW_HEIGHT;
  const draw = (pen: SvgPen) => {
    if (open) pen.moveBy(0, HEADINGS);
    writeTokens(pen, columns.left, rows, left - 8, scheme);
    writeTokens(pen, columns.right, cols, left + between + 8, scheme);
    if (!open) {
      const frame = { left, right: left + between, top: 0, height };
      picture.drawSheet(pen, { ...scene, rows, cols }, frame, right);
      return;
    }
    pen.moveBy(left, 0);
    const saved = { ...expansion, rows, cols };
    drawExpansion(pen, putOn(pen), saved, layout, cols);
    writeHeadings(pen, saved, layout);
    writeNumbers(pen, saved, layout);
    pen.moveBy(-left, -HEADINGS);
  };
  const saved = { ...scene, rows, cols };
  const notes = open ? windowNotes(scene, saved) : savedNotes(scene, saved, [], 1);
  return { width: left + between + right, height: height + (open ? HEADINGS : 0), notes, draw };
}

function putOn(pen: SvgPen): PutStrip {
  return (picture, line, left, top, width) => {
    const strip = Object.assign(document.createElement("canvas"), { width: picture.width, height: 1 });
    strip.getContext("2d")?.drawImage(picture, 0, -line);
    pen.image(strip.toDataURL(), left, top, width, STRIP_HEIGHT);
  };
}

function writeHeadings(pen: SvgPen, { head, columns, signed }: Expansion, layout: NeuronLayout): void {
  const steps = 32;
  const cell = layout.strip / steps;
  for (const part of ["q", "k", "product"] as const) {
    const left = layout[part];
    const most = legendNumber(head.largest[part]);
    pen.text(STRIPS[part].heading, left, -30, { size: 12 });
    for (let i = 0; i < steps; i++) {
      const share = (2 * i + 1) / steps - 1;
      const [r, g, b] = share < 0 ? signed.negative : signed.positive;
      pen.fillStyle = `rgb(${r},${g},${b})`;
      pen.globalAlpha = strength(share);
      pen.fillRect(left + i * cell, -24, cell, 5);
    }
    pen.text(`−${most}`, left, -7, { size: 10 });
    pen.text("0", left + layout.strip / 2, -7, { size: 10, anchor: "middle" });
    pen.text(most, left + layout.strip, -7, { size: 10, anchor: "end" });
  }
  columns.forEach(({ heading, note }, i) => {
    const x = (layout.numbers[i] as number) + layout.number;
    const words = note ? [heading, note] : heading.replace(" ", "\u00a0").split(" ");
    words.forEach((word, line) => {
      pen.text(word, x, 13 * (line - words.length) + 6, { size: 11, anchor: "end" });
    });
  });
}

function writeNumbers(pen: SvgPen, { head, row, columns, cols }: Expansion, layout: NeuronLayout): void {
  const { scores } = head.row(row);
  columns.forEach(({ values, weights }, i) => {
    const format = formatNumbers(values.subarray(cols.start, cols.end));
    const x = (layout.numbers[i] as number) + layout.number;
    for (const col of indices(cols)) {
      const masked = scores[col] === Number.NEGATIVE_INFINITY;
      const text = !masked ? format(values[col] as number) : weights ? "0" : i === 0 ? "masked" : "";
      pen.text(text, x, (col - cols.start) * ROW_HEIGHT + 16, { size: 12, anchor: "end" });
    }
  });
}
