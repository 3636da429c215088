import type { NeuronHead } from "../attention/neuron-scores.js";
import { named, type Part } from "../controls/reading.js";
import { largest, type Table } from "../controls/table.js";
import { indices, type Range } from "../lib/geometry.js";
import { plainText } from "../lib/token.js";
import { formatNumbers, formatted, type NumberColumn, numberColumns } from "./neuron-columns.js";
import type { Expansion } from "./neuron-drawing.js";

const short = (value: number) => formatted(value, Math.abs(value) < 0.1 && value !== 0 ? 3 : 2);

/** "rabbit → hopped · neuron 7: q 0.52 × k −1.20 = −0.62" */
export function neuronText({ head, row }: Expansion, col: number | null, neuron: number, names: Names): Part[] {
  const q = head.q(row, neuron);
  if (col === null) return [named(names.rows, row), ` · neuron ${neuron}: q ${short(q)}`];
  const k = head.k(col, neuron);
  return [pairOf(row, col, names), ` · neuron ${neuron}: q ${short(q)} × k ${short(k)} = ${short(q * k)}`];
}

const pairOf = (row: number, col: number, { rows, cols }: Names): Part[] => [named(rows, row), " → ", named(cols, col)];

/** "rabbit → hopped: q·k × 0.125 = 3.21 + ALiBi −0.50 = score 2.71, softmax 0.43" */
export function scoreText({ head, row, columns }: Expansion, col: number, names: Names): Part[] {
  const pair = pairOf(row, col, names);
  const value = ({ values }: NumberColumn) => short(values[col] as number);
  if (head.row(row).scores[col] === Number.NEGATIVE_INFINITY) return [pair, ": masked, so its weight is 0"];
  const [dots, ...rest] = columns as [NumberColumn, ...NumberColumn[]];
  const softmax = rest.pop() as NumberColumn;
  const steps = rest.map((column) => ` ${column.heading} ${value(column)}`).join("");
  return [pair, `: q·k ${dots.note} = ${value(dots)}${steps}; softmax ${value(softmax)}`];
}

export interface Names {
  rows: string[];
  cols: string[];
}

/** Writes the steps to a token's weights as a table: a row for each token that it may attend to. */
export function scoreTable(head: NeuronHead, { rows, cols }: Names, row: number, to: Range, where: string): Table {
  const scores = head.row(row);
  const columns = numberColumns(head, scores).map((column) => ({ ...column, format: formatNumbers(column.values) }));
  const shown = indices(to);
  const table = {
    caption: `${where}: how the weights of “${plainText(rows[row] as string)}” at ${row} come about`,
    columns: ["token", "position", ...columns.map(({ heading, note }) => `${heading} ${note}`.trim())],
    rows: shown.map((col): Part[] => [
      { token: cols[col] as string, at: null },
      String(col),
      ...columns.map(({ values, format }) => (Number.isFinite(values[col]) ? format(values[col] as number) : "masked")),
    ]),
  };
  const sizes = shown.map((col) => scores.weights[col] as number);
  return largest(table, sizes, "largest");
}
