import { Layer } from "../weights.js";

type How = "mean" | "max";

/** Adds `from` to `into`, weight by weight; both have the same shape. */
function gather(into: Float32Array, from: Float32Array, how: How): void {
  for (let i = 0; i < from.length; i++) {
    const [a, b] = [into[i] as number, from[i] as number];
    into[i] = how === "mean" ? a + b : Math.max(a, b);
  }
}

function divide(sums: Float32Array, count: number): void {
  for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] as number) / count;
}

/** Each head's mean or maximum over all layers that have it; of as many heads as the first layer has. */
export function acrossLayers(layers: Layer[], how: How): Layer {
  const { heads, cols, rows } = layers[0] as Layer;
  const all = new Float32Array(heads * cols * rows);
  const floats = layers.map((layer) => layer.floats());
  for (let head = 0; head < heads; head++) {
    const [start, end] = [head * cols * rows, (head + 1) * cols * rows];
    const having = floats.filter((weights) => weights.length >= end);
    const target = all.subarray(start, end);
    for (const weights of having) gather(target, weights.subarray(start, end), how);
    if (how === "mean") divide(target, having.length);
  }
  return Layer.of(all, heads, cols, rows);
}

/** One head out of several. */
export function acrossHeads(layer: Layer, heads: number[], how: How): Layer {
  const { cols, rows } = layer;
  const floats = layer.floats();
  const one = new Float32Array(cols * rows);
  for (const head of heads) gather(one, floats.subarray(head * cols * rows, (head + 1) * cols * rows), how);
  if (how === "mean") divide(one, heads.length);
  return Layer.of(one, 1, cols, rows);
}
