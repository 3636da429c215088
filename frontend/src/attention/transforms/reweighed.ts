import type { Scaled } from "../../lib/packed.js";
import { Layer } from "../weights.js";

/**
 * Weights times the norm of what each token's value adds through the head: a token that is looked at but says little
 * counts little (Kobayashi et al. 2020, "Attention is Not Only a Weight"). Norms: (heads, cols); none if null. Columns
 * of the sink that is to be left out count nothing. Rows sum to one; without norms, those of a head of which only a part
 * is `kept` sum to no more than their part of all that does not go to the sink.
 */
export function reweighed(layer: Layer, norms: Scaled | null, without: number[], kept: number[] = []): Layer {
  const { cols, rows } = layer;
  /** The factor of each column and the divisor of each row, by head. */
  const scales: [factors: Float32Array, sums: Float64Array][] = [];
  const scaleOf = (head: number): [Float32Array, Float64Array] => {
    const factors = (norms?.row(head) ?? new Float32Array(cols).fill(1)).slice();
    for (const col of without) factors[col] = 0;
    const sums = new Float64Array(rows);
    const rest = new Float64Array(rows).fill(Number(!norms && (kept[head] as number) < 1));
    layer.each(head, ...layer.whole, (row, col, weight) => {
      const factor = factors[col] as number;
      if (factor === 0) rest[row] = (rest[row] as number) - weight;
      sums[row] = (sums[row] as number) + weight * factor;
    });
    return [factors, sums.map((sum, row) => Math.max(sum, rest[row] as number) || 1)];
  };
  return Layer.computed(layer, (head, from, to, visit) => {
    scales[head] ??= scaleOf(head);
    const [factors, sums] = scales[head];
    layer.each(head, from, to, (row, col, weight) =>
      visit(row, col, Math.fround((weight * (factors[col] as number)) / (sums[row] as number))),
    );
  });
}
