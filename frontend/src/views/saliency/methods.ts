import { html, nothing, render, type TemplateResult, unsafeCSS } from "lit";
import type { Sheet } from "../../charts/svg.js";
import { DEEPEST, ground, signedColor, signedTint } from "../../charts/tint.js";
import gridCss from "../../charts/token-grid.css";
import { type Grid, type GridCell, type GridPlace, TokenGrid } from "../../charts/token-grid.js";
import { percent } from "../../charts/top.js";
import { choice } from "../../controls/choice.js";
import { type Ramp, ramp } from "../../controls/legend.js";
import { PanelView } from "../../controls/panel-view.js";
import { hint, named, type Part, type Reading } from "../../controls/reading.js";
import { inks } from "../../controls/save.js";
import { largest, type Table } from "../../controls/table.js";
import type { Figure } from "../../element/figure.js";
import type { MethodsFigure, MethodsState, Strip } from "../../element/figure-data.js";
import type { ViewHost } from "../../element/view.js";
import { oneOf, position } from "../../lib/checks.js";
import { memo } from "../../lib/memo.js";
import { Scaled } from "../../lib/packed.js";
import { plainText } from "../../lib/token.js";
import { agreementTable, curvePlot, faithfulnessTable, isCurve } from "./comparison.js";
import css from "./methods.css";
import { methodsSheet } from "./methods-sheet.js";
import { columnsBy, inputsOf, methodName, overlap, sharesOf, summed } from "./strips.js";

/** px of a line of the read-out, and how many methods fit one line; as in `views/saliency_methods.py`. */
const [LINE, ONE_LINE] = [24, 4];
const COMPARE: [MethodsState["compare"], string][] = [
  ["agreement", "agreement: Kendall’s τ"],
  ["top_k", "agreement: top "],
  ["deletion", "taking tokens out"],
  ["insertion", "putting tokens back"],
  ["nothing", "nothing"],
];

/** Three digits, with a sign that is as long as the digits. */
const short = (value: number): string =>
  (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)))).replace(
    /-/g,
    "−",
  );
