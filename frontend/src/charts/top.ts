import { html, type TemplateResult } from "lit";
import type { Part } from "../controls/reading.js";
import { tokenElement } from "../lib/token.js";

/** The tokens that a model holds likely, the likeliest first. */
export interface Top {
  tokens: string[];
  probabilities: number[];
}

/** Three digits, so that small ones say something, too. */
export function percent(probability: number): string {
  if (probability > 0 && probability < 0.0001) return "< 0.01%";
  return `${(100 * probability).toFixed(probability < 0.1 ? 2 : 1)}%`;
}

/** A bar for each, over the full width for what is certain, its number at its end. */
export function topList({ tokens, probabilities }: Top, color: string, actual?: string): TemplateResult {
  const line = (token: string, i: number) => {
    const probability = probabilities[i] as number;
    return html`<li class=${token === actual ? "actual" : ""} .style="--share:${probability.toFixed(4)}">
      ${tokenElement(token, false)}<span class="bar"></span><span class="at-end">${percent(probability)}</span>
    </li>`;
  };
  return html`<ol class="alternatives" tabindex="0" aria-label="The likeliest" .style="--accent:${color}">${tokens.map(line)}</ol>`;
}

/** The same in words. */
export const topLines = ({ tokens, probabilities }: Top): Part[][] =>
  tokens.map((token, i) => [{ token, at: null }, ` ${percent(probabilities[i] as number)}`]);
