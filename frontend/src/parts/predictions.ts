import type { Blob } from "../figure.js";
import { json } from "../json-blob.js";
import type { ViewHost } from "../view.js";
import type { Top } from "./top.js";

/** For each position of the predicted sequence; null where nothing predicts its token. */
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
