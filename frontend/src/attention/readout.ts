import { html, nothing, type TemplateResult } from "lit";
import { named, type Part } from "../controls/reading.js";
import { type Focus, focused, indices } from "../lib/geometry.js";
import { facing, isBarred, mean, type Scene, weightsWith } from "./scene.js";

const STRONGEST = 3;
const FEW_HEADS = 4;
const FEW_TOKENS = 3;
const SEPARATOR = " · ";

/** Two digits, or three where all numbers beside each other are small. */
export function digitsFor(largest: number): 2 | 3 {
  return largest < 0.1 ? 3 : 2;
}

/** "the + cat"; of many the first few. */
function names(tokens: string[], focus: Focus): Part[] {
  const all = focused(focus);
  const more = all.length > FEW_TOKENS ? ` + ${all.length - FEW_TOKENS} more` : "";
  return [
    between(
      all.slice(0, FEW_TOKENS).map((index) => named(tokens, index)),
      " + ",
    ),
    more,
  ];
}

const between = (parts: Part[], separator: string): Part[] =>
  parts.flatMap((part, i) => (i > 0 ? [separator, part] : [part]));

/** "rabbit → hopped 0.43 · quickly 0.21 · …" */
export function previewText(scene: Scene, focus: Focus, rows: string[], cols: string[]): Part[] {
  const [own, others, arrow] = focus.side === "left" ? [rows, cols, "→"] : [cols, rows, "←"];
  const means = indices(facing(scene)).map((index) => ({ index, value: mean(weightsWith(scene, index)) }));
  const strongest = means.sort((a, b) => b.value - a.value).slice(0, STRONGEST);
  const digits = digitsFor(strongest[0]?.value ?? 0);
  const entries = strongest.map(({ index, value }): Part => [named(others, index), ` ${value.toFixed(digits)}`]);
  return [names(own, focus), ` ${arrow} `, between(entries, SEPARATOR)];
}

/** "rabbit → hopped: head 3 0.91 · head 5 0.12 · mean 0.43"; of many heads the strongest. */
export function pairText(scene: Scene, focus: Focus, partner: number, rows: string[], cols: string[]): Part[] {
  const left = focus.side === "left";
  const own = names(left ? rows : cols, focus);
  const other = named(left ? cols : rows, partner);
  const weights = weightsWith(scene, partner);
  const heads = scene.heads.map((head, slot) => ({ head, weight: weights[slot] as number }));
  const shown = heads.length > FEW_HEADS ? heads.sort((a, b) => b.weight - a.weight).slice(0, STRONGEST) : heads;
  const digits = digitsFor(Math.max(...weights));
  const entries: Part[] = shown.map(
    ({ head, weight }) => `${scene.combined ?? `head ${head}`} ${weight.toFixed(digits)}`,
  );
  const rest = heads[shown.length];
  if (rest) entries.push(`${heads.length - shown.length} others at most ${rest.weight.toFixed(digits)}`);
  if (heads.length > 1) entries.push(`mean ${mean(weights).toFixed(digits)}`);
  if (isBarred(scene, partner)) entries.push("not allowed");
  const across = scene.across ? `, ${scene.across} of layers` : "";
  return [left ? own : other, " → ", left ? other : own, `${across}: `, between(entries, SEPARATOR)];
}

export const percentText = (share: number): string => `${share > 0.995 ? "> 99" : (share * 100).toFixed(0)}%`;

/** The read-out always says what the picture leaves out. */
export function shareText(share: number): TemplateResult | typeof nothing {
  if (share === 1) return nothing;
  return html`${percentText(share)}<span class="wide"> of the weight</span> drawn`;
}
