import { html, nothing, type TemplateResult } from "lit";
import type { Figure } from "../element/figure.js";

/** Close the text at Escape, and focus the line that opens it. */
function close(event: KeyboardEvent): void {
  const about = event.currentTarget as HTMLDetailsElement;
  if (event.key !== "Escape" || !about.open) return;
  about.open = false;
  (about.firstElementChild as HTMLElement).focus();
  event.preventDefault();
  event.stopPropagation(); // or the view would close its options, too
}

/** Return the figure's account of itself, behind a line: the author's claims, and the origin of its numbers. */
export function aboutText({ claims = [], provenance, shipped }: Figure): TemplateResult | typeof nothing {
  if (!provenance) return nothing;
  const { models, versions = [], corpus, stored, cite } = provenance;
  const rows = [
    ...claims.map(({ text, holds, value }) => [
      "This page claims",
      `${text} · ${holds ? "holds" : "⚠ does not hold"}: ${value}`,
    ]),
    ...models.map((model) => ["Model", Object.values(model).join(" · ")]),
    ...versions.map((packages) => [
      "Computed with",
      Object.entries(packages)
        .map((named) => named.join(" "))
        .join(", "),
    ]),
    ["Corpus", corpus],
    ["Stored", stored],
    ["In this page", shipped],
    ...cite.map((text) => ["Cite", text]),
  ];
  return html`<details class="about" @keydown=${close}>
    <summary>About this figure</summary>
    <dl>${rows.map(([term, text]) => text && html`<dt>${term}</dt><dd>${text}</dd>`)}</dl>
  </details>`;
}

/** Return the commits or digests of the figure's models, shortened, for a picture that is saved. */
export const identities = ({ provenance }: Figure): string | undefined =>
  provenance?.models.map(({ identity = "" }) => identity.replace(/(\w{12})\w{28,}$/, "$1")).join(", ");
