import { type Figure, findLayer, findSequence, findStack, type Stack } from "../figure.js";
import { inRange, type Range, type Side, type TokenRef } from "../place.js";

export const FILTERS = ["all", "aa", "ab", "ba", "bb"] as const;
export type Filter = (typeof FILTERS)[number];

export interface HeadState {
  layer: number;
  heads: number[];
  filter: Filter;
  selected: TokenRef | null;
}

/** The heads a reader can switch on in a layer. */
export function offeredHeads(figure: Figure, stack: Stack, layer: number): number[] {
  const all = Array.from({ length: findLayer(stack, layer).heads }, (_, head) => head);
  const { include_heads } = figure.options;
  return include_heads ? all.filter((head) => include_heads.includes(head)) : all;
}

export function isPair(figure: Figure, stack: Stack): boolean {
  return [stack.rows, stack.cols].every((name) => findSequence(figure, name).sentence_b_start != null);
}

/** The tokens of one side that the pair filter lets through. */
export function visibleRange(figure: Figure, stack: Stack, filter: Filter, side: Side): Range {
  const { tokens, sentence_b_start } = findSequence(figure, side === "left" ? stack.rows : stack.cols);
  const sentence = filter === "all" ? null : filter[side === "left" ? 0 : 1];
  const boundary = sentence_b_start ?? 0;
  if (sentence === "a") return { start: 0, end: boundary };
  return { start: sentence === "b" ? boundary : 0, end: tokens.length };
}

export function initialState(figure: Figure): HeadState {
  const stack = findStack(figure);
  const { layer, heads } = figure.options;
  const offered = offeredHeads(figure, stack, layer);
  const wanted = offered.filter((head) => heads.includes(head));
  return { layer, heads: wanted.length > 0 ? wanted : offered, filter: "all", selected: null };
}

/** A new state; what the change leaves out is kept as far as it still fits. */
export function mergeState(figure: Figure, old: HeadState, change: Partial<HeadState>): HeadState {
  for (const key of Object.keys(change)) if (!(key in old)) throw new RangeError(`${key}: not a part of the state`);
  const stack = findStack(figure);
  const layer = change.layer ?? old.layer;
  const offered = offeredHeads(figure, stack, layer);
  const heads = change.heads ? checkedHeads(change.heads, offered) : keptHeads(old.heads, offered);
  const filter = change.filter ?? old.filter;
  const allowed = isPair(figure, stack) ? FILTERS : FILTERS.slice(0, 1);
  if (!allowed.includes(filter)) throw new RangeError(`filter ${filter}: not one of ${allowed.join(", ")}`);
  const fits = (token: TokenRef) =>
    Number.isInteger(token.index) && inRange(token.index, visibleRange(figure, stack, filter, token.side));
  if (change.selected) checkSelected(change.selected, fits);
  const kept = old.selected && fits(old.selected) ? old.selected : null;
  const { selected = kept } = change;
  return { layer, heads, filter, selected: selected && { side: selected.side, index: selected.index } };
}

function checkedHeads(heads: number[], offered: number[]): number[] {
  if (!Array.isArray(heads) || heads.length === 0) throw new RangeError("heads: at least one head stays on");
  for (const head of heads)
    if (!offered.includes(head)) throw new RangeError(`head ${head}: not one of ${offered.join(", ")}`);
  return offered.filter((head) => heads.includes(head));
}

function keptHeads(heads: number[], offered: number[]): number[] {
  const kept = heads.filter((head) => offered.includes(head));
  return kept.length > 0 ? kept : offered;
}

function checkSelected(token: TokenRef, fits: (token: TokenRef) => boolean): void {
  if (token.side !== "left" && token.side !== "right")
    throw new RangeError(`selected.side ${token.side}: not left or right`);
  if (!fits(token)) throw new RangeError(`selected.index ${token.index}: no such token is shown on the ${token.side}`);
}

/** Click: on or off; the last active head stays on. */
export function toggleHead(heads: number[], head: number): number[] {
  if (!heads.includes(head)) return [...heads, head].sort((a, b) => a - b);
  return heads.length > 1 ? heads.filter((other) => other !== head) : heads;
}

/** Double click: this head alone; all again if it was alone already. */
export function isolateHead(heads: number[], head: number, offered: number[]): number[] {
  return heads.length === 1 && heads[0] === head ? offered : [head];
}
