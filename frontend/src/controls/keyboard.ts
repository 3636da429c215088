import type { Range } from "../lib/geometry.js";

/** Lines down and places to the right, for each key; infinite if the key leads to the end. */
const STEPS: Record<string, [down: number, right: number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  Home: [0, Number.NEGATIVE_INFINITY],
  End: [0, Number.POSITIVE_INFINITY],
};
const PAGES: typeof STEPS = {
  PageUp: [Number.NEGATIVE_INFINITY, 0],
  PageDown: [Number.POSITIVE_INFINITY, 0],
};

interface Cell {
  row: number;
  col: number;
}

/** Focus an element because a key was pressed. Without the option, WebKit shows no focus ring after a click. */
export function focusByKey(element: HTMLElement | undefined): void {
  element?.focus({ focusVisible: true });
}

/** Make another element of a group the one that Tab reaches. */
export function moveTabStop<T extends HTMLElement>(from: T | undefined, to: T | undefined): T | undefined {
  if (from) from.tabIndex = -1;
  if (to) to.tabIndex = 0;
  return to;
}

/**
 * Walk from mark to mark by the keys that do so in every view: arrows, Home and End; Enter and space choose. `walk` and
 * `choose` return false where the key means nothing to them, and the browser keeps it. With `pages`, two more keys lead
 * to the first and to the last line; elsewhere they scroll the page.
 */
export function walkByKey(
  event: KeyboardEvent,
  walk: (down: number, right: number) => unknown,
  choose: () => unknown = () => false,
  pages = false,
): void {
  const { key, altKey, ctrlKey, metaKey } = event;
  const step = STEPS[key] ?? (pages ? PAGES[key] : undefined);
  if (altKey || ctrlKey || metaKey || !(step || key === "Enter" || key === " ")) return;
  if ((step ? walk(...step) : choose()) !== false) event.preventDefault();
}

/** Return the index nearest to the wanted one within a range. */
export const within = (index: number, { start, end }: Range): number => Math.min(Math.max(index, start), end - 1);

/** Return the cell that a step leads to, in a grid of these rows and columns. */
export const stepped = (cell: Cell, down: number, right: number, rows: Range, cols: Range): Cell => ({
  row: within(cell.row + down, rows),
  col: within(cell.col + right, cols),
});

/** Focus the element that a step leads to in a list in which all arrows do the same as in a line. */
export function stepInList(elements: HTMLElement[], from: EventTarget | null, down: number, right: number): void {
  const at = elements.indexOf(from as HTMLElement);
  focusByKey(elements[within(at + down + right, { start: 0, end: elements.length })]);
}
