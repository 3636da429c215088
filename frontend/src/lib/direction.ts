/**
 * The order of a text's tokens on a line. It is the Unicode bidirectional algorithm (UAX 9) with tokens in
 * place of characters: a browser orders characters, but takes boxes with a background for what has no direction.
 */
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const LETTERS = /\p{L}/gu;
const DIGIT = /\p{Nd}/u;

type Kind = "L" | "R" | "number" | "neutral";

const letterKinds = (text: string): Kind[] =>
  (text.match(LETTERS) ?? []).map((letter) => (RIGHT_TO_LEFT.test(letter) ? "R" : "L"));

const kindOf = (text: string): Kind => letterKinds(text)[0] ?? (DIGIT.test(text) ? "number" : "neutral");

/** Most of a text's letters decide, so that a name in front does not. */
export function isRightToLeft(texts: string[]): boolean {
  const kinds = texts.flatMap(letterKinds);
  return 2 * kinds.filter((kind) => kind === "R").length > kinds.length;
}

/** Even levels are read from left to right, odd ones from right to left; the text itself is at level 0 or 1. */
export function levelsOf(tokens: { text: string; special: boolean }[]): { base: 0 | 1; levels: number[] } {
  const base = isRightToLeft(tokens.filter(({ special }) => !special).map(({ text }) => text)) ? 1 : 0;
  const kinds = tokens.map(({ text, special }): Kind => (special ? "neutral" : kindOf(text)));
  let strong: Kind = base ? "R" : "L";
  kinds.forEach((kind, i) => {
    if (kind === "number" && strong === "L")
      kinds[i] = "L"; // rule W7
    else if (kind === "L" || kind === "R") strong = kind;
  });
  const side = (kind: Kind): number => (kind === "L" ? 0 : 1);
  const before = neighbours(kinds, base);
  const after = neighbours([...kinds].reverse(), base).reverse();
  const levels = kinds.map((kind, i) => {
    if (kind === "number") return 2;
    if (kind !== "neutral") return kind === "R" ? 1 : 2 * base;
    const [left, right] = [side(before[i] as Kind), side(after[i] as Kind)];
    return left === right && left !== base ? base + 1 : base; // rules N1 and N2
  });
  return { base, levels };
}

/** Returns for each token the direction of the last one before it that has one; at the beginning that of the text. */
function neighbours(kinds: Kind[], base: number): Kind[] {
  let last: Kind = base ? "R" : "L";
  return kinds.map((kind) => {
    const found = last;
    if (kind !== "neutral") last = kind;
    return found;
  });
}

/** The tokens of one line as they stand from left to right (rule L2). */
export function visualOrder(levels: number[]): number[] {
  const order = levels.map((_, i) => i);
  for (let level = Math.max(0, ...levels); level > 0; level--)
    for (let start = 0; start < order.length; start++) {
      let end = start;
      while (end < order.length && (levels[order[end] as number] as number) >= level) end++;
      if (end === start) continue;
      order.splice(start, end - start, ...order.slice(start, end).reverse());
      start = end;
    }
  return order;
}
