import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import flowCss from "../charts/flow.css";
import { type Bar, Flow, groupsOf, type Paint, type Strip } from "../charts/flow.js";
import { flowSheet } from "../charts/flow-sheet.js";
import type { Sheet } from "../charts/svg.js";
import { tint } from "../charts/tint.js";
import listCss from "../charts/top.css";
import { type Line, signed, valueLines, valueList } from "../charts/values.js";
import { stepInList, walkByKey } from "../controls/keyboard.js";
import { PanelView } from "../controls/panel-view.js";
import { named, type Part, type Reading } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure, Sequence } from "../element/figure.js";
import type { FactorsFigure, FactorsState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { position } from "../lib/checks.js";
import { json } from "../lib/json-blob.js";
import { memo } from "../lib/memo.js";
import { headColor } from "../lib/palette.js";
import css from "./factors.css";

interface Factors {
  /** (factors, T) */
  strengths: number[][];
  /** The strongest neurons of each factor. */
  neurons: [layer: number, neuron: number, weight: number][][];
}

const LINE = 28;
const OPACITY = 0.85;
/** The number of a factor's neurons in the table. */
const NEURONS = 3;
/** Shares below this leave a token as it is. */
const FAINT = 0.02;
/** px of the factors' bars above a token: of all together, and of one at least and at most. */
const [STRIP, LEAST, MOST] = [88, 4, 12];
/** The number of tokens from which each factor is also a line over the whole text, which no longer fits a window. */
const LONG = 100;

/**
 * Groups of neurons as bars above each token of the text, one below the other, and each token in the colour of the group
 * that is strongest there.
 */
export default class FactorsView extends PanelView<FactorsState, FactorsFigure> {
  static readonly styles = [unsafeCSS(flowCss), unsafeCSS(listCss), unsafeCSS(css)];

  private pointed: number | null = null;
  private hovered: number | null = null;
  private readonly flow = new Flow("Tokens", {
    point: (index, announce) => {
      if (index === this.pointed) return;
      this.pointed = index;
      this.host.requestUpdate();
      if (announce) this.choices.announce();
    },
    choose: (index) => this.choices.choose({ selected: this.choices.state.selected === index ? null : index }),
  });
  private readonly groups = memo((figure: FactorsFigure) => groupsOf(figure));
  private readonly words = memo((figure: FactorsFigure) =>
    figure.texts.flatMap(({ name, start, end }) => (figure.sequences[name] as Sequence).tokens.slice(start, end)),
  );
  private readonly peaks = memo((strengths: number[][]) => strengths.map((row) => Math.max(...row)));

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as FactorsFigure, (figure as FactorsFigure).initial);
  }

  protected check({ factor, selected }: FactorsState): void {
    position("factor", factor, this.figure.count);
    position("selected", selected, this.tokens.length);
  }

  /** The tokens of all texts, one after the other. */
  private get tokens(): string[] {
    return this.words(this.figure);
  }

  /** The index of each text's first token among the tokens of all. */
  private get starts(): number[] {
    let at = 0;
    return this.figure.texts.flatMap(({ start, end }) => {
      at += end - start;
      return start === 0 ? [at - end] : [];
    });
  }

  /** Returns the number of the text that a token stands in, if there are several. */
  private within(index: number): string {
    const { starts } = this;
    return starts.length > 1 ? ` in text ${starts.filter((start) => start <= index).length}` : "";
  }

  private get factors(): Factors | undefined {
    return this.host.blob(this.figure.factors, (bytes) => json<Factors>(bytes));
  }

  /** The factor that is shown alone. */
  private get alone(): number | null {
    return this.hovered ?? this.choices.state.factor;
  }

  private color(factor: number): string {
    return headColor(factor, this.host.scheme.dark);
  }

  protected get where(): string {
    const { stack, layers } = this.figure.about;
    const range = layers.length > 1 ? `layers ${layers[0]} to ${layers.at(-1)}` : `layer ${layers[0]}`;
    return `Factors of ${stack === "self" ? "" : `the ${stack}’s `}${range}`;
  }

  protected override get how(): string[] {
    const { factor } = this.choices.state;
    return factor === null ? [] : [`factor ${factor + 1} alone`];
  }

  protected override controls(): unknown {
    const { neurons, explained } = this.figure.about;
    const how = `${this.where}: ${neurons} neurons, ${Math.round(100 * explained)}% explained`;
    return html`<span class="how">${how}</span>`;
  }

  protected legend(): string {
    return "Colour = a token’s strongest factor · opacity = its strength · bars: each factor, up to its own maximum";
  }

  protected body(): unknown {
    const { factors } = this;
    const list = factors?.strengths.map((row, factor) => this.sparkline(row, factor)) ?? nothing;
    const height = this.isLong ? LINE * this.figure.count : LINE;
    return html`<div class="factors ${this.isLong ? "" : "chips"}" role="group" aria-label="Factors"
      .style="min-height:${height}px" @keydown=${this.walk}>${list}</div>${this.flow.element}`;
  }

  private get isLong(): boolean {
    return this.tokens.length >= LONG;
  }

  /** px of one factor's bars. */
  private get lane(): number {
    return Math.min(MOST, Math.max(LEAST, Math.floor(STRIP / this.figure.count)));
  }

  private get strip(): Strip {
    return { height: this.lane * this.figure.count + 2, above: true };
  }

  /** A token's bars: of each factor in a lane of its own, or of one alone as high as all lanes. */
  private bars(index: number, { strengths }: Factors): Bar[] {
    const { alone, lane } = this;
    const room = alone === null ? lane : lane * strengths.length;
    return strengths.flatMap((row, factor) => {
      const share = (row[index] as number) / (this.peaks(strengths)[factor] || 1);
      if (share < FAINT || (alone ?? factor) !== factor) return [];
      const height = Number(((room - 1) * share).toFixed(1));
      return [{ color: this.color(factor), top: (alone === null ? lane * (factor + 1) : room) - height, height }];
    });
  }

  private sparkline(row: number[], factor: number): TemplateResult {
    const { alone, pointed } = this;
    const { state } = this.choices;
    const at = pointed ?? state.selected;
    const over = (index: number | null) => (event: Event) => {
      if ((event as PointerEvent).pointerType === "touch") return;
      if (event.type === "focus" && !(event.target as Element).matches(":focus-visible")) return;
      this.hovered = index;
      this.host.requestUpdate();
    };
    const choose = () => {
      this.hovered = null;
      this.choices.choose({ factor: state.factor === factor ? null : factor });
    };
    const others = alone !== null && alone !== factor;
    const mark = at === null ? nothing : `M${at} 0V1`;
    const ends = this.starts.slice(1).map((start) => `M${start - 0.5} 0V1`);
    return html`<button class=${others ? "others" : ""} aria-pressed=${state.factor === factor}
      aria-label="Factor ${factor + 1}" .style="--accent:${this.color(factor)}"
      @pointerenter=${over(factor)} @pointerleave=${over(null)} @focus=${over(factor)} @blur=${over(null)} @click=${choose}>
      <span>${factor + 1}</span>${
        this.isLong
          ? html`<svg aria-hidden="true" viewBox="0 0 ${Math.max(1, row.length - 1)} 1" preserveAspectRatio="none"><path
        d=${`M${points(row).join("L")}`}></path><path class="end" d=${ends.join("")}></path><path class="at" d=${mark}></path></svg>`
          : nothing
      }
    </button>`;
  }

  private readonly walk = (event: KeyboardEvent): void => {
    const buttons = [...(event.currentTarget as Element).children] as HTMLElement[];
    walkByKey(event, (down, right) => stepInList(buttons, event.target, down, right));
  };

  protected draw(): boolean {
    this.flow.show(this.groups(this.figure));
    const { factors } = this;
    if (!factors) return false;
    this.flow.reserve(this.strip);
    this.flow.paint((index) => this.paint(index, factors));
    this.flow.mark(this.pointed, this.choices.state.selected);
    return true;
  }

  /** Colours a token by its strongest factor; if one factor is chosen, by its value as a share of its own maximum. */
  private paint(index: number, factors: Factors): Paint {
    const { alone } = this;
    const { strengths } = factors;
    const peaks = this.peaks(strengths);
    const factor = alone ?? strongest(strengths, index);
    const most = alone === null ? Math.max(...peaks) : (peaks[factor] as number);
    const share = most > 0 ? (strengths[factor]?.[index] as number) / most : 0;
    const bars = this.bars(index, factors);
    return share < FAINT ? { bars } : { ...tint(this.color(factor), OPACITY * share, this.host.scheme), bars };
  }

  protected notice(): TemplateResult {
    return this.host.notice("factors", [this.figure.factors]);
  }

  protected reading(): Reading | null {
    const { factors, pointed, hovered } = this;
    const { factor, selected } = this.choices.state;
    if (!factors) return null;
    if (hovered === null && (pointed !== null || (factor === null && selected !== null)))
      return this.ofToken(pointed ?? (selected as number), factors);
    return this.ofFactor(this.alone ?? this.largest(factors), factors);
  }

  /** The factor that is read while none is pointed at. */
  private largest({ strengths }: Factors): number {
    const peaks = this.peaks(strengths);
    return peaks.indexOf(Math.max(...peaks));
  }

  private ofToken(index: number, { strengths }: Factors): Reading {
    const lines = strengths.map((row, factor) => ({
      name: `factor ${factor + 1}`,
      value: row[index] as number,
      color: this.color(factor),
    }));
    const shown = lines.filter(({ value }) => value > 0).sort((a, b) => b.value - a.value);
    const token: Part[] = [named(this.tokens, index), this.within(index)];
    if (!shown.length) return { lines: [[token, ": in no factor"]] };
    const { name, value } = shown[0] as (typeof shown)[0];
    return { ...this.listed([token, `: ${name}, ${signed(value)}`], shown), listed: valueLines(shown.slice(1)) };
  }

  private ofFactor(factor: number, { strengths, neurons }: Factors): Reading {
    const row = strengths[factor] as number[];
    const at = row.indexOf(Math.max(...row));
    const lines = (neurons[factor] ?? []).map(([layer, neuron, value]) => ({
      name: `layer ${layer}, neuron ${neuron}`,
      value,
      color: this.color(factor),
    }));
    const where = [named(this.tokens, at), this.within(at)];
    const said = [`Factor ${factor + 1}: strongest at `, where, `, ${signed(row[at] as number)}; its neurons`];
    return this.listed(said, lines);
  }

  private listed(said: Part[], lines: Line[]): Reading {
    return { lines: [said], list: valueList(lines, this.host.scheme), listed: valueLines(lines) };
  }

  protected override get locked(): number | null {
    return this.choices.state.factor ?? this.choices.state.selected;
  }

  protected override free(): boolean {
    const { factor, selected } = this.choices.state;
    const held = factor !== null || selected !== null;
    if (held) this.choices.choose({ factor: null, selected: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { factors } = this;
    if (!factors) return null;
    const { dark, pale } = this.host.scheme;
    return flowSheet(this.groups(this.figure), (index) => this.paint(index, factors), inks(dark, pale), this.strip);
  }

  /** A row a token, a column a factor; below the heads, each factor's strongest neurons. */
  protected table(): Table | null {
    const { factors, tokens, where } = this;
    if (!factors) return null;
    const { strengths, neurons } = factors;
    const most = Array.from({ length: NEURONS }, (_, rank): Part[] => [
      `${rank + 1}. neuron`,
      ...neurons.map((list) => neuronText(list[rank])),
    ]);
    const rows = tokens.map((token, at): Part[] => [
      [{ token, at: null }, this.within(at)],
      ...strengths.map((row) => signed(row[at] as number)),
    ]);
    const table = {
      caption: `${where}: how strong each is at each token`,
      columns: ["token", ...strengths.map((_, factor) => `factor ${factor + 1}`)],
      rows: [...most, ...rows],
    };
    const sizes = tokens.map((_, at) => Math.max(...strengths.map((row) => row[at] as number)));
    return largest(table, [...most.map(() => Number.POSITIVE_INFINITY), ...sizes], "strongest rows");
  }

  /** Strengths, (factors, tokens of all texts), where each text starts, and each factor's strongest neurons. */
  async values(): Promise<object> {
    const factors = await this.loaded("factors", () => this.factors);
    const neurons = factors.neurons.map((list) => list.map(([layer, neuron, weight]) => ({ layer, neuron, weight })));
    const { stack, layers, explained } = this.figure.about;
    const { tokens, starts } = this;
    return { stack, layers, explained, tokens, starts, strengths: factors.strengths, neurons };
  }
}

const neuronText = ([layer, neuron, value]: [number?, number?, number?] = []): string =>
  value === undefined ? "–" : `layer ${layer}, neuron ${neuron}, ${signed(value)}`;

function strongest(strengths: number[][], index: number): number {
  const column = strengths.map((row) => row[index] as number);
  return column.indexOf(Math.max(...column));
}

/** "x y", x a token's position, y from 1 below to 0 at the factor's maximum. */
function points(row: number[]): string[] {
  const most = Math.max(...row) || 1;
  const all = row.map((value, at) => `${at} ${(1 - value / most).toFixed(3)}`);
  return all.length > 1 ? all : [...all, "1 1"];
}
