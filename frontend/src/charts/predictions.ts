import type { Part } from "../controls/reading.js";
import { largest, type Table } from "../controls/table.js";
import type { Blob } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";
import { json } from "../lib/json-blob.js";
import { percent, type Top, topLines } from "./top.js";

/** The predictions by position of the predicted sequence; null where nothing predicts its token. */
export interface Predictions {
  vocabulary: string[];
  top: (number[] | null)[];
  probabilities: (number[] | null)[];
  actual: ([probability: number, rank: number] | null)[];
  entropy: (number | null)[];
}

export const predictionsOf = (host: ViewHost, blob: Blob): Predictions | undefined =>
  host.blob(blob, json<Predictions>);

/** The likeliest in the place of a position. */
export function topAt({ vocabulary, top, probabilities }: Predictions, position: number): Top | null {
  const [ids, values] = [top[position], probabilities[position]];
  return ids && values ? { tokens: ids.map((id) => vocabulary[id] as string), probabilities: values } : null;
}

/** The number of likely tokens in a cell of a table. */
const LIKELIEST = 3;

/** A table of some positions: the token there, its probability, and the likeliest. */
export function predictionTable(found: Predictions, tokens: string[], positions: number[], caption: string): Table {
  const rows = positions.map((at): Part[] => {
    const [actual, entropy, top] = [found.actual[at], found.entropy[at], topAt(found, at)];
    const lines = top ? topLines(top).slice(0, LIKELIEST) : [];
    return [
      tokens[at] === undefined ? "what comes next" : { token: tokens[at], at: null },
      String(at),
      actual ? percent(actual[0]) : "–",
      actual ? String(actual[1]) : "–",
      entropy?.toFixed(2) ?? "–",
      lines.length ? lines.map((line, i): Part => [i ? "; " : "", ...line]) : "given, not predicted",
    ];
  });
  const columns = ["token", "position", "probability", "rank", "entropy", "likeliest"];
  const sizes = positions.map((at) => 1 - (found.actual[at]?.[0] ?? 0));
  return largest({ caption, columns, rows }, sizes, "least likely");
}
