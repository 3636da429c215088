import { html, type TemplateResult } from "lit";
import type { Part } from "../controls/reading.js";
import type { Scheme } from "../element/scheme.js";
import { PALETTES } from "../lib/palette.js";

/** Three digits or all before the point, with a true minus sign. */
export function signed(value: number): string {
  const size = Math.abs(value);
  const text = size === 0 || size >= 100 ? String(Math.round(size)) : size.toPrecision(3);
  return value < 0 ? `−${text}` : text;
}

/** The thing that a value belongs to. Without a colour it has that of its sign. */
export interface Line {
  name: string;
  value: number;
  bold?: boolean;
  color?: string;
}

/** A bar for each, over the full width for the largest. */
export function valueList(lines: Line[], { dark }: Scheme): TemplateResult {
  const most = Math.max(...lines.map(({ value }) => Math.abs(value)));
  const [negative, positive] = (dark ? PALETTES.dark : PALETTES.light).signed as [string, string];
  return html`<ol class="alternatives" aria-label="The strongest">${lines.map(
    ({ name, value, bold, color }) => html`<li
      class=${bold ? "actual" : ""}
      .style="--share:${(most > 0 ? Math.abs(value) / most : 0).toFixed(4)};--accent:${color ?? (value < 0 ? negative : positive)}"
    >
      <bdi class="token">${name}</bdi><span class="bar"></span><span class="at-end">${signed(value)}</span>
    </li>`,
  )}</ol>`;
}

/** The same in words. */
export const valueLines = (lines: Line[]): Part[][] => lines.map(({ name, value }) => [`${name}, ${signed(value)}`]);
