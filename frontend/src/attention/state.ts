import { between, oneOf, partsOf } from "../lib/checks.js";
import { inRange, type Range, type Side } from "../lib/geometry.js";
import {
  type AttentionFigure,
  FILTERS,
  type Filter,
  findLayer,
  findSequence,
  findStack,
  type Options,
  type Stack,
} from "./figure.js";
import { filtered } from "./tokens.js";

/** Tokens of one side; positions as in the model's input, whatever is put together or left out. */
export interface Selection {
  side: Side;
  /** The first of them. */
  index: number;
  indices: number[];
}

/** The value that may be set: one token, or several. */
export type SelectionChange = { side: Side; index?: number; indices?: number[] };

/** The reader's choices; they begin with the author's. */
export interface State extends Omit<Options, "include_heads"> {
  selected: Selection | null;
  /** Matrix: in place of `selected`, positions as in the model's input. */
  cell?: { row: number; col: number } | null;
  /** Head view: another head of the same stack, whose picture stands beside that of the first. */
  beside?: { layer: number; head: number } | null;
}

export type Change = Partial<Omit<State, "selected">> & { selected?: SelectionChange | null };

/** The ways to show the sink, and their names in the menu. */
export const SINK = [
  ["show", "shown"],
  ["fade", "faded"],
  ["leave_out", "left out, the rest renormalised"],
] as const;

/** The columns of the sink that are shown in this way; none if it is shown in another. */
export function sinkOf(figure: AttentionFigure, { stack, sink }: State, how: State["sink"]): number[] {
  const found = findStack(figure, stack);
  return sink === how && offers(figure, found).sink ? (found.sink as number[]) : [];
}

export const CONTRAST = { least: 0.25, most: 4 };

/** The heads a reader can switch on in a layer. */
export function offeredHeads(figure: AttentionFigure, stack: Stack, layer: number): number[] {
  const all = Array.from({ length: findLayer(stack, layer).heads }, (_, head) => head);
  const { include_heads } = figure.options;
  const offered = include_heads ? all.filter((head) => include_heads.includes(head)) : all;
  return offered.length > 0 ? offered : all; // a stack of fewer heads than the author had in mind
}

const sequences = (figure: AttentionFigure, stack: Stack) =>
  [stack.rows, stack.cols].map((name) => findSequence(figure, name));

export function isPair(figure: AttentionFigure, stack: Stack): boolean {
  return sequences(figure, stack).every(({ sentence_b_start }) => sentence_b_start != null);
}

/** The choices that a stack allows. */
export function offers(
  figure: AttentionFigure,
  stack: Stack,
): Record<"words" | "special" | "sink" | "values" | "rollout", boolean> {
  const { sink = [] } = stack;
  return {
    sink: sink.length > 0 && sink.length < findSequence(figure, stack.cols).tokens.length,
    words: sequences(figure, stack).some(({ words }) =>
      words?.some((word, i) => word !== null && word === words[i - 1]),
    ),
    special: sequences(figure, stack).some(
      ({ special, tokens }) => special.length > 0 && special.length < tokens.length,
    ),
    values: stack.layers.every(({ values }) => values),
    rollout: stack.layers.every(({ rollout }) => rollout),
  };
}

/** The positions of one side that the pair filter lets through. */
export function visibleRange(figure: AttentionFigure, stack: Stack, filter: Filter, side: Side): Range {
  return filtered(findSequence(figure, side === "left" ? stack.rows : stack.cols), filter, side);
}

/** Views that show one head at a time. */
const isSingle = (figure: AttentionFigure) => figure.view !== "head";

export function initialState(figure: AttentionFigure): State {
  const { include_heads, open, order = "layer", zoom, ...options } = figure.options;
  const offered = offeredHeads(figure, findStack(figure, options.stack), options.layer);
  const found = offered.filter((head) => options.heads.includes(head));
  const heads = found.length > 0 ? found : offered;
  const state: State = { ...pick(options), selected: null, heads: isSingle(figure) ? heads.slice(0, 1) : heads };
  if (figure.view === "matrix") return unselected({ ...state, cell: null, zoom: zoom ?? "fit" });
  if (figure.view === "head") return { ...state, beside: null };
  if (figure.view !== "model") return state;
  return { ...state, ...(open ? { layer: open.layer, heads: [open.head] } : {}), open: open ?? null, order };
}

