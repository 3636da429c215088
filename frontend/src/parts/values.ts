import { html, type TemplateResult } from "lit";
import { PALETTES } from "../palette.js";
import type { Scheme } from "../scheme.js";

/** Three digits or all before the point, with a true minus sign. */
export function signed(value: number): string {
  const size = Math.abs(value);
  const text = size === 0 || size >= 100 ? String(Math.round(size)) : size.toPrecision(3);
  return value < 0 ? `−${text}` : text;
}

/** What a value is of. Without a colour, that of its sign. */
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
  return html`<ol class="alternatives">${lines.map(
    ({ name, value, bold, color }) => html`<li>
      <bdi class="token ${bold ? "actual" : ""}">${name}</bdi><span>${signed(value)}</span>
      <span class="bar" style="width:${most > 0 ? ((100 * Math.abs(value)) / most).toFixed(1) : 0}%;--accent:${color ?? (value < 0 ? negative : positive)}"></span>
    </li>`,
  )}</ol>`;
}
