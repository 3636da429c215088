import { html, nothing, type TemplateResult } from "lit";
import type { Sheet } from "../charts/svg.js";
import { copyLink } from "../element/link.js";
import { aboutText } from "./about.js";
import type { Legend } from "./legend.js";
import { copiesImages, copyImage, savePng, saveSvg } from "./save.js";
import type { ViewState } from "./view-state.js";

/** A view's picture as a file, and the key to its colours. */
export interface Saved {
  legend: Legend;
  /** The picture as it stands, for a file; null while there is none. */
  sheet(): Sheet | null;
}

export function optionsButton(choices: Pick<ViewState<object>, "open" | "toggle">): TemplateResult {
  return html`<button
    class="more"
    aria-expanded=${choices.open.options}
    aria-label="Options"
    data-tip="Options"
    @click=${() => choices.toggle("options")}
  >⋯</button>`;
}

/** Closes the options if they are open; the keyboard, if it was in there, comes back to their button. */
export function closeOptions(choices: Pick<ViewState<object>, "open" | "toggle">, event: KeyboardEvent): boolean {
  if (!choices.open.options) return false;
  choices.toggle("options");
  if ((event.target as Element).closest(".options"))
    (event.currentTarget as Element).querySelector<HTMLElement>(".more")?.focus();
  return true;
}

/** Return what every view has: buttons for its table, its picture as a file and a link, and what is to be known of it. */
export function files<State extends object, Change>(
  choices: ViewState<State, Change>,
  { sheet, legend }: Saved,
): TemplateResult {
  const save = (write: typeof saveSvg | typeof savePng) => {
    const made = sheet();
    if (made) write(made, choices, legend);
  };
  return html`<span class="actions"><button aria-pressed=${choices.open.table} @click=${() => choices.toggle("table")}>Table</button>
    <button @click=${() => save(saveSvg)}>Save SVG</button>
    <button @click=${() => save(savePng)}>Save PNG</button>
    ${copiesImages() ? html`<button @click=${() => save(copyImage)}>Copy as image</button>` : nothing}
    <button @click=${() => copyLink(choices)}>Copy link</button>
    <span class="pale">${choices.noted}</span></span>${aboutText(choices.host.whole)}`;
}
