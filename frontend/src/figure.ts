import type { Figure } from "./figure-data.js";

export type { Blob, Figure, Stretch, TextFigure, TokenSequence as Sequence } from "./figure-data.js";

/** Throw an error that says what is wrong with a figure's data. */
export function expect(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`data-figure: ${what}`);
}

export function parseFigure(json: string | null): Figure {
  const figure = JSON.parse(json ?? "null") as Figure | null;
  expect(figure && typeof figure === "object", "is not an object");
  expect(typeof figure.view === "string" && typeof figure.label === "string", "has no view or no label");
  return figure;
}

/** Return a name for what is shown now, which ends with the model and the text. */
export const labelled = (what: string, { source }: Figure): string => [what, source].filter(Boolean).join(". ");
