import { html, type TemplateResult } from "lit";
import { heatImage, toCanvas } from "../charts/heat.js";
import { neutral } from "../lib/palette.js";
import { OVERVIEW_LEVELS, type Overview, overviewOf } from "./overview.js";
import type { AttentionViewState, Chosen } from "./view-state.js";

/** A view's choices, whatever else it lets choose. */
type Chooser = Pick<AttentionViewState<Chosen, Partial<Chosen>>, "host" | "figure" | "stack" | "state">;

/** Return what stands in place of heads that are not shipped: their coarse picture, and how to get them. */
export function absentPicture(
  { host, figure, state, stack }: Chooser,
  heads: number[],
  sentence: string,
): TemplateResult {
  host.drawn(); // there is nothing to wait for
  const overview = overviewOf(host, figure, stack);
  const all = (length: number) => ({ start: 0, end: length });
  const alpha = (row: number, col: number) =>
    Math.max(
      ...heads.map((head) => (255 / OVERVIEW_LEVELS) * (overview as Overview).level(state.layer, head, row, col)),
    );
  const picture =
    overview && toCanvas(heatImage(neutral(host.scheme.dark), all(overview.rows), all(overview.cols), alpha));
  return html`<div class="detail absent">${sentence}${
    picture && html`${picture}Its overview: the largest weights between parts of the text; rows attend to columns.`
  }</div>`;
}