const signed = (share: number): string => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 1 : 0)}%`.replace("-", "−");

/** Several methods as strips over the same tokens, one below the other, and a comparison of them. */
export class MethodsView extends PanelView<MethodsState, MethodsFigure> {
  static readonly styles = [unsafeCSS(gridCss), unsafeCSS(css)];

  private pointed: GridPlace | null = null;
  private readonly below = document.createElement("div");
  private readonly grid = new TokenGrid("Methods by tokens", {
    point: (place, announce) => {
      if (place?.row === this.pointed?.row && place?.col === this.pointed?.col) return;
      const row = this.pointed?.row;
      this.pointed = place;
      this.mark();
      if (row !== place?.row) render(this.comparison(), this.below);
      this.tell(announce);
    },
    choose: ({ col }) => this.choices.choose({ selected: this.choices.state.selected === col ? null : col }),
  });
  private readonly columns = memo(columnsBy);
  private readonly gridOf = memo((figure: MethodsFigure, by: string): Grid => {
    const columns = this.columns(figure, by);
    return {
      rows: figure.methods.map(({ method }) => methodName(method)),
      above: {
        name: "",
        tokens: columns.map(({ text }) => text),
        special: columns.flatMap(({ special }, at) => (special ? [at] : [])),
      },
      below: null,
    };
  });
  private readonly shares = memo((scaled: Scaled, figure: MethodsFigure, by: string) =>
    figure.methods.map((strip, row) => {
      const shares = sharesOf(scaled, row, strip, figure.ignored);
      return this.columns(figure, by).map((column) => summed(shares, column));
    }),
  );

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as MethodsFigure, (figure as MethodsFigure).initial);
    this.readout.style.minHeight = `${LINE * (this.figure.methods.length > ONE_LINE ? 4 : 3)}px`;
  }

  protected check({ by, compare, selected }: MethodsState): void {
    oneOf("by", by, ["token", ...Object.keys(this.figure.groups)]);
    oneOf(
      "compare",
      compare,
      COMPARE.map(([name]) => name),
    );
    position("selected", selected, this.columns(this.figure, by).length);
  }

  protected get where(): string {
    const { token, contrast } = this.figure.output;
    const than = contrast === null ? "" : ` rather than “${plainText(contrast)}”`;
    return `Which tokens led to “${plainText(token)}”${than}`;
  }

  protected override get how(): string[] {
    const { by, compare } = this.choices.state;
    return [...(by === "token" ? [] : [`by ${by}`]), ...(compare === "nothing" ? [] : [this.compareName(compare)])];
  }

  private compareName(compare: MethodsState["compare"]): string {
    const name = new Map(COMPARE).get(compare) as string;
    return compare === "top_k" ? `${name}${this.figure.top_k}` : name;
  }

  protected override controls(): unknown {
    const { by, compare } = this.choices.state;
    const several = (name: string) =>
      name === by || this.columns(this.figure, name).length < inputsOf(this.figure).length;
    const names = ["token", ...Object.keys(this.figure.groups).filter(several)] as MethodsState["by"][];
    const shown = COMPARE.filter(
      ([name]) => this.figure.methods.length > 1 || (name !== "agreement" && name !== "top_k"),
    );
    return html`${
      names.length > 1
        ? choice(
            "Sum by",
            by,
            names.map((name) => [name, name] as const),
            (by) => this.choices.choose({ by, selected: null }),
          )
        : nothing
    }${choice(
      "Below",
      compare,
      shown.map(([name]) => [name, this.compareName(name)] as const),
      (compare) => this.choices.choose({ compare }),
    )}`;
  }

  protected legend(): string {
    const { methods } = this.figure;
    const signs = methods.some(({ norm }) => norm === "sum") ? " · blue: for, orange: against" : "";
    const weight = methods.some(({ norm }) => norm === "weight") ? " · of attention: share of the weight" : "";
    return `Percent of each strip, in full colour its largest${signs}${weight}`;
  }

  protected override ramp(): Ramp {
    const { scheme } = this.host;
    const isSigned = this.figure.methods.some(({ norm }) => norm === "sum");
    const at = (share: number) => (isSigned ? 2 * share - 1 : share);
    return ramp([isSigned ? "against" : "0", isSigned ? "for" : "most"], (share) =>
      ground(signedColor(at(share), scheme), DEEPEST * Math.abs(at(share)), scheme),
    );
  }

  protected override notes(): string {
    const { output, compared } = this.figure;
    const than = output.contrast === null ? "" : `, less that of “${plainText(output.contrast)}”`;
    return `the ${output.explain.replace("_", "-")} of “${plainText(output.token)}”${than} · orders: ${compared.length} tokens that can be taken out, the largest number first`;
  }

  protected override more(): unknown {
    return html`<p class="notes">${this.details().join(" · ")}</p>`;
  }

  /** The notes on how the numbers were made, a line each in a saved picture. */
  private details(): string[] {
    const { methods, curves } = this.figure;
    const { kind, token } = curves.replacement;
    return [
      ...methods.map((strip) => `${methodName(strip.method)}${about(strip)}`),
      `curves: the output’s probability, ${kind === "remove" ? "the text becoming shorter" : `${token} in the place of a token`}`,
      `random order: mean and standard deviation of ${curves.orders}, seed ${curves.seed}`,
      "comprehensiveness, sufficiency: the mean over 1, 5, 10, 20 and 50% of the tokens",
    ];
  }

  protected body(): unknown {
    return html`${this.grid.element}${this.below}`;
  }

  /** The picture below the strips. */
  private comparison(): unknown {
    const { compare } = this.choices.state;
    const { figure } = this;
    if (compare === "nothing") return nothing;
    const { scheme } = this.host;
    const row = this.pointed?.row ?? null;
    const height = `--methods:${figure.methods.length}`;
    const caption = this.caption(compare);
    if (!isCurve(compare))
      return html`<div class="comparison" tabindex="0" role="region" aria-label=${this.compareName(compare)} .style=${height}>${agreementTable(figure, compare, scheme, row, caption)}</div>`;
    return html`<div class="comparison curves" tabindex="0" role="region" aria-label=${this.compareName(compare)} .style=${height}>
      ${curvePlot(figure, compare, scheme, row)}${faithfulnessTable(figure, compare, scheme, row, caption)}
    </div>`;
  }

  private caption(compare: MethodsState["compare"]): string {
    const { compared, top_k, output } = this.figure;
    const of = `the same ${compared.length} tokens`;
    if (compare === "agreement") return `Kendall’s τ-b between orders of ${of}`;
    if (compare === "top_k") return `The first ${top_k} of ${of}: how many are shared`;
    return `Probability of “${plainText(output.token)}”`;
  }

  private get scaled(): Scaled | undefined {
    const { attributions, methods } = this.figure;
    return this.host.blob(attributions, (bytes) => new Scaled(bytes, methods.length));
  }

  private get shown(): number[][] | undefined {
    const { scaled } = this;
    return scaled && this.shares(scaled, this.figure, this.choices.state.by);
  }

  protected draw(): boolean {
    const { by } = this.choices.state;
    this.grid.show(this.gridOf(this.figure, by));
    this.grid.element.classList.toggle("of-spans", by === "sentence" || by === "span");
    render(this.comparison(), this.below);
    const { shown } = this;
    if (!shown) return false;
    this.grid.paint((place) => this.cell(place, shown));
    this.mark();
    return true;
  }

  private cell({ row, col }: GridPlace, shown: number[][]): GridCell {
    const strip = shown[row] as number[];
    const share = strip[col] as number;
    const { scheme } = this.host;
    if (Number.isNaN(share)) return { text: "–", ink: inks(scheme.dark, scheme.pale).pale };
    const most = strip.reduce((most, value) => Math.max(most, Math.abs(value) || 0), 0);
    const text = String(Math.round(100 * share) || 0).replace("-", "−");
    const paint = signedTint(DEEPEST * share, most, scheme);
    return { text, ...(paint.background ? paint : { ink: inks(scheme.dark, scheme.pale).pale }) };
  }

  private mark(): void {
    const { selected } = this.choices.state;
    this.grid.mark(this.pointed, selected === null ? null : { row: -1, col: selected }); // a whole column
  }

  protected notice(): TemplateResult {
    return this.host.notice("attributions", [this.figure.attributions]);
  }

  protected reading(): Reading | null {
    const { shown } = this;
    if (!shown) return null;
    const { output } = this.figure;
    const than: Part = output.contrast === null ? "" : [" rather than ", { token: output.contrast, at: null }];
    const of: Part = [{ token: output.token, at: null }, than, ` (${percent(output.probability)})`];
    const col = this.pointed?.col ?? this.choices.state.selected;
    if (col === null) {
      const errors = this.figure.methods.map(completeness).filter(Boolean);
      return { lines: [[of, ...errors], hint("a token to read what each method says of it")], hint: true };
    }
    const texts = this.columns(this.figure, this.choices.state.by).map(({ text }) => text);
    const said = this.figure.methods.map(
      ({ method }, row) => `${methodName(method)} ${percentOf(shown[row]?.[col] ?? Number.NaN)}`,
    );
    return {
      lines: [[named(texts, col), " for ", of], [said.join(" · ")], [this.ofStrip(said)]],
    };
  }

  /** The facts about a strip as a whole. */
  private ofStrip(said: string[]): string {
    const row = this.pointed?.row ?? -1;
    const strip = this.figure.methods[row];
    if (!strip) return "";
    return `${said[row]}${about(strip)}${strip.delta === undefined ? "" : completeness({ ...strip, method: "" })}`;
  }

  protected override get locked(): number | null {
    return this.choices.state.selected;
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) this.choices.choose({ selected: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { shown, figure } = this;
    if (!shown) return null;
    const { compare, by } = this.choices.state;
    const cell = (place: GridPlace) => this.cell(place, shown);
    const sheet = methodsSheet(figure, this.gridOf(figure, by), cell, compare, this.host.scheme);
    return { ...sheet, notes: this.details() };
  }

  protected table(): Table | null {
    const { shown, figure, where } = this;
    if (!shown) return null;
    const columns = this.columns(figure, this.choices.state.by);
    const texts = columns.map(({ text }) => text);
    const rows = columns.map(({ start }, col): Part[] => [
      named(texts, col),
      String(start),
      ...shown.map((strip) => percentOf(strip[col] as number)),
    ]);
    const names = figure.methods.map(({ method }) => methodName(method));
    const table = { caption: `${where}: share of each strip`, columns: ["token", "position", ...names], rows };
    const sizes = columns.map((_, col) => Math.max(...shown.map((strip) => Math.abs(strip[col] as number) || 0)));
    return largest(table, sizes, "largest");
  }

  /**
   * The output, the inputs, each method with its values, their shares of the sum of absolute values and its order of the
   * compared inputs; how far the methods agree; and the curves.
   */
  async values(): Promise<object> {
    const scaled = await this.loaded("attributions", () => this.scaled);
    const { figure } = this;
    const { output, methods, compared, agreement, orders, top_k, curves, ignored } = figure;
    const inputs = inputsOf(figure);
    const list = (row: Float32Array) =>
      Array.from(inputs, (_, at) => (Number.isNaN(row[at] ?? Number.NaN) ? null : (row[at] as number)));
    return {
      output,
      inputs,
      methods: methods.map((strip, row) => ({
        ...strip,
        values: list(scaled.row(row)),
        shares: list(sharesOf(scaled, row, strip, ignored)),
        order: orders[row]?.map((number) => compared[number]),
      })),
      compared,
      agreement,
      overlap: orders.map((one) => orders.map((other) => overlap(one, other, top_k))),
      curves,
    };
  }
}

/** The completeness error of a strip in words; "" for methods without one. */
function completeness({ method, value = 0, baseline = 0, delta }: Strip): string {
  if (delta === undefined) return "";
  const whole = Math.abs(value - baseline);
  const share = whole ? ` (${(100 * Math.abs(delta / whole)).toFixed(1)}%)` : "";
  return ` · ${method && `${methodName(method)}: `}completeness error ${short(delta)}${share}`;
}

const percentOf = (share: number): string => (Number.isNaN(share) ? "–" : signed(share));

/** The note on a method's numbers that follows its name. */
function about({ norm, rows, from_baseline, steps, layer, window }: Strip): string {
  return [
    norm === "weight" && `weights from ${rows && rows.length > 3 ? "all positions" : `position ${rows?.join(", ")}`}`,
    norm === "l2" && "L2 norm over the embedding",
    from_baseline && `baseline ${from_baseline === "zero" ? "zeros" : "padding"}`,
    steps && `${steps} steps`,
    layer !== undefined && `layer ${layer}`,
    window && window > 1 && `${window} tokens at a time`,
  ]
    .filter(Boolean)
    .map((part) => `, ${part}`)
    .join("");
}
