import { html, nothing, type TemplateResult } from "lit";
import { type Part, seen } from "./reading.js";

/** The largest number of cells in a table; a larger one is shown in part. */
export const MOST_CELLS = 2000;
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
