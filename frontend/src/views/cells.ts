import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import { type SignedDepths, signedDepths, signedGround } from "../charts/readable-depth.js";
import textCss from "../charts/running-text.css";
import { RunningText, type Stripe } from "../charts/running-text.js";
import { type Saturation, SaturationPlot, type UnitPlace } from "../charts/saturation.js";
import type { Sheet } from "../charts/svg.js";
import { signed } from "../charts/values.js";
import { choice } from "../controls/choice.js";
import { within } from "../controls/keyboard.js";
import { type Ramp, ramp } from "../controls/legend.js";
import { PanelView } from "../controls/panel-view.js";
import { named, type Part, type Reading } from "../controls/reading.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure } from "../element/figure.js";
import type { CellLayer, CellsFigure, CellsState, UnitsOfPart } from "../element/figure-data.js";
import type { Codecs, ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { toRgba } from "../lib/color.js";
import { json } from "../lib/json-blob.js";
import { memo } from "../lib/memo.js";
import { headColor } from "../lib/palette.js";
import { SignedBytes } from "../lib/signed-bytes.js";
import css from "./cells.css";

const GATES = ["forget", "input", "output", "reset", "update"];
const BOUNDED = ["cell", "hidden", ...GATES];
const NOUNS: Record<string, string> = {
  cell: "cell",
  hidden: "hidden state",
  residual: "residual stream",
  neurons: "neuron",
  state: "state",
};
const SCALES: Record<string, string> = {
  cell: "Tanh of the cell",
  hidden: "Hidden state",
  residual: "Residual stream",
};
/** px: a line of text, a unit's stripe below it, and the stripe of what was looked for. */
const [LINE, STRIPE, MASK] = [24, 10, 6];
/** The share of tokens whose values all get the full colour in a part without bounds: one may be far above the rest. */
const SATURATED = 0.01;

interface Lists {
  /** The numbers of the units that are kept: the best first, or in their order. */
  units: number[];
  /** The correlations on the half by which units were chosen, and on the other; absent if nothing is looked for. */
  chosen?: number[];
  told?: number[];
}

interface Text {
  text: string;
  ends: number[] | null;
}

interface Shown {
  lists: Lists;
  values: SignedBytes;
}

/** A unit's scale: its steps of one byte, what a step is worth, and what the full colour stands for. */
interface Unit {
  unit: number;
  steps: Int8Array;
  scale: number;
  most: number;
}

const noun = (part: string): string => NOUNS[part] ?? `${part} gate`;

/** Running text coloured by one unit, several units in stripes, or how often gates are saturated. */
export default class CellsView extends PanelView<CellsState, CellsFigure> {
  static readonly styles = [unsafeCSS(textCss), unsafeCSS(css)];

  readonly codecs: Codecs = {
    units: {
      write: (units: number[]) => units.join(),
      read: (text) => (text ? text.split(",").map(Number) : []),
    },
  };

  private pointed: number | null = null;
  private place: UnitPlace | null = null;
  private readonly running = new RunningText({
    point: (token, announce) => this.point(token, announce),
    toggle: (token) => this.choices.choose({ token: this.choices.state.token === token ? null : token }),
    turn: (by) => this.turn(by),
  });
  private readonly plot = new SaturationPlot({
    point: (place, announce) => this.pointAt(place, announce),
    choose: ({ layer, unit }) => this.choices.choose({ layer, units: [unit], show: "text" }),
  });
  private readonly tokens = memo(({ text, ends }: Text): string[] =>
    ends ? ends.map((end, i) => text.slice(ends[i - 1] ?? 0, end)) : text.split(""),
  );

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as CellsFigure, (figure as CellsFigure).initial);
  }

  protected override resized(): void {
    super.resized();
    this.host.requestUpdate();
  }

  protected check({ show, part, layer, units, token }: CellsState): void {
    const { layers, parts, saturation } = this.figure;
    oneOf("show", show, saturation ? ["text", "saturation"] : ["text"]);
    oneOf("part", part, parts);
    oneOf("layer", layer, this.layersOf(part));
    const { units: count } = layers.find((each) => each.layer === layer) as CellLayer;
    if (!Array.isArray(units)) throw new RangeError(`units ${units}: not a list of numbers`);
    for (const unit of units) position("units", unit ?? "none", count);
    const text = this.text;
    if (text) position("token", token, text.length);
  }

  private layersOf(part: string): number[] {
    return this.figure.layers.filter(({ parts }) => part in parts).map(({ layer }) => layer);
  }

  private get layer(): CellLayer {
    return this.find(this.choices.state.layer);
  }

  private find(layer: number): CellLayer {
    const found = this.figure.layers.find((each) => each.layer === layer);
    if (!found) throw new RangeError(`layer ${layer}: not in this figure`);
    return found;
  }

  private get text(): string[] | undefined {
    const found = this.host.blob(this.figure.text, (bytes) => json<Text>(bytes));
    return found && this.tokens(found);
  }

  private load({ parts }: CellLayer, part: string): Shown | undefined {
    const { units, values, kept } = parts[part] as UnitsOfPart;
    const [lists, found] = [
      this.host.blob(units, (bytes) => json<Lists>(bytes)),
      this.host.blob(values, (bytes) => new SignedBytes(bytes, kept)),
    ];
    return lists && found && { lists, values: found };
  }

  private get shown(): Shown | undefined {
    return this.load(this.layer, this.choices.state.part);
  }

  private get saturation(): Saturation | undefined {
    const { saturation } = this.figure;
    return saturation && this.host.blob(saturation, (bytes) => json<Saturation>(bytes));
  }

  private get isText(): boolean {
    return this.choices.state.show === "text";
  }

  /** The units that are shown: those that the state names, as far as they are kept, or else the first that is kept. */
  private units({ lists, values }: Shown): Unit[] {
    const { units, part } = this.choices.state;
    const kept = units.filter((unit) => lists.units.includes(unit));
    const shown = kept.length > 0 ? kept : lists.units.slice(0, 1);
    return shown.map((unit) => unitOf(values, lists.units.indexOf(unit), unit, part));
  }

  protected get where(): string {
    const { part, layer, show } = this.choices.state;
    if (show !== "text") return "How often gates are saturated";
    const { shown } = this;
    const [first] = shown ? this.units(shown) : [];
    return `${first ? `Unit ${first.unit}, ` : ""}${noun(part)}, layer ${layer}`;
  }

  protected override controls(): unknown {
    const { figure, choices, layer, shown } = this;
    const { parts, saturation } = figure;
    const { state } = choices;
    const shows = [
      ["text", "text"],
      ["saturation", "gate saturation"],
    ] as const;
    const show = saturation ? choice("Show", state.show, shows, (show) => choices.choose({ show })) : nothing;
    if (!this.isText) return show;
    const called = (number: number) => [number, this.find(number).name].filter(String).join(": ");
    return [
      show,
      parts.length > 1
        ? choice(
            "Part",
            state.part,
            parts.map((part) => [part, noun(part)] as const),
            (part) => {
              const offered = this.layersOf(part);
              const layer = offered.includes(state.layer) ? state.layer : (offered[0] as number);
              choices.choose({ part, layer });
            },
          )
        : nothing,
      this.layersOf(state.part).length > 1
        ? choice(
            "Layer",
            state.layer,
            this.layersOf(state.part).map((number) => [number, called(number)] as const),
            (layer) => choices.choose({ layer, units: [] }),
          )
        : nothing,
      shown ? this.unitChoice(shown) : nothing,
      shown && shown.lists.units.length < layer.units
        ? html`<span class="how">${shown.lists.units.length} of ${layer.units} units</span>`
        : nothing,
    ];
  }

  private unitChoice(shown: Shown): unknown {
    const { units, told } = shown.lists;
    const [first] = this.units(shown) as [Unit];
    const name = (unit: number, at: number) => (told ? `${unit} · r ${signed(told[at] as number)}` : String(unit));
    return choice(
      "Unit",
      first.unit,
      units.map((unit, at) => [unit, name(unit, at)] as const),
      (unit) => this.choose(unit, shown),
    );
  }

  private choose(unit: number, shown: Shown): void {
    const [, ...others] = this.units(shown);
    this.choices.choose({ units: [unit, ...others.map((each) => each.unit)] });
  }

  /** The next unit colours the text, in the order of the list; stripes stay. */
  private turn(by: number): void {
    const { shown } = this;
    if (!shown) return;
    const [first, ...others] = this.units(shown) as [Unit, ...Unit[]];
    const units = shown.lists.units.filter((unit) => !others.some((each) => each.unit === unit) || unit === first.unit);
    const next = units[within(units.indexOf(first.unit) + by, { start: 0, end: units.length })];
    if (next !== undefined && next !== first.unit) this.choose(next, shown);
  }

  protected override more(): unknown {
    const { shown } = this;
    if (!shown || !this.isText) return nothing;
    const [first, ...others] = this.units(shown) as [Unit, ...Unit[]];
    const keep = () => this.choices.choose({ units: [first.unit, ...others.map(({ unit }) => unit), first.unit] });
    const clear = () => this.choices.choose({ units: [first.unit] });
    return html`<span class="actions">${
      others.length < 7 ? html`<button @click=${keep}>Keep unit ${first.unit} as a strip</button>` : nothing
    }${others.length > 0 ? html`<button @click=${clear}>Remove strips</button>` : nothing}</span>`;
  }

  protected legend(): string {
    const { part } = this.choices.state;
    if (!this.isText)
      return "Each square is a unit · the fraction of tokens at which its gate is below 0.1 and above 0.9";
    const { shown } = this;
    const [, ...others] = shown ? this.units(shown) : [];
    const name = SCALES[part] ?? noun(part)[0]?.toUpperCase() + noun(part).slice(1);
    const strips = others.length > 0 ? ` · strips: ${others.map(({ unit }) => unit).join(", ")}` : "";
    return `${name}${strips}${this.figure.find ? ` · grey: ${this.figure.find}` : ""}`;
  }

  protected override ramp(): Ramp | null {
    const { shown, host, isText } = this;
    if (!shown || !isText) return null;
    const { part } = this.choices.state;
    const [{ most }] = this.units(shown) as [Unit];
    const clipped = BOUNDED.includes(part) ? "" : "≥ ";
    const depth = this.depths();
    if (GATES.includes(part)) return ramp(["0", "1"], (share) => this.color(share, depth));
    const ends: [string, string] = [`${clipped && "≤ "}${signed(-most)}`, `${clipped}${signed(most)}`];
    return host.isDrawn || shown ? ramp(ends, (share) => this.color(2 * share - 1, depth)) : null;
  }

  protected override notes(): string {
    const { figure } = this;
    const { search, find } = figure;
    const found = search?.[this.choices.state.part];
    if (!found || !find) return "";
    const { looked_at, shifted } = found;
    return (
      `${looked_at} units were ranked by their correlation with ${find} on the first half of the tokens; ` +
      `r is that on the second half. The best of ${shifted.count} masks shifted along the text gets ${signed(shifted.best)}, half of them at most ${signed(shifted.median)}.`
    );
  }

  protected body(): unknown {
    if (this.isText) return this.running.element;
    const layers = Object.keys(this.saturation ?? {});
    const squares = layers.map(
      (layer, i) => html`<span><i .style="background:${headColor(i, this.host.scheme.dark)}"></i>layer ${layer}</span>`,
    );
    return html`<p class="key">${squares}</p>${this.plot.element}`;
  }

  /** The ink of the text as the page has it. */
  private get ink(): string {
    return getComputedStyle(this.isText ? this.running.element : this.plot.element).color;
  }

  private depths(): SignedDepths {
    return signedDepths(this.ink, this.host.scheme);
  }

  private color(share: number, depths: SignedDepths): string {
    return signedGround(share, depths, this.host.scheme);
  }

  private stripes(units: Unit[], depths: SignedDepths): Stripe[] {
    const stripes = units.map(({ steps, scale, most }, i) => {
      const colors = Array.from({ length: 255 }, (_, at) =>
        at === 127 ? "" : this.color(((at - 127) * scale) / most, depths),
      );
      return { color: (token: number) => colors[(steps[token] ?? 0) + 127] as string, height: i ? STRIPE : LINE };
    });
    const { mask } = this.figure;
    const found = mask && this.host.blob(mask, (bytes) => new SignedBytes(bytes, 1));
    if (found) stripes.splice(1, 0, this.maskStripe(found.steps(0)));
    return stripes;
  }

  private maskStripe(steps: Int8Array): Stripe {
    const [r, g, b] = toRgba(this.ink);
    const color = (token: number) => {
      const share = (steps[token] ?? 0) / 127;
      return share > 0 ? `rgb(${r} ${g} ${b} / ${(0.6 * share).toFixed(3)})` : "";
    };
    return { color, height: MASK };
  }

  protected draw(): boolean {
    if (!this.isText) {
      const { saturation, plot } = this;
      if (!saturation) return false;
      plot.mark(this.place);
      plot.show(saturation, this.host.scheme, this.ink);
      const gates = plot.gates.join(", ");
      plot.element.setAttribute("aria-label", `Saturation of the gates ${gates}; arrow keys read units`);
      return true;
    }
    const { shown, text, running } = this;
    if (!shown || !text) return false;
    running.show(text);
    running.label = `${text.length} tokens; left and right read them, up and down turn to other units`;
    running.paint(this.stripes(this.units(shown), this.depths()), this.ink);
    running.mark(this.pointed ?? this.choices.state.token);
    return true;
  }

  private point(token: number | null, announce: boolean): void {
    if (token === this.pointed && !announce) return;
    this.pointed = token;
    this.running.mark(token ?? this.choices.state.token);
    this.tell(announce);
  }

  private pointAt(place: UnitPlace | null, announce: boolean): void {
    if (place?.layer === this.place?.layer && place?.unit === this.place?.unit && !announce) return;
    this.place = place;
    this.draw();
    this.tell(announce);
  }

  protected notice(): TemplateResult {
    const { values, units } = this.layer.parts[this.choices.state.part] as UnitsOfPart;
    const { saturation } = this.figure;
    return this.isText || !saturation
      ? this.host.notice("units", [values, units])
      : this.host.notice("gates", [saturation]);
  }

  protected reading(): Reading | null {
    if (!this.isText) return this.gateReading();
    const { shown, text } = this;
    if (!shown || !text) return null;
    const units = this.units(shown);
    const token = this.pointed ?? this.choices.state.token;
    if (token !== null) {
      const value = ({ steps, scale }: Unit) => signed((steps[token] ?? 0) * scale);
      const values = units.map((each) => (units.length > 1 ? `unit ${each.unit} ${value(each)}` : value(each)));
      return { lines: [[named(text, token), ` in ${placeOf(text, token)}: ${values.join(", ")}`]] };
    }
    return { lines: this.summaryOf(units[0] as Unit, shown) };
  }

  private summaryOf({ unit, steps, scale }: Unit, { lists }: Shown): Part[][] {
    const [least, most] = [Math.min(...steps), Math.max(...steps)].map((step) => signed(step * scale));
    const { find, search } = this.figure;
    const at = lists.units.indexOf(unit);
    const [chosen, told] = [lists.chosen?.[at], lists.told?.[at]];
    const found = search?.[this.choices.state.part];
    if (!find || chosen === undefined || told === undefined || !found)
      return [[`Unit ${unit}: from ${least} to ${most}`]];
    const { looked_at, layer, unit: best, shifted } = found;
    return [
      [`Unit ${unit} and ${find}: r ${signed(chosen)} where units were ranked, ${signed(told)} on the other half`],
      [
        `Best of ${looked_at} units: ${best} of layer ${layer} · best of ${shifted.count} shifted masks: r ${signed(shifted.best)}`,
      ],
    ];
  }

  private gateReading(): Reading | null {
    const { saturation, place } = this;
    if (!saturation) return null;
    if (!place) return { lines: [["Point at a square to read a unit’s gates; choose it to see the text"]], hint: true };
    const { layer, unit } = place;
    const gates = Object.entries(saturation[layer] ?? {}).map(
      ([gate, [left, right]]) => `${gate} gate below 0.1 at ${share(left[unit])}, above 0.9 at ${share(right[unit])}`,
    );
    return { lines: [[`Layer ${layer}, unit ${unit}: ${gates.join("; ")}`]] };
  }

  protected override get locked(): number | null {
    return this.choices.state.token;
  }

  protected override free(): boolean {
    const held = this.choices.state.token !== null;
    if (held) this.choices.choose({ token: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { shown, text, running, plot, host } = this;
    const { ink } = this;
    if (!this.isText) {
      return this.saturation ? { ...plot.size, draw: (pen) => plot.write(pen, host.scheme, ink) } : null;
    }
    if (!shown || !text) return null;
    const stripes = this.stripes(this.units(shown), this.depths());
    return running.sheet(stripes, text);
  }

  /** A row a unit that is kept. */
  protected table(): Table | null {
    const { shown } = this;
    if (!shown) return null;
    const { units, chosen, told } = shown.lists;
    const { find } = this.figure;
    const correlations = chosen && told ? [`r with ${find}, first half`, "second half"] : [];
    const columns = ["unit", ...correlations, "least", "most", "mean"];
    const rows = units.map((unit, at) => {
      const values = shown.values.row(at);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const found = chosen && told ? [chosen[at] as number, told[at] as number] : [];
      return [`unit ${unit}`, ...[...found, Math.min(...values), Math.max(...values), mean].map(signed)];
    });
    const caption = `Units of layer ${this.layer.layer}, ${noun(this.choices.state.part)}`;
    return largest({ caption, columns, rows }, chosen?.map(Math.abs) ?? [], "units that follow it best");
  }

  /** Returns the kept units of one part and layer (default: those shown), their correlations, and all values. */
  async values(request: { part?: string; layer?: number } = {}): Promise<object> {
    const { part = this.choices.state.part, layer = this.choices.state.layer } = request;
    const found = this.find(layer);
    if (!(part in found.parts)) throw new RangeError(`part ${part}: not of layer ${layer}`);
    const { lists, values } = await this.loaded("units", () => this.load(found, part));
    const tokens = await this.loaded("text", () => this.text);
    return { part, layer, tokens, ...lists, values: lists.units.map((_, at) => values.row(at)) };
  }
}

function unitOf(values: SignedBytes, row: number, unit: number, part: string): Unit {
  const [steps, scale] = [values.steps(row), values.scale(row)];
  if (BOUNDED.includes(part)) return { unit, steps, scale, most: 1 };
  const sizes = Uint8Array.from(steps, Math.abs).sort();
  const most = sizes[Math.floor((sizes.length - 1) * (1 - SATURATED))] || sizes.at(-1) || 1;
  return { unit, steps, scale, most: most * scale };
}

const share = (value = 0): string => `${(100 * value).toFixed(0)}%`;

/** Returns the place of a token as an editor says it: "line 3, column 12", counted from 1. */
function placeOf(tokens: readonly string[], token: number): string {
  const before = tokens.slice(0, token).join("");
  const start = before.lastIndexOf("\n") + 1;
  return `line ${before.split("\n").length}, column ${before.length - start + 1}`;
}
