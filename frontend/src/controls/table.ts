import { html, nothing, type TemplateResult } from "lit";
import type { Weighing } from "../attention/strongest.js";
import { indices, only, type Range } from "../lib/geometry.js";
import { named, type Part, seen } from "./reading.js";

/** The largest number of cells in a table; a larger one is shown in part. */
const MOST_CELLS = 2000;
/** The number of weights of each row that the table of a larger matrix shows. */
const STRONGEST = 5;

/** A view's numbers as data. A row's first cell is its heading; that column may have no heading of its own. */
export interface Table {
  caption: string;
  columns: Part[];
  rows: Part[][];
}

/** Return a table of as many rows as fit: those with the largest `sizes`, which the caption calls `these`. */
export function largest(table: Table, sizes: ArrayLike<number>, these: string): Table {
  const { caption, columns, rows } = table;
  const room = Math.max(1, Math.floor(MOST_CELLS / columns.length));
  if (rows.length <= room) return table;
  const size = (row: number): number => sizes[row] || 0; // NaN is nothing
  const kept = rows
    .map((_, row) => row)
    .sort((a, b) => size(b) - size(a))
    .slice(0, room)
    .sort((a, b) => a - b);
  const said = `${caption}; the ${room} ${these} of ${rows.length}`;
  return { caption: said, columns, rows: kept.map((row) => rows[row] as Part[]) };
}

/** Return a token's text, with its position if it occurs twice. */
function placed(part: Part): unknown {
  if (Array.isArray(part)) return part.map(placed);
  return typeof part === "string" || part.at === null ? seen(part) : [seen(part), ` ${part.at}`];
}

/** Return a table that scrolls within itself. */
export function tableText(table: Table | null, label = "Numbers as a table"): TemplateResult | typeof nothing {
  if (!table) return nothing;
  const { caption, columns, rows } = table;
  return html`<div class="table" role="region" aria-label=${label} tabindex="0">
    <table><caption>${caption}</caption>
      <thead><tr>${columns.map((name) => (name === "" ? html`<td></td>` : html`<th scope="col">${placed(name)}</th>`))}</tr></thead>
      <tbody>${rows.map(
        ([name = "", ...cells]) =>
          html`<tr><th scope="row">${placed(name)}</th>${cells.map((cell) => html`<td>${placed(cell)}</td>`)}</tr>`,
      )}</tbody>
    </table>
  </div>`;
}

/** Return the weights between two ranges of tokens; for several heads, their mean. */
export function weightTable({ layer, heads, rows, cols, from, to }: Weighing, where: string): Table {
  const caption = `${where}${heads.length > 1 ? ", their mean" : ""}: each row attends to the columns`;
  const values = (row: number) => {
    const sums = indices(to).map(() => 0);
    for (const head of heads)
      layer.each(head, only(row), to, (_, col, weight) => {
        sums[col - to.start] = (sums[col - to.start] as number) + weight / heads.length;
      });
    return sums;
  };
  return (from.end - from.start) * (to.end - to.start) <= MOST_CELLS
    ? {
        caption,
        columns: ["", ...indices(to).map((col) => named(cols, col))],
        rows: indices(from).map((row) => [named(rows, row), ...values(row).map((value) => value.toFixed(3))]),
      }
    : {
        caption: `${caption} that hold most of its weight`,
        columns: ["token", ...ranks(to).map((rank) => `${rank}.`), "together"],
        rows: indices(from).map((row) => [
          [`${row + 1} `, { token: rows[row] as string, at: null }],
          ...strongest(cols, to, values(row)),
        ]),
      };
}

const ranks = ({ start, end }: Range): number[] => indices({ start: 1, end: Math.min(STRONGEST, end - start) + 1 });

function strongest(cols: string[], { start }: Range, values: number[]): Part[] {
  const weights = values.map((weight, i) => ({ col: start + i, weight }));
  const top = weights.sort((a, b) => b.weight - a.weight).slice(0, STRONGEST);
  const held = top.reduce((sum, { weight }) => sum + weight, 0);
  return [...top.map(({ col, weight }) => [named(cols, col), ` ${weight.toFixed(3)}`]), `${(held * 100).toFixed(0)}%`];
}
