import { type Each, Layer, type Shape, type Visit } from "../weights.js";

/**
 * A layer whose weights are each the sum of several weights, or the largest of them, which `gather` adds; it returns the
 * number by which they are divided. Those in view are gathered at once.
 */
export function gathered(
  shape: Shape,
  gather: (...[head, from, to, add]: Parameters<Each>) => number,
  isSum: boolean,
): Layer {
  return Layer.computed(shape, (head, from, to, visit) => {
    const width = from.end - from.start;
    const found = new Float32Array(width * (to.end - to.start));
    const add: Visit = (row, col, weight) => {
      const at = (col - to.start) * width + row - from.start;
      const before = found[at] as number;
      found[at] = isSum ? before + weight : Math.max(before, weight);
    };
    const count = gather(head, from, to, add);
    found.forEach((weight, at) => {
      visit(from.start + (at % width), to.start + Math.floor(at / width), Math.fround(weight / count));
    });
  });
}
