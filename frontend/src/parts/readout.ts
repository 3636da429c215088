import { html, nothing, type TemplateResult } from "lit";
import { plainText } from "../token.js";
import { facing, mean, type Scene, weightsWith } from "./lines.js";

const STRONGEST = 3;
const FEW_HEADS = 4;

/** Two digits, or three where all numbers beside each other are small. */
export function digitsFor(largest: number): 2 | 3 {
  return largest < 0.1 ? 3 : 2;
}

const name = (token: string | undefined) => html`<bdi>${plainText(token ?? "")}</bdi>`;
const separator = html`<span class="separator"> · </span>`;

function list(items: TemplateResult[]): (TemplateResult | typeof separator)[] {
  return items.flatMap((item, i) => (i > 0 ? [separator, item] : [item]));
}

/** "rabbit → hopped 0.43 · quickly 0.21 · …" */
export function previewText(scene: Scene, rows: string[], cols: string[]): TemplateResult | typeof nothing {
  if (!scene.focus) return nothing;
  const { side, index } = scene.focus;
  const [own, others, arrow] = side === "left" ? [rows, cols, "→"] : [cols, rows, "←"];
  const { start, end } = facing(scene);
  const means = Array.from({ length: end - start }, (_, i) => ({
    index: start + i,
    value: mean(weightsWith(scene, start + i)),
  }));
  const strongest = means.sort((a, b) => b.value - a.value).slice(0, STRONGEST);
  const digits = digitsFor(strongest[0]?.value ?? 0);
  const entries = strongest.map((other) => html`${name(others[other.index])} ${other.value.toFixed(digits)}`);
  return html`<span class="detail">${name(own[index])} ${arrow} ${list(entries)}</span>`;
}

/** "rabbit → hopped: head 3 0.91 · head 5 0.12 · mean 0.43"; of many heads the strongest come first. */
export function pairText(
  scene: Scene,
  partner: number,
  rows: string[],
  cols: string[],
): TemplateResult | typeof nothing {
  if (!scene.focus) return nothing;
  const { side, index } = scene.focus;
  const [row, col] = side === "left" ? [index, partner] : [partner, index];
  const weights = weightsWith(scene, partner);
  const heads = scene.heads.map((head, slot) => ({ head, weight: weights[slot] as number }));
  if (heads.length > FEW_HEADS) heads.sort((a, b) => b.weight - a.weight);
  const entries = heads.map(({ head, weight }) => html`head ${head} ${weight.toFixed(2)}`);
  const average =
    heads.length > 1 ? html`<span class="mean">${separator}mean ${mean(weights).toFixed(2)}</span>` : nothing;
  return html`<span class="detail">${name(rows[row])} → ${name(cols[col])}: ${list(entries)}</span>${average}`;
}

/** What is left out of the picture is always said. */
export function shareText(share: number): TemplateResult | typeof nothing {
  if (share === 1) return nothing;
  const percent = share > 0.995 ? "> 99" : (share * 100).toFixed(0);
  return html`<span class="share">${percent}&#8239;%<span class="wide"> of the weight</span> drawn</span>`;
}
