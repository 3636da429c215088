import { fetchAhead } from "../element/files.js";
import { weightBlobs } from "./figure.js";
import type { AttentionViewState, Chosen } from "./view-state.js";

/** Milliseconds after a turn to another layer until the one after it is fetched, too: the first is to come first. */
const TURNED_MS = 300;

/** A view's choices, whatever else it lets choose. */
export type Chooser = Pick<AttentionViewState<Chosen, Partial<Chosen>>, "figure" | "stack" | "state" | "choose">;

/** The layer after this one, or before it, is fetched: who comes to the control, or turns the pages, wants it next. */
export function fetchBeside({ stack: { layers }, state }: Chooser, by = 1): void {
  const next = layers[layers.findIndex(({ layer }) => layer === state.layer) + by];
  for (const { file } of next ? weightBlobs(next) : []) fetchAhead(file);
}

/** The browser's own, like Ctrl+PageUp or ⌘[; but AltGr, which some keyboards need for a bracket, is Ctrl and Alt. */
const isBrowsers = ({ metaKey, ctrlKey, altKey }: KeyboardEvent) => metaKey || ctrlKey !== altKey;
const STEPS: Record<string, number> = { "[": -1, "]": 1 };

/** Brackets turn to the next layer. Returns whether the key meant one. */
export function layerKey(choices: Chooser, event: KeyboardEvent): boolean {
  const by = STEPS[event.key];
  const taken = isBrowsers(event) || (event.target as Element).matches("select, input, .table");
  if (taken || by === undefined) return false;
  const layers = choices.stack.layers.map((source) => source.layer);
  const next = layers[layers.indexOf(choices.state.layer) + by];
  if (next !== undefined) {
    choices.choose({ layer: next });
    setTimeout(fetchBeside, TURNED_MS, choices, by);
  }
  event.preventDefault();
  return true;
}
