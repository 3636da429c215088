/** What Python writes into `data-figure` for every view; each view declares what it has beside this. */
export interface Figure {
  view: string;
  /** One sentence that says what is to be seen: the figure's accessible name. */
  label: string;
  theme: "auto" | "light" | "dark";
  /** Model and text, shortened: "minilm: The cat sat on the mat". */
  source?: string;
  /** The state that the author chose to begin with, in the form of a link. */
  state?: string;
}

/** A figure that shows tokens. */
export interface TextFigure extends Figure {
  sequences: Record<string, Sequence>;
}

export interface Sequence {
  tokens: string[];
  special: number[];
  sentence_b_start: number | null;
  /** For each token the number of the word it is a piece of; null for special tokens and where it is unknown. */
  words?: (number | null)[];
  /** The text of a word by its first token, where it is not that of its tokens one after another. */
  joined?: Record<number, string>;
  /** For each token of a decoder the one that it is to produce. */
  next?: string[];
}

/** Deflated bytes: as base64, or as the script that holds it. */
export interface Blob {
  data?: string;
  file?: string;
  /** Which of those in the script; the first if absent. */
  part?: number;
}

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
