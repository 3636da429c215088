import { html, nothing, type TemplateResult } from "lit";
import { type Focus, focused, indices } from "../place.js";
import { plainText } from "../token.js";
import { facing, mean, type Scene, weightsWith } from "./scene.js";

const STRONGEST = 3;
const FEW_HEADS = 4;
const FEW_TOKENS = 3;

/** Two digits, or three where all numbers beside each other are small. */
export function digitsFor(largest: number): 2 | 3 {
  return largest < 0.1 ? 3 : 2;
}

const name = (token: string | undefined) => html`<bdi>${plainText(token ?? "")}</bdi>`;
const separator = html`<span class="separator"> · </span>`;

/** "the + cat"; of many the first few. */
function names(tokens: string[], focus: Focus): TemplateResult {
  const all = focused(focus);
  const more = all.length > FEW_TOKENS ? ` + ${all.length - FEW_TOKENS} more` : "";
  const shown = all.slice(0, FEW_TOKENS).map((index, i) => html`${i > 0 ? " + " : ""}${name(tokens[index])}`);
  return html`${shown}${more}`;
}

function list(items: TemplateResult[]): (TemplateResult | typeof separator)[] {
  return items.flatMap((item, i) => (i > 0 ? [separator, item] : [item]));
}

/** "rabbit → hopped 0.43 · quickly 0.21 · …" */
export function previewText(scene: Scene, focus: Focus, rows: string[], cols: string[]): TemplateResult {
  const [own, others, arrow] = focus.side === "left" ? [rows, cols, "→"] : [cols, rows, "←"];
  const means = indices(facing(scene)).map((index) => ({ index, value: mean(weightsWith(scene, index)) }));
  const strongest = means.sort((a, b) => b.value - a.value).slice(0, STRONGEST);
  const digits = digitsFor(strongest[0]?.value ?? 0);
  const entries = strongest.map(({ index, value }) => html`${name(others[index])} ${value.toFixed(digits)}`);
  return html`<span class="detail">${names(own, focus)} ${arrow} ${list(entries)}</span>`;
}

/** "rabbit → hopped: head 3 0.91 · head 5 0.12 · mean 0.43"; of many heads the strongest come first. */
export function pairText(scene: Scene, focus: Focus, partner: number, rows: string[], cols: string[]): TemplateResult {
  const [own, other] =
    focus.side === "left" ? [names(rows, focus), name(cols[partner])] : [names(cols, focus), name(rows[partner])];
  const [from, to] = focus.side === "left" ? [own, other] : [other, own];
  const weights = weightsWith(scene, partner);
  const heads = scene.heads.map((head, slot) => ({ head, weight: weights[slot] as number }));
  if (heads.length > FEW_HEADS) heads.sort((a, b) => b.weight - a.weight);
  const digits = digitsFor(Math.max(...weights));
  const entries = heads.map(({ head, weight }) => html`${scene.combined ?? `head ${head}`} ${weight.toFixed(digits)}`);
  const average = html`<span class="mean">${separator}mean ${mean(weights).toFixed(digits)}</span>`;
  const detail = html`<span class="detail">${from} → ${to}${scene.across ? `, ${scene.across} of layers` : ""}: ${list(entries)}</span>`;
  return html`${detail}${heads.length > 1 ? average : nothing}`;
}

export const percentText = (share: number): string => `${share > 0.995 ? "> 99" : (share * 100).toFixed(0)}\u202f%`;

/** What is left out of the picture is always said. */
export function shareText(share: number): TemplateResult | typeof nothing {
  if (share === 1) return nothing;
  return html`${percentText(share)}<span class="wide"> of the weight</span> drawn`;
}
