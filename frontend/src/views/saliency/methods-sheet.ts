import type { Pen, Sheet, SvgPen } from "../../charts/svg.js";
import { DEEPEST, signedTint } from "../../charts/tint.js";
import type { Grid, GridCell, GridPlace } from "../../charts/token-grid.js";
import { gridSheet } from "../../charts/token-grid-sheet.js";
import { inks } from "../../controls/save.js";
import type { MethodsFigure, MethodsState } from "../../element/figure-data.js";
import type { Scheme } from "../../element/scheme.js";
import { headColor } from "../../lib/palette.js";
import { decimals, isCurve, pairs } from "./comparison.js";
import { methodName } from "./strips.js";

/** px of the names of methods, of a row, of a cell of the matrix, of a plot and of a number beside it. */
const [NAMES, ROW, CELL, PLOT, NUMBER] = [152, 24, 44, 280, 64];

/** The strips and what is below them, for a file. */
export function methodsSheet(
  figure: MethodsFigure,
  grid: Grid,
  cell: (place: GridPlace) => GridCell,
  compare: MethodsState["compare"],
  scheme: Scheme,
): Sheet {
  const colors = inks(scheme.dark, scheme.pale);
  const strips = gridSheet(grid, cell, colors, NAMES);
  const count = figure.methods.length;
  const top = strips.height + ROW;
  const curve = isCurve(compare);
  const width = curve ? PLOT + ROW + NAMES + 3 * NUMBER : NAMES + CELL * count;
  const height = compare === "nothing" ? 0 : ROW * (count + 2);
  return {
    width: Math.max(strips.width, width),
    height: strips.height + (height && height + ROW),
    draw: (pen) => {
      strips.draw(pen);
      if (curve) drawCurves(pen, figure, compare, scheme, top, height);
      else if (height) drawPairs(pen, figure, compare, scheme, top);
    },
  };
}

function drawPairs(
  pen: SvgPen,
  figure: MethodsFigure,
  compare: MethodsState["compare"],
  scheme: Scheme,
  top: number,
): void {
  const values = pairs(figure, compare);
  figure.methods.forEach(({ method }, row) => {
    const y = top + ROW * (row + 1);
    pen.text(String(row + 1), NAMES + CELL * (row + 0.5), top + 16, { anchor: "middle" });
    pen.text(`${row + 1} ${methodName(method)}`, 0, y + 16);
    values[row]?.forEach((value, col) => {
      if (value === null || row === col) return;
      const { background, ink } = signedTint(DEEPEST * value, 1, scheme);
      if (background) {
        pen.fillStyle = background;
        pen.fillRect(NAMES + CELL * col, y, CELL - 1, ROW - 1);
      }
      const style = { anchor: "middle" as const, ...(ink ? { color: ink } : {}) };
      pen.text(decimals(value), NAMES + CELL * (col + 0.5), y + 16, style);
    });
  });
}

function drawCurves(
  pen: SvgPen,
  { curves, methods }: MethodsFigure,
  curve: "deletion" | "insertion",
  scheme: Scheme,
  top: number,
  height: number,
): void {
  const { counts, random } = curves;
  const last = counts.at(-1) as number;
  const x = (at: number) => (PLOT * (counts[at] as number)) / last;
  const y = (value: number) => top + height * (1 - value);
  const pale = inks(scheme.dark, scheme.pale).pale;
  const rows = [
    ...methods.map(({ method }, at) => ({
      name: methodName(method),
      color: headColor(at, scheme.dark),
      ...(curves.methods[at] as (typeof curves.methods)[number]),
    })),
    {
      name: "random order",
      color: pale,
      [curve]: random[curve].mean,
      [`${curve}_area`]: random[`${curve}_area`].mean,
      comprehensiveness: random.comprehensiveness.mean,
      sufficiency: random.sufficiency.mean,
    } as unknown as { name: string; color: string } & (typeof curves.methods)[number],
  ];
  pen.strokeStyle = pale;
  pen.lineWidth = 1;
  pen.beginPath();
  line(pen, [0, y(0)], [PLOT, y(0)]);
  line(pen, [0, y(0)], [0, y(1)]);
  pen.stroke();
  const left = PLOT + ROW;
  ["area", "compr.", "suff."].forEach((name, at) => {
    pen.text(name, left + NAMES + NUMBER * (at + 1), top + 16, { anchor: "end", color: pale });
  });
  rows.forEach((row, number) => {
    pen.strokeStyle = pen.fillStyle = row.color;
    pen.lineWidth = 2;
    pen.beginPath();
    row[curve].forEach((value, at) => {
      if (at) line(pen, [x(at - 1), y(row[curve][at - 1] as number)], [x(at), y(value)]);
    });
    pen.stroke();
    const base = top + ROW * (number + 1);
    pen.fillRect(left, base + 6, 12, 12);
    pen.text(row.name, left + 18, base + 16);
    [row[`${curve}_area`], row.comprehensiveness, row.sufficiency].forEach((value, at) => {
      pen.text(decimals(value), left + NAMES + NUMBER * (at + 1), base + 16, { anchor: "end" });
    });
  });
}

/** A straight line, as a curve without a bend. */
function line(pen: Pen, [x0, y0]: [number, number], [x1, y1]: [number, number]): void {
  pen.moveTo(x0, y0);
  pen.quadraticCurveTo((x0 + x1) / 2, (y0 + y1) / 2, x1, y1);
}