/** Figures may carry options that are no part of the state. */
function pick(options: Omit<Options, "include_heads" | "open" | "order" | "zoom">): Omit<State, "selected"> {
  const { stack, layer, heads, filter, across_layers, across_heads, value_weighted, merge_words } = options;
  const { special_tokens, sink, contrast, min_weight, mass } = options;
  const transforms = { across_layers, across_heads, value_weighted, merge_words, special_tokens, sink };
  return { stack, layer, heads, filter, ...transforms, contrast, min_weight, mass };
}

/** In a matrix it is a cell that is locked. */
function unselected({ selected: _, ...state }: State): State {
  return state as State;
}

/** A new state; what the change leaves out is kept as far as it still fits. */
export function mergeState(figure: AttentionFigure, old: State, change: Change): State {
  partsOf(old, change);
  const wanted = { ...old, ...opening(old, change) };
  const stack = findStack(figure, wanted.stack);
  const layer = keptLayer(stack, old, wanted);
  const offered = offeredHeads(figure, stack, layer);
  const heads = change.heads || change.open ? checkedHeads(wanted.heads, offered) : keptHeads(figure, old, offered);
  if (isSingle(figure) && heads.length > 1) throw new RangeError(`heads ${heads.join(", ")}: this view shows one`);
  checkTransforms(figure, stack, old, change);
  const filter = change.filter ?? (isPair(figure, stack) ? old.filter : "all");
  oneOf("filter", filter, isPair(figure, stack) ? FILTERS : FILTERS.slice(0, 1));
  const selected = mergeSelected(figure, { ...wanted, filter }, old, change.selected);
  const next = { ...wanted, ...oneThreshold(change), layer, heads, filter, selected };
  if (figure.view === "matrix") return unselected({ ...next, cell: mergeCell(figure, next, old, change.cell) });
  if (figure.view === "head") return withBeside(figure, stack, next, old, change);
  return next.open ? { ...next, open: { layer, head: heads[0] as number } } : next;
}

/** A state with the head beside, or without where there is no such head, or where several stand in one picture. */
function withBeside(figure: AttentionFigure, stack: Stack, next: State, old: State, change: Change): State {
  const { beside, heads = [] } = change;
  const wanted = beside === undefined ? old.beside : beside;
  if (!wanted) return { ...next, beside: null };
  const { layer, head } = wanted;
  if (beside) {
    oneOf("head beside", head, offeredHeads(figure, stack, layer));
    if (heads.length > 1) throw new RangeError(`heads ${heads.join(", ")}: beside another head one is shown`);
    if (next.across_layers === "rollout") throw new RangeError("beside: a rollout is of no head");
  }
  const there = stack.layers.some(
    (source) => source.layer === layer && offeredHeads(figure, stack, layer).includes(head),
  );
  if (!there || heads.length > 1 || next.across_layers === "rollout") return { ...next, beside: null };
  return { ...next, heads: next.heads.slice(0, 1), across_heads: null, beside: { layer, head } };
}

/** An open cell is its layer and head. */
function opening(old: State, { selected, ...change }: Change): Partial<State> {
  if (!change.open) return change;
  const { layer, head } = change.open;
  const elsewhere = old.open?.layer !== layer || old.open?.head !== head;
  return elsewhere || change.heads === undefined ? { ...change, layer, heads: [head] } : change;
}

function keptLayer(stack: Stack, old: State, { stack: name, layer }: Pick<State, "stack" | "layer">): number {
  const there = stack.layers.some((source) => source.layer === layer);
  if (!there && name !== old.stack && layer === old.layer) return (stack.layers[0] as { layer: number }).layer;
  return findLayer(stack, layer).layer;
}

