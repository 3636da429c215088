import { type Each, Layer, type Shape, type Visit } from "../weights.js";

/** The number of weights that are gathered at once. */
const MOST = 1 << 18;
/** Arrays of as many zeros; at any time one for each layer that is computed from another. */
const zeros: Float32Array[] = [];

/**
 * A layer whose weights are each the sum of several weights, or the largest of them, which `gather` adds; it returns the
 * number by which they are divided.
 */
export function gathered(
  shape: Shape,
  gather: (...[head, from, to, add]: Parameters<Each>) => number,
  isSum: boolean,
): Layer {
  const compute: Each = (head, from, to, visit) => {
    const { start, end } = from;
    const width = end - start;
    if (width * (to.end - to.start) > MOST) {
      const middle = start + (width >> 1);
      compute(head, { start, end: middle }, to, visit);
      compute(head, { start: middle, end }, to, visit);
      return;
    }
    const found = zeros.pop() ?? new Float32Array(MOST);
    const places: number[] = [];
    const add: Visit = (row, col, weight) => {
      const at = (col - to.start) * width + row - start;
      const before = found[at] as number;
      if (!before && weight) places.push(at);
      found[at] = isSum ? before + weight : Math.max(before, weight);
    };
    const count = gather(head, from, to, add);
    for (const at of places) {
      visit(start + (at % width), to.start + Math.floor(at / width), Math.fround((found[at] as number) / count));
      found[at] = 0;
    }
    zeros.push(found);
  };
  return Layer.computed(shape, compute);
}
