import type { Scaled } from "../../lib/packed.js";
import { Layer } from "../weights.js";

/**
 * Weights times the norm of what each token's value adds through the head: a token that is looked at but says little
 * counts little (Kobayashi et al. 2020, "Attention is Not Only a Weight"). Norms: (heads, cols); none if null. Columns
 * of the sink that is to be left out count nothing. Rows sum to one; without norms, those of a head of which only a part
 * is `kept` sum to no more than their part of all that does not go to the sink.
 */
export function reweighed(layer: Layer, norms: Scaled | null, without: number[], kept: number[] = []): Layer {
  const { heads, cols, rows } = layer;
  const weighted = Float32Array.from(layer.floats());
  for (let head = 0; head < heads; head++) {
    const sums = new Float64Array(rows);
    const rest = new Float64Array(rows).fill(Number(!norms && (kept[head] as number) < 1));
    const norm = norms?.row(head);
    for (let col = 0; col < cols; col++) {
      const factor = without.includes(col) ? 0 : (norm?.[col] ?? 1);
      for (let row = 0, at = layer.at(head, 0, col); row < rows; row++, at++) {
        if (factor === 0) rest[row] = (rest[row] as number) - (weighted[at] as number);
        weighted[at] = (weighted[at] as number) * factor;
        sums[row] = (sums[row] as number) + (weighted[at] as number);
      }
    }
    for (let col = 0; col < cols; col++)
      for (let row = 0, at = layer.at(head, 0, col); row < rows; row++, at++)
        weighted[at] = (weighted[at] as number) / (Math.max(sums[row] as number, rest[row] as number) || 1);
  }
  return Layer.of(weighted, heads, cols, rows);
}
