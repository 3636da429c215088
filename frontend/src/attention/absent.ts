import { type AttentionFigure, findLayer, findStack, isShipped } from "./figure.js";

/** Return the sentence about heads of a layer of which the page has none; empty if it has any. */
export function absentSentence(figure: AttentionFigure, stack: string, layer: number, heads: number[]): string {
  const source = findLayer(findStack(figure, stack), layer);
  if (heads.some((head) => isShipped(source, head))) return "";
  const all = heads.length === source.heads;
  const what = all ? `Layer ${layer}` : `Head ${heads.join(", ")} of layer ${layer}`;
  return `${what} is not in this page. Its author can ship it: layer: ${layer}${all ? "" : `, heads: [${heads}]`}, or a larger size.`;
}
