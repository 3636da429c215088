import type { Sequence } from "../element/figure.js";
import type { Range, Side } from "../lib/geometry.js";
import type { Filter } from "./figure.js";

/** The tokens of one side as they are shown: words may be put together, special tokens left out. */
export interface Tokens extends Sequence {
  /** The positions that each shown token stands for. */
  groups: number[][];
  /** The index among the shown tokens of each position; −1 if it is left out. */
  slots: number[];
  /** The positions that are left out. */
  hidden: number[][];
}

function groupsOf({ tokens, sentence_b_start, words }: Sequence, merge: boolean, left: Set<number>): number[][] {
  const groups: number[][] = [];
  tokens.forEach((_, i) => {
    if (left.has(i)) return;
    const last = groups[groups.length - 1];
    const word = words?.[i] ?? null;
    const goesOn = merge && i !== sentence_b_start && word !== null && words?.[i - 1] === word;
    if (goesOn && last?.includes(i - 1)) last.push(i);
    else groups.push([i]);
  });
  return groups;
}

/** Pieces of a word; WordPiece marks those that go on. */
function joined(pieces: string[]): string {
  return pieces
    .map((piece, i) => (i > 0 && piece.length > 2 && piece.startsWith("##") ? piece.slice(2) : piece))
    .join("");
}

/** `without`: the sink's positions, if it is left out; it is no part of the whole then. */
export function arrange(sequence: Sequence, merge: boolean, specials: boolean, without: number[] = []): Tokens {
  const hidden = specials ? [] : sequence.special.filter((index) => !without.includes(index));
  const groups = groupsOf(sequence, merge, new Set([...hidden, ...without]));
  const slots = new Array<number>(sequence.tokens.length).fill(-1);
  groups.forEach((group, slot) => {
    for (const index of group) slots[index] = slot;
  });
  const special = new Set(sequence.special);
  const { next, joined: known } = sequence;
  const boundary = sequence.sentence_b_start;
  const firstOfB = groups.findIndex(([first]) => (first as number) >= (boundary ?? 0));
  return {
    tokens: groups.map(
      (group) =>
        (group[1] && known?.[group[0] as number]) || joined(group.map((index) => sequence.tokens[index] as string)),
    ),
    special: groups.flatMap(([first], slot) => (special.has(first as number) ? [slot] : [])),
    ...(next && { next: groups.map((group) => next[group[group.length - 1] as number] ?? "") }),
    groups,
    slots,
    hidden: hidden.map((index) => [index]),
    sentence_b_start: boundary == null ? null : firstOfB < 0 ? groups.length : firstOfB,
  };
}

/** The rows and columns that the pair filter lets through. */
export function filtered(
  { tokens, sentence_b_start }: Pick<Tokens, "tokens" | "sentence_b_start">,
  filter: Filter,
  side: Side,
): Range {
  const sentence = filter === "all" ? null : filter[side === "left" ? 0 : 1];
  const boundary = sentence_b_start ?? 0;
  if (sentence === "a") return { start: 0, end: boundary };
  return { start: sentence === "b" ? boundary : 0, end: tokens.length };
}
