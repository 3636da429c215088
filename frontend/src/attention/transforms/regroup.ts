import { Layer } from "../weights.js";

/**
 * Weights among groups of tokens: the sum over the tokens attended to, the mean over those that attend (Clark et al. 2019,
 * "What Does BERT Look At?"). So rows sum to what they did before, less what is left out of the groups.
 */
export function regroup(layer: Layer, rows: number[][], cols: number[][]): Layer {
  const { heads } = layer;
  const floats = layer.floats();
  const grouped = new Float32Array(heads * cols.length * rows.length);
  for (let head = 0; head < heads; head++)
    cols.forEach((pieces, col) => {
      const target = (head * cols.length + col) * rows.length;
      for (const piece of pieces) {
        const line = layer.at(head, 0, piece);
        rows.forEach((attending, row) => {
          let sum = 0;
          for (const token of attending) sum += floats[line + token] as number;
          grouped[target + row] = (grouped[target + row] as number) + sum / attending.length;
        });
      }
    });
  return Layer.of(grouped, heads, cols.length, rows.length);
}
