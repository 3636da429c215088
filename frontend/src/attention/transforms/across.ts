import type { Layer, Shape } from "../weights.js";
import { gathered } from "./gathered.js";

type How = "mean" | "max";

/** Heads whose weights are each the mean or the maximum of those of several heads. */
function across(shape: Shape, partsOf: (head: number) => [Layer, number][], how: How): Layer {
  const isMean = how === "mean";
  return gathered(
    shape,
    (head, ...rest) => {
      const parts = partsOf(head);
      for (const [layer, part] of parts) layer.each(part, ...rest);
      return isMean ? parts.length : 1;
    },
    isMean,
  );
}

/** Each head's mean or maximum over all layers that have it; of as many heads as the first layer has. */
export function acrossLayers(layers: Layer[], how: How): Layer {
  const having = (head: number) => layers.filter(({ heads }) => heads > head);
  return across(layers[0] as Layer, (head) => having(head).map((layer) => [layer, head]), how);
}

/** One head out of several. */
export function acrossHeads(layer: Layer, heads: number[], how: How): Layer {
  const { cols, rows } = layer;
  return across({ heads: 1, cols, rows }, () => heads.map((head) => [layer, head]), how);
}