function checkTransforms(figure: AttentionFigure, stack: Stack, old: State, change: Change): void {
  const { words, sink, values, rollout } = offers(figure, stack);
  const switches = { value_weighted: values, merge_words: words, special_tokens: true };
  for (const [name, offered] of Object.entries(switches) as [keyof typeof switches, boolean][])
    if (change[name] !== undefined && change[name] !== old[name])
      oneOf(name, change[name], offered ? [true, false] : [false]);
  if (change.across_layers && change.across_layers !== old.across_layers)
    oneOf("across_layers", change.across_layers, [null, "mean", "max", ...(rollout ? ["rollout"] : [])]);
  oneOf("sink", change.sink ?? "show", sink ? SINK.map(([how]) => how) : ["show"]);
  if (change.across_heads !== undefined) oneOf("across_heads", change.across_heads, [null, "mean", "max"]);
  if (change.order !== undefined) oneOf("order", change.order, ["layer", "pattern"]);
  if (change.zoom !== undefined) oneOf("zoom", change.zoom, ["fit", "cells"]);
  between("contrast", change.contrast ?? 1, CONTRAST.least, CONTRAST.most);
  between("min_weight", change.min_weight ?? null, 0, 1);
  between("mass", change.mass ?? null, 0.01, 1);
  if (change.min_weight != null && change.mass != null) throw new RangeError("min_weight and mass: at most one is set");
}

/** To set one threshold unsets the other. */
function oneThreshold({ min_weight, mass }: Change): Partial<State> {
  if (min_weight != null) return { mass: null };
  return mass != null ? { min_weight: null } : {};
}

function checkedHeads(heads: number[], offered: number[]): number[] {
  if (!Array.isArray(heads) || heads.length === 0) throw new RangeError("heads: at least one head stays on");
  for (const head of heads) oneOf("head", head, offered);
  return offered.filter((head) => heads.includes(head));
}

/** All stay all, where there are more as well. */
function keptHeads(figure: AttentionFigure, { stack, layer, heads }: State, offered: number[]): number[] {
  const kept = heads.filter((head) => offered.includes(head));
  if (isSingle(figure)) return kept.length > 0 ? kept : offered.slice(0, 1);
  const all = heads.length === offeredHeads(figure, findStack(figure, stack), layer).length;
  return all || kept.length === 0 ? offered : kept;
}

function mergeSelected(
  figure: AttentionFigure,
  { stack: name, filter }: Pick<State, "stack" | "filter">,
  old: State,
  change: SelectionChange | null | undefined,
): Selection | null {
  const stack = findStack(figure, name);
  const fits = (side: Side, index: number) =>
    Number.isInteger(index) && inRange(index, visibleRange(figure, stack, filter, side));
  if (change) return checkedSelection(change, fits);
  const { selected } = old;
  const kept = name === old.stack && selected?.indices.every((index) => fits(selected.side, index));
  return change === undefined && kept ? selected : null;
}

function mergeCell(
  figure: AttentionFigure,
  { stack: name, filter }: State,
  old: State,
  change: Change["cell"],
): NonNullable<State["cell"]> | null {
  const stack = findStack(figure, name);
  const fits = ({ row, col }: { row: number; col: number }) =>
    (
      [
        ["left", row],
        ["right", col],
      ] as const
    ).every(([side, index]) => Number.isInteger(index) && inRange(index, visibleRange(figure, stack, filter, side)));
  if (change && !fits(change)) throw new RangeError(`cell ${change.row}, ${change.col}: no such cell is shown`);
  if (change !== undefined) return change && { row: change.row, col: change.col };
  return old.cell && name === old.stack && fits(old.cell) ? old.cell : null;
}

function checkedSelection(
  { side, index, indices }: SelectionChange,
  fits: (side: Side, index: number) => boolean,
): Selection {
  if (side !== "left" && side !== "right") throw new RangeError(`selected.side ${side}: not left or right`);
  const all = indices ?? [index as number];
  for (const one of all)
    if (!fits(side, one)) throw new RangeError(`selected.index ${one}: no such token is shown on the ${side}`);
  if (all.length === 0) throw new RangeError("selected.indices: no token; null selects none");
  const sorted = [...new Set(all)].sort((a, b) => a - b);
  return { side, index: sorted[0] as number, indices: sorted };
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
