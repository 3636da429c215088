import { named, type Part } from "../controls/reading.js";
import { MOST_CELLS, type Table } from "../controls/table.js";
import { indices, only, type Range } from "../lib/geometry.js";
import type { Weighing } from "./strongest.js";

/** The number of weights of each row that the table of a larger matrix shows. */
const STRONGEST = 5;

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
