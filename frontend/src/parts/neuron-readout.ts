import { html, type TemplateResult } from "lit";
import { plainText } from "../token.js";
import { formatted, type NumberColumn } from "./neuron-columns.js";
import type { Expansion } from "./neuron-drawing.js";

const name = (token: string | undefined) => html`<bdi>${plainText(token ?? "")}</bdi>`;
const short = (value: number) => formatted(value, Math.abs(value) < 0.1 && value !== 0 ? 3 : 2);

/** "rabbit → hopped · neuron 7: q 0.52 × k −1.20 = −0.62" */
export function neuronText({ head, row }: Expansion, col: number | null, neuron: number, names: Names): TemplateResult {
  const q = head.q(row, neuron);
  if (col === null) return html`<span class="detail">${name(names.rows[row])} · neuron ${neuron}: q ${short(q)}</span>`;
  const k = head.k(col, neuron);
  const pair = html`${name(names.rows[row])} → ${name(names.cols[col])}`;
  return html`<span class="detail"
    >${pair} · neuron ${neuron}: q ${short(q)} × k ${short(k)} = ${short(q * k)}</span
  >`;
}

/** "rabbit → hopped: q·k × 0.125 = 3.21 + ALiBi −0.50 = score 2.71, softmax 0.43" */
export function scoreText({ head, row, columns }: Expansion, col: number, names: Names): TemplateResult {
  const pair = html`${name(names.rows[row])} → ${name(names.cols[col])}`;
  const value = ({ values }: NumberColumn) => short(values[col] as number);
  if (head.row(row).scores[col] === Number.NEGATIVE_INFINITY)
    return html`<span class="detail">${pair}: masked, so its weight is 0</span>`;
  const [dots, ...rest] = columns as [NumberColumn, ...NumberColumn[]];
  const softmax = rest.pop() as NumberColumn;
  const steps = rest.map((column) => html` ${column.heading} ${value(column)}`);
  return html`<span class="detail"
    >${pair}: q·k ${dots.note} = ${value(dots)}${steps}; softmax ${value(softmax)}</span
  >`;
}

export interface Names {
  rows: string[];
  cols: string[];
}
