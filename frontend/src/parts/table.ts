import { html, nothing, type TemplateResult } from "lit";
import { memo } from "../memo.js";
import { indices, type Range } from "../place.js";
import type { Reader } from "../reader.js";
import type { Shown } from "../shown.js";
import { plainText } from "../token.js";
import type { Tokens } from "../tokens.js";
import { mean } from "./scene.js";

/** Of larger matrices only the strongest weights of each row. */
const MOST_CELLS = 1600;
const STRONGEST = 5;

interface Sides {
  rows: Tokens;
  cols: Tokens;
  from: Range;
  to: Range;
}

/** The weights as numbers: of several heads their mean. */
export class WeightTable {
  private readonly made = memo((shown: Shown["layer"], heads: number[], sides: Sides) => body(shown, heads, sides));
  private readonly sides = memo((rows: Tokens, cols: Tokens, ...[a, b, c, d]: [number, number, number, number]) => ({
    ...{ rows, cols, from: { start: a, end: b }, to: { start: c, end: d } },
  }));

  constructor(private readonly reader: Reader) {}

  render(shown: Shown | undefined): TemplateResult | typeof nothing {
    const { reader } = this;
    if (!reader.open.table || !shown || shown.layer.share < 1) return nothing;
    const [from, to] = [reader.range("left"), reader.range("right")];
    const tokens = [reader.tokens("left"), reader.tokens("right")] as const;
    const sides = this.sides(...tokens, from.start, from.end, to.start, to.end);
    const several = shown.heads.length > 1 ? ", their mean" : "";
    const caption = `${reader.where}${several}: each row attends to the columns`;
    return html`<div class="table" role="region" aria-label="Weights as a table" tabindex="0">
      <table><caption>${caption}</caption>${this.made(shown.layer, shown.heads, sides)}</table>
    </div>`;
  }
}

const name = (side: Tokens, index: number) => html`<bdi>${plainText(side.tokens[index] as string)}</bdi>`;

function body(layer: Shown["layer"], heads: number[], sides: Sides): TemplateResult {
  const { from, to } = sides;
  const value = (row: number, col: number) => mean(heads.map((head) => layer.weight(head, row, col)));
  const fits = (from.end - from.start) * (to.end - to.start) <= MOST_CELLS;
  return fits ? matrix(sides, value) : strongest(sides, value);
}

type Value = (row: number, col: number) => number;

function matrix({ rows, cols, from, to }: Sides, value: Value): TemplateResult {
  const cell = (row: number) => (col: number) => html`<td>${value(row, col).toFixed(3)}</td>`;
  return html`<thead><tr><td></td>${indices(to).map((col) => html`<th scope="col">${name(cols, col)}</th>`)}</tr></thead>
    <tbody>${indices(from).map(
      (row) => html`<tr><th scope="row">${name(rows, row)}</th>${indices(to).map(cell(row))}</tr>`,
    )}</tbody>`;
}

function strongest({ rows, cols, from, to }: Sides, value: Value): TemplateResult {
  const line = (row: number) => {
    const weights = indices(to).map((col) => ({ col, weight: value(row, col) }));
    const top = weights.sort((a, b) => b.weight - a.weight).slice(0, STRONGEST);
    const held = top.reduce((sum, { weight }) => sum + weight, 0);
    const cells = top.map(({ col, weight }) => html`<td>${name(cols, col)} ${weight.toFixed(3)}</td>`);
    return html`<tr><th scope="row">${row + 1} ${name(rows, row)}</th>${cells}<td>${(held * 100).toFixed(0)} %</td></tr>`;
  };
  const ranks = Array.from({ length: Math.min(STRONGEST, to.end - to.start) }, (_, i) => i + 1);
  return html`<thead><tr><th scope="col">token</th>${ranks.map(
    (rank) => html`<th scope="col">${rank}.</th>`,
  )}<th scope="col">together</th></tr></thead><tbody>${indices(from).map(line)}</tbody>`;
}
