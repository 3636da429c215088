import { html, type TemplateResult } from "lit";
import type { Table } from "../../controls/table.js";
import {
  accuracy,
  bestOf,
  type Head,
  type Measure,
  nameOf,
  percent,
  type Relation,
  type StackIndex,
  shortTitle,
  signedOffset,
  titleOf,
  unitText,
  valueText,
  wayOf,
} from "./data.js";

/** The most cells of the table of all heads; frequent relations come before rare ones. */
const MOST_CELLS = 14_000;
const ARROWS = { forward: "→", backward: "←" };

export interface Sorting {
  sort: string | null;
  ascending: boolean;
}

/** Return the heads in the order of a table; those of which a measure is not known are last. */
export function sorted(index: StackIndex, heads: Head[], { sort, ascending }: Sorting): Head[] {
  if (!sort) return heads;
  const values = index.values[sort] ?? [];
  const sign = ascending ? 1 : -1;
  const size = ({ at }: Head) => (values[at] == null ? Number.POSITIVE_INFINITY : sign * (values[at] as number));
  return [...heads].sort((a, b) => size(a) - size(b) || a.at - b.at);
}

/** Return the measures for which a table has room. */
export function columnsOf({ measures }: StackIndex, heads: number, sort: string | null): Measure[] {
  const room = Math.floor(MOST_CELLS / heads);
  return measures.filter(({ name }, i) => name !== "layer" && (i <= room || name === sort));
}

export interface TableActions {
  sort(name: string): void;
  choose(head: Head): void;
}

/** All measures of heads, sorted by one of them; at most so many rows, but always that of the chosen head. */
export function headTable(
  index: StackIndex,
  heads: Head[],
  sorting: Sorting,
  chosen: number | null,
  caption: string,
  most: number,
  { sort, choose }: TableActions,
): TemplateResult {
  const columns = columnsOf(index, heads.length, sorting.sort);
  const order = sorting.ascending ? "ascending" : "descending";
  const all = sorted(index, heads, sorting);
  const rows = all.slice(0, Math.max(most, all.findIndex(({ at }) => at === chosen) + 1));
  const stop = chosen ?? rows[0]?.at;
  const heading = (measure: Measure) => html`<th scope="col" aria-sort=${measure.name === sorting.sort ? order : "none"}
    ><button @click=${() => sort(measure.name)}>${shortTitle(measure)}${unitText(measure) && ` (${measure.unit})`}</button></th>`;
  const row = (head: Head) => html`<tr class=${head.at === chosen ? "chosen" : ""}><th scope="row"
    ><button aria-label="${nameOf(head)}: ${[`layer ${head.layer}, head ${head.head}`, ...head.keys].join(", ")}" aria-pressed=${head.at === chosen}
      tabindex=${head.at === stop ? 0 : -1} @click=${() => choose(head)}>${nameOf(head)}</button></th
    >${columns.map((measure) => html`<td>${valueText(index.values[measure.name]?.[head.at], measure)}</td>`)}</tr>`;
  return html`<table class="all-heads" aria-label=${caption} .style="--columns:${columns.length}">
    <thead><tr><th scope="col">Head</th>${columns.map(heading)}</tr></thead><tbody>${rows.map(row)}</tbody></table>`;
}

const at = (share: number): string => `left:${100 * share}%`;

/** Each relation's best head beside the best fixed offset. */
export function relationTable(
  { relations }: StackIndex,
  heads: Head[],
  chosen: number | null,
  caption: string,
  choose: (head: Head, relation: Relation) => void,
): TemplateResult {
  const row = (relation: Relation) => {
    const { name, count, offset, baseline } = relation;
    const head = heads[bestOf(relation)] as Head;
    const way = wayOf(relation, head.at);
    const [value, low, high] = (["accuracy", "low", "high"] as const).map((part) => relation[way][part][head.at]) as [
      number,
      number,
      number,
    ];
    return html`<tr class=${head.at === chosen ? "chosen" : ""}><th scope="row">${name}</th><td class="plot"
      ><span aria-hidden="true"><i class="offset" .style=${at(baseline)}></i><i class="interval" .style="${at(low)};width:${100 * (high - low)}%"></i
      ><i class="dot" .style=${at(value)}></i></span></td><td><button aria-label="${nameOf(head)} ${ARROWS[way]}: layer ${head.layer}, head ${head.head}"
        aria-pressed=${head.at === chosen} @click=${() => choose(head, relation)}>${nameOf(head)} ${ARROWS[way]}</button></td
      ><td class=${low > baseline ? "beats" : ""}>${percent(value)}</td><td>${Math.round(100 * low)}–${percent(high)}</td
      ><td>${percent(baseline)} (${signedOffset(offset)})</td><td>${count}</td></tr>`;
  };
  const scale = html`<span class="ends">0<span>100%</span></span>`;
  const columns = ["Relation", scale, "Head", "Found", "95% interval", "Fixed offset", "Words"];
  return html`<table class="relations" aria-label=${caption}>
    <thead><tr>${columns.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead><tbody>${relations.map(row)}</tbody></table>`;
}

/** The numbers of all heads as data, for the options' table. */
export function numbersOf(index: StackIndex, heads: Head[], sorting: Sorting, caption: string): Table {
  const columns = columnsOf(index, heads.length, sorting.sort).slice(0, 24);
  const rows = sorted(index, heads, sorting).map((head) => [
    nameOf(head),
    ...columns.map((measure) => valueText(index.values[measure.name]?.[head.at], measure)),
  ]);
  return { caption, columns: ["head", ...columns.map(titleOf)], rows };
}

/** The relations that a head finds more often than the best fixed offset does, the clearest first. */
export function foundBy({ relations }: StackIndex, head: number): Relation[] {
  const gain = (relation: Relation) => accuracy(relation, head) - relation.baseline;
  return relations.filter((relation) => relation.count >= 5 && gain(relation) > 0).sort((a, b) => gain(b) - gain(a));
}
