import { html, svg, type TemplateResult } from "lit";
import { DEEPEST, signedTint } from "../../charts/tint.js";
import type { MethodsFigure, MethodsState } from "../../element/figure-data.js";
import type { Scheme } from "../../element/scheme.js";
import { headColor } from "../../lib/palette.js";
import { methodName, overlap } from "./strips.js";

type Curve = "deletion" | "insertion";

export const isCurve = (compare: MethodsState["compare"]): compare is Curve =>
  compare === "deletion" || compare === "insertion";

export const decimals = (value: number): string => value.toFixed(2).replace("-", "−");

/** The agreement of each pair of methods, −1 to 1; null if it is not defined. */
export function pairs({ agreement, orders, top_k }: MethodsFigure, compare: MethodsState["compare"]) {
  if (compare === "agreement") return agreement;
  return orders.map((one) => orders.map((other) => overlap(one, other, top_k)));
}

/** A table of methods × methods; `pointed` is the method that is read. */
export function agreementTable(
  figure: MethodsFigure,
  compare: MethodsState["compare"],
  scheme: Scheme,
  pointed: number | null,
  caption: string,
): TemplateResult {
  const values = pairs(figure, compare);
  const cell = (value: number | null, same: boolean) => {
    const { background = "", ink = "" } = same || value === null ? {} : signedTint(DEEPEST * value, 1, scheme);
    const text = value === null ? "–" : same ? "" : compare === "agreement" ? decimals(value) : whole(value);
    return html`<td .style="background:${background};color:${ink}">${text}</td>`;
  };
  return html`<table class="pairs"><caption>${caption}</caption>
    <thead><tr><td></td>${figure.methods.map(
      ({ method }, at) =>
        html`<th scope="col" aria-label=${methodName(method)} class=${at === pointed ? "read" : ""}>${at + 1}</th>`,
    )}</tr></thead>
    <tbody>${figure.methods.map(
      ({ method }, row) =>
        html`<tr class=${row === pointed ? "read" : ""}><th scope="row"><small aria-hidden="true">${row + 1}</small> ${methodName(method)}</th>${values[
          row
        ]?.map((value, col) => cell(value, row === col))}</tr>`,
    )}</tbody></table>`;
}

const whole = (share: number): string => `${Math.round(100 * share)}%`;

/** A curve's points: x, the share of tokens, from 0 to 100; y, the probability, from 100 down to 0. */
const points = (counts: number[], values: number[]): [number, number][] =>
  counts.map((count, at) => [(100 * count) / (counts.at(-1) as number), 100 - 100 * (values[at] as number)]);

const path = (of: [number, number][]): string => `M${of.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`).join("L")}`;

/** The area between the mean of random orders less and plus a standard deviation. */
function band(counts: number[], { mean, sd }: { mean: number[]; sd: number[] }): string {
  const clamp = (value: number) => Math.min(1, Math.max(0, value));
  const edge = (sign: number) =>
    points(
      counts,
      mean.map((value, at) => clamp(value + sign * (sd[at] as number))),
    );
  return `${path([...edge(1), ...edge(-1).reverse()])}Z`;
}

/** The output's probability as tokens are taken out or put back in the order of each strip, and in random order. */
export function curvePlot(
  { curves, methods }: MethodsFigure,
  curve: Curve,
  scheme: Scheme,
  pointed: number | null,
): TemplateResult {
  const { counts, random } = curves;
  const other = (at: number) => (pointed !== null && pointed !== at ? "other" : "");
  return html`<div class="plot" aria-hidden="true">
    <span class="top">100%</span><span class="bottom">0%</span><span class="none">none</span><span class="all">all tokens ${curve === "deletion" ? "out" : "back"}</span>
    <svg viewBox="0 0 100 100" preserveAspectRatio="none">
      <path class="band" d=${band(counts, random[curve])}></path>
      <path class="random" d=${path(points(counts, random[curve].mean))}></path>
      ${methods.map(
        (_, at) =>
          svg`<path class=${other(at)} stroke=${headColor(at, scheme.dark)} d=${path(points(counts, curves.methods[at]?.[curve] as number[]))}></path>`,
      )}
    </svg>
  </div>`;
}

const COLUMNS = ["comprehensiveness", "sufficiency"] as const;

/** The numbers that each order is judged by, and those of random orders. */
export function faithfulnessTable(
  { curves, methods }: MethodsFigure,
  curve: Curve,
  scheme: Scheme,
  pointed: number | null,
  caption: string,
): TemplateResult {
  const columns = [`${curve}_area` as const, ...COLUMNS];
  const { random } = curves;
  const best = (name: (typeof columns)[number]) => {
    const values = curves.methods.map((each) => each[name]);
    return name === "insertion_area" || name === "comprehensiveness" ? Math.max(...values) : Math.min(...values);
  };
  return html`<table class="faithfulness"><caption>${caption}</caption>
    <thead><tr><td></td><th scope="col">area</th><th scope="col" aria-label="comprehensiveness" data-tip="comprehensiveness">compr.</th><th scope="col" aria-label="sufficiency" data-tip="sufficiency">suff.</th></tr></thead>
    <tbody>${methods.map(
      ({ method }, at) =>
        html`<tr class=${at === pointed ? "read" : ""}><th scope="row"><i .style="background:${headColor(at, scheme.dark)}"></i>${methodName(method)}</th>${columns.map(
          (name) => {
            const value = curves.methods[at]?.[name] as number;
            return html`<td class=${value === best(name) ? "best" : ""}>${decimals(value)}</td>`;
          },
        )}</tr>`,
    )}<tr class="random"><th scope="row"><i class="dash"></i>random order</th>${columns.map(
      (name) => html`<td>${decimals(random[name].mean)} <small>± ${decimals(random[name].sd)}</small></td>`,
    )}</tr></tbody></table>`;
}
