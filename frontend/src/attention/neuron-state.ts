import { oneOf, partsOf } from "../lib/checks.js";
import { inRange, type Side, type TokenRef } from "../lib/geometry.js";
import {
  type AttentionFigure,
  FILTERS,
  type Filter,
  findLayer,
  findStack,
  type LayerSource,
  type Stack,
} from "./figure.js";
import { isPair, offeredHeads, visibleRange } from "./state.js";

export interface NeuronState {
  stack: string;
  layer: number;
  head: number;
  filter: Filter;
  /** The token on the left whose weights are taken apart. */
  expanded: number | null;
  selected: TokenRef | null;
}

/** A link writes tokens as `indices`, as in the head view. */
export type NeuronChange = Partial<Omit<NeuronState, "selected">> & {
  selected?: { side: Side; index?: number; indices?: number[] } | null;
};

export function initialState(figure: AttentionFigure): NeuronState {
  const { stack, layer, heads, filter, expanded = null } = figure.options;
  const offered = offeredHeads(figure, findStack(figure, stack), layer);
  const head = offered.find((candidate) => heads.includes(candidate)) ?? (offered[0] as number);
  return { stack, layer, head, filter, expanded, selected: null };
}

/** A new state; what the change leaves out is kept as far as it still fits. */
export function mergeState(figure: AttentionFigure, old: NeuronState, change: NeuronChange): NeuronState {
  partsOf(old, change);
  const { stack: name = old.stack } = change;
  const stack = findStack(figure, name);
  const layer = change.layer ?? keptLayer(old.layer, stack);
  const head = chosenHead(old.head, change.head, offeredHeads(figure, stack, layer));
  const filter = chosenFilter(old.filter, change.filter, isPair(figure, stack));
  const fits = (side: Side, index: number) =>
    Number.isInteger(index) && inRange(index, visibleRange(figure, stack, filter, side));
  const here = name === old.stack; // else the tokens are others, and what was chosen among them means nothing
  const source = findLayer(stack, layer);
  const open = here && source.neurons && old.expanded !== null && fits("left", old.expanded) ? old.expanded : null;
  const expanded = change.expanded === undefined ? open : checkedExpansion(change.expanded, fits, source);
  const kept = here && old.selected && fits(old.selected.side, old.selected.index) ? old.selected : null;
  const selected = change.selected === undefined ? kept : checkedSelection(change.selected, fits);
  return { stack: name, layer, head, filter, expanded, selected };
}

type Fits = (side: Side, index: number) => boolean;

function checkedExpansion(expanded: number | null, fits: Fits, { neurons }: LayerSource): number | null {
  if (expanded === null) return null;
  if (!neurons) throw new RangeError(`expanded ${expanded}: this figure has no queries and keys`);
  if (!fits("left", expanded)) throw new RangeError(`expanded ${expanded}: no such token is shown on the left`);
  return expanded;
}

function checkedSelection(change: NonNullable<NeuronChange["selected"]> | null, fits: Fits): TokenRef | null {
  if (change === null) return null;
  const { side, index = change.indices?.[0] ?? Number.NaN } = change;
  if (side !== "left" && side !== "right") throw new RangeError(`selected.side ${side}: not left or right`);
  if (!fits(side, index)) throw new RangeError(`selected.index ${index}: no such token is shown on the ${side}`);
  return { side, index };
}

function keptLayer(layer: number, { layers }: Stack): number {
  return (layers.find((source) => source.layer === layer) ?? (layers[0] as Stack["layers"][number])).layer;
}

function chosenHead(old: number, wanted: number | undefined, offered: number[]): number {
  if (wanted === undefined) return offered.includes(old) ? old : (offered[0] as number);
  oneOf("head", wanted, offered);
  return wanted;
}

function chosenFilter(old: Filter, wanted: Filter | undefined, pair: boolean): Filter {
  const allowed = pair ? FILTERS : FILTERS.slice(0, 1);
  if (wanted !== undefined) oneOf("filter", wanted, allowed);
  return wanted ?? (allowed.includes(old) ? old : "all");
}
