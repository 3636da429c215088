import { sharedKeys } from "../../attention/shared-keys.js";
import type { Sequence } from "../../element/figure.js";
import type { HeadsStack } from "../../element/figure-data.js";
import { grouped } from "../../lib/grouped.js";

export interface Measure {
  name: string;
  title: string;
  unit: string;
}

/** The accuracy of every head in one direction, with the ends of a 95% interval. */
export interface Direction {
  accuracy: number[];
  low: number[];
  high: number[];
}

/** A grammatical relation: how often each head finds the other word, and how often the best fixed offset does. */
export interface Relation {
  name: string;
  count: number;
  offset: number;
  baseline: number;
  forward: Direction;
  backward: Direction;
}

export type Values = readonly (number | null)[];

/** The measures of all heads of a stack, layer by layer. */
export interface StackIndex {
  measures: Measure[];
  values: Record<string, Values>;
  kinds: string[];
  kind: number[];
  /** The value that a measure is compared with, and its name. */
  references: Record<string, [value: number, name: string]>;
  map: [number, number][] | null;
  relations: Relation[];
  /** The numbers of each head's most telling examples. */
  telling: number[][];
}

export interface Example {
  line: number | null;
  sequences: Record<string, Sequence>;
}

/** The content of the blob `index`. */
export interface HeadIndex {
  stacks: Record<string, StackIndex>;
  examples: Example[];
}

export type Way = "forward" | "backward";

/** One head of a stack, and its number among all of them. */
export interface Head {
  at: number;
  layer: number;
  head: number;
  /** The keys that it shares, and the heads that do: "keys 0", "heads 0–3". */
  keys: string[];
}

export const nameOf = ({ layer, head }: Head): string => `${layer}·${head}`;

export function headsOf({ layers, heads, kv_heads }: Pick<HeadsStack, "layers" | "heads" | "kv_heads">): Head[] {
  let at = 0;
  return layers.flatMap((layer, i) => {
    const length = heads[i] as number;
    const source = { heads: length, kv_heads: kv_heads?.[i] ?? length };
    return Array.from({ length }, (_, head) => ({ at: at++, layer, head, keys: sharedKeys(source, head) }));
  });
}

/** The heads that share keys, under the name of these, if they do so alike in all layers. */
export function keyGroups(heads: Head[]): [string, number[]][] {
  const columns = grouped(heads, ({ head, keys }) => `${head} ${keys}`);
  const first = columns.map(([, [head]]) => head as Head);
  const alike = first.every(({ keys }, head) => keys.length > 0 && first[head]?.head === head);
  return alike
    ? grouped(first, ({ keys: [name] }) => name as string).map(([name, some]) => [name, some.map((one) => one.head)])
    : [];
}

/** Return the direction in which a head finds a relation better. */
export const wayOf = ({ forward, backward }: Relation, at: number): Way =>
  (forward.accuracy[at] as number) >= (backward.accuracy[at] as number) ? "forward" : "backward";

export const accuracy = (relation: Relation, at: number): number =>
  relation[wayOf(relation, at)].accuracy[at] as number;

/** Return the head that finds most words of a relation. */
export function bestOf(relation: Relation): number {
  const found = relation.forward.accuracy.map((_, at) => accuracy(relation, at));
  return found.indexOf(Math.max(...found));
}

export const signedOffset = (offset: number): string => `${offset < 0 ? "−" : "+"}${Math.abs(offset)}`;

export const percent = (share: number): string => `${Math.round(100 * share)}%`;

/** A measure's value as text, without its unit. */
export function valueText(value: number | null | undefined, { unit }: Measure): string {
  if (value == null) return "–";
  if (unit === "accuracy") return percent(value);
  return unit ? value.toFixed(2) : String(value);
}

export const unitText = ({ unit }: Measure): string => (unit === "nats" || unit === "tokens" ? ` ${unit}` : "");

/** A measure's title with its unit, as an axis has it. */
export const titleOf = ({ title, unit }: Measure): string => (unit && unit !== "score" ? `${title} (${unit})` : title);

/** A measure's title where there is little room. */
export const shortTitle = ({ title }: Measure): string => title.replace("attention to ", "to ");

export const measureOf = ({ measures }: StackIndex, name: string): Measure =>
  measures.find((measure) => measure.name === name) as Measure;

export function extent(values: Values): [number, number] {
  const known = values.filter((value): value is number => value !== null);
  return known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
}

/** The values of all heads, a list for each layer. */
export function byLayer<T>(values: readonly T[], heads: number[]): T[][] {
  let at = 0;
  return heads.map((count) => {
    at += count;
    return values.slice(at - count, at);
  });
}
