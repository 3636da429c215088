import type { Part } from "../../controls/reading.js";
import { accuracy, type Head, measureOf, percent, type StackIndex, unitText, valueText } from "./data.js";
import { KIND } from "./paint.js";
import { foundBy } from "./tables.js";

/** The most relations that are told of a head. */
const TOLD = 3;

/** "Layer 2, head 8: [CLS] · entropy 1.23 nats": what a head is, and some of its measures. */
export function numbersText(index: StackIndex, { at, layer, head, keys }: Head, measures: string[]): Part[] {
  const names = measures.filter((name) => name !== KIND && name !== "layer" && name in index.values);
  const said = [...new Set(names)].map((name) => {
    const measure = measureOf(index, name);
    return `${measure.title} ${valueText(index.values[name]?.[at], measure)}${unitText(measure)}`;
  });
  const kind = index.kinds[index.kind[at] as number] as string;
  const label = { broad: ["broad"], other: [] }[kind] ?? [`mostly ${kind}`];
  return [`Layer ${layer}, head ${head}: ${[...keys, ...label, ...said].join(" · ")}`];
}

/** The relations that a head finds, as a line of its own; no line if the texts have none. */
export function relationsText(index: StackIndex, { at }: Head): Part[][] {
  if (!index.relations.length) return [];
  const found = foundBy(index, at).slice(0, TOLD);
  if (!found.length) return [["Finds no relation more often than a fixed offset does"]];
  const said = found.map((one) => `${one.name} ${percent(accuracy(one, at))} (offset: ${percent(one.baseline)})`);
  return [[`Finds ${said.join(", ")}`]];
}
