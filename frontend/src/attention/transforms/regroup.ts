import { inRange, type Range } from "../../lib/geometry.js";
import type { Layer } from "../weights.js";
import { gathered } from "./gathered.js";

/**
 * Weights among groups of tokens: the sum over the tokens attended to, the mean over those that attend (Clark et al. 2019,
 * "What Does BERT Look At?"). So rows sum to what they did before, less what is left out of the groups.
 */
export function regroup(layer: Layer, rows: number[][], cols: number[][]): Layer {
  const shape = { heads: layer.heads, cols: cols.length, rows: rows.length };
  const [rowOf, colOf] = [groupsOf(rows), groupsOf(cols)];
  return gathered(
    shape,
    (head, from, to, add) => {
      layer.each(head, tokensOf(rows, from), tokensOf(cols, to), (token, piece, weight) => {
        const [row, col] = [rowOf[token] as number, colOf[piece] as number];
        if (inRange(row, from) && inRange(col, to)) add(row, col, weight / (rows[row] as number[]).length);
      });
      return 1;
    },
    true,
  );
}

/** The group of each token that is in one. */
function groupsOf(groups: number[][]): number[] {
  const found: number[] = [];
  groups.forEach((tokens, group) => {
    for (const token of tokens) found[token] = group;
  });
  return found;
}

/** The range of all tokens in some groups. */
function tokensOf(groups: number[][], { start, end }: Range): Range {
  const tokens = groups.slice(start, end).flat();
  return { start: Math.min(...tokens), end: Math.max(...tokens) + 1 };
}
