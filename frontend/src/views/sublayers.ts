import { nothing, type TemplateResult, unsafeCSS } from "lit";
import {
  BOX,
  type Box,
  barOf,
  type Change,
  DOTS,
  type Layout,
  layoutOf,
  SCALE,
  scaleOf,
  spanOf,
} from "../charts/strips.js";
import type { Sheet, SvgPen } from "../charts/svg.js";
import { accent, ground, signedColor } from "../charts/tint.js";
import { choice } from "../controls/choice.js";
import { walkByKey, within } from "../controls/keyboard.js";
import { PanelView } from "../controls/panel-view.js";
import { hint, type Part, type Reading } from "../controls/reading.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure } from "../element/figure.js";
import type { StripData, SublayerData, SublayersFigure, SublayersState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { headColor, neutral } from "../lib/palette.js";
import css from "./sublayers.css";

const CALLED: Record<SublayerData["kind"], string> = {
  s: "self-attention",
  f: "feed-forward",
  c: "cross-attention",
  m: "state space or recurrent",
  e: "mixture of experts",
  o: "something else",
};
/** The number of each kind's colour among those of heads; any other kind is grey. */
const COLORS: Partial<Record<SublayerData["kind"], number>> = { s: 0, f: 1, c: 2, m: 3, e: 4 };
/** The share of a kind's colour that fills its boxes: letters on it can be read. */
const FILL = 0.22;
const DOT = 4;

const CHANGES = ["zero", "swap"] as const;
const CHANGE_NAMES = { zero: "left out", swap: "exchanged with the next" };

const short = (value: number): string => String(Number(value.toPrecision(4)));
/** Three digits, with a sign that is as long as the digits. */
const signed = (value: number): string => {
  const text = value && Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  return `${value > 0 ? "+" : ""}${text}`.replace(/-/g, "−");
};
const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** A model as a strip of its sublayers in running order, with what the loss becomes without each of them. */
export default class SublayersView extends PanelView<SublayersState, SublayersFigure> {
  static readonly styles = unsafeCSS(css);

  private readonly strips = document.createElement("div");
  private readonly count: number;
  private layout: Layout | null = null;
  private pointed: number | null = null;
  private drawn = "";

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as SublayersFigure, (figure as SublayersFigure).initial);
    this.count = this.figure.strips.flatMap(({ units }) => units.flatMap(({ sublayers }) => sublayers)).length;
    const { strips } = this;
    strips.className = "strips";
    strips.tabIndex = 0;
    strips.setAttribute("role", "application");
    strips.setAttribute("aria-roledescription", "strip of sublayers");
    strips.addEventListener("pointerover", (event) => this.point(indexAt(event)));
    strips.addEventListener("pointerleave", () => this.point(null));
    strips.addEventListener("click", (event) => this.toggle(indexAt(event)));
    strips.addEventListener("keydown", (event) => this.key(event));
    strips.addEventListener("blur", () => this.point(null));
  }

  protected override resized(): void {
    super.resized();
    if (this.drawn && this.drawn !== this.drawing) this.host.requestUpdate();
  }

  protected check({ selected, change }: SublayersState): void {
    position("selected", selected, this.count);
    oneOf("change", change, CHANGES);
  }

  private get change(): Change {
    const { change } = this.choices.state;
    return this.figure.changes.includes(change) ? change : null;
  }

  /** The values that a drawing depends on. */
  private get drawing(): string {
    return [this.room, this.change, this.host.scheme.dark, this.host.scheme.background].join();
  }

  private get room(): number {
    const { clientWidth } = this.strips.parentElement ?? this.host.element;
    return Math.max(160, (clientWidth || this.host.element.clientWidth) - 2);
  }

  protected override get locked(): number | null {
    return this.choices.state.selected;
  }

  protected get where(): string {
    return "Sublayers in running order";
  }

  protected override get how(): string[] {
    return this.change ? [`change of the loss, each ${CHANGE_NAMES[this.change]}`] : [];
  }

  protected override controls(): unknown {
    const { changes } = this.figure;
    if (changes.length < 2) return nothing;
    const options = changes.map((change) => [change, CHANGE_NAMES[change]] as const);
    return choice("Δ loss", this.choices.state.change, options, (change) => this.choices.choose({ change }));
  }

  protected legend(): string {
    const kinds = new Set(this.sublayers.map(({ kind }) => kind));
    const letters = (Object.keys(CALLED) as SublayerData["kind"][]).filter((kind) => kinds.has(kind));
    const { change } = this;
    const bar = change ? [`bar: Δ loss in nats a token, ${CHANGE_NAMES[change]}`] : [];
    const dot = this.scale ? [`dot: a run, stroke: their mean`] : [];
    return [...letters.map((kind) => `${kind}: ${CALLED[kind]}`), ...bar, ...dot].join(" · ");
  }

  protected override notes(): string {
    const { symbolic, notes, loss } = this.figure;
    const width = symbolic
      ? "width: parameters as a multiple of d² (s, c 4; f 8; m 6, as Mamba; e 8, one expert)"
      : "width: parameters; the narrowest boxes are wider than their share";
    const whole = loss
      ? [
          `loss of the whole model: ${short(loss.value)} nats a token over ${loss.tokens} tokens${loss.texts ? ` of ${loss.texts} texts` : ""}`,
        ]
      : [];
    return [width, ...whole, ...notes].join(" · ");
  }

  protected body(): unknown {
    return this.strips;
  }

  private get sublayers(): SublayerData[] {
    return this.figure.strips.flatMap(({ units }) => units.flatMap(({ sublayers }) => sublayers));
  }

  private get scale(): [number, number] | null {
    return scaleOf(this.figure.strips);
  }

  private get shown(): Layout {
    return layoutOf(this.figure.strips, this.room, this.change);
  }

  protected draw(): boolean {
    const { strips, figure } = this;
    if (this.drawn !== this.drawing) {
      this.drawn = this.drawing;
      this.layout = this.shown;
      const { layout } = this;
      strips.style.cssText = `width:${layout.width}px;height:${layout.height}px`;
      strips.replaceChildren(...this.elements(layout));
    }
    const several = figure.strips.length > 1 ? ` in ${figure.strips.length} strips` : "";
    strips.setAttribute("aria-label", `${this.where}: ${this.count}${several}; arrow keys read them`);
    this.mark();
    return true;
  }

  private *elements(layout: Layout): Generator<HTMLElement> {
    const span = spanOf(layout.boxes);
    const { scheme } = this.host;
    for (const { text, x, y, pale } of layout.texts)
      yield put(pale ? "number pale" : "name", { left: x, top: y }, { text });
    for (const { index, sublayer, x, y, width, change } of layout.boxes) {
      const line = this.color(sublayer);
      const fill = ground(line, FILL, scheme);
      yield put("box", { left: x, top: y, width }, { text: sublayer.kind, fill, line, index });
      if (!change) continue;
      const { top, height } = barOf(change.value, span);
      const { top: zero } = barOf(0, span);
      yield put("zero", { left: x, top: y + zero + 1, width: Math.max(width, change.x + change.width - x) }, {});
      const at = { left: change.x, top: y + top, width: change.width, height };
      yield put("bar", at, { fill: signedColor(change.value, scheme) });
    }
    yield* this.dots(layout);
  }

  private *dots({ dots, width, height }: Layout): Generator<HTMLElement> {
    const { scale } = this;
    if (!scale) return;
    for (const { strip, y } of dots) {
      const losses = this.figure.strips[strip]?.losses ?? [];
      const middle = y + DOTS / 2 - 8;
      yield put("zero", { left: 0, top: middle, width }, {});
      for (const loss of losses)
        yield put(
          "dot",
          { left: along(loss, scale, width) - DOT, top: middle - DOT },
          { fill: accent(this.host.scheme) },
        );
      yield put("mean", { left: along(mean(losses), scale, width) - 1, top: middle - 8 }, {});
    }
    const top = height - SCALE;
    const [low, high] = scale.map(short) as [string, string];
    const label = this.figure.loss_label;
    yield put("pale", { left: 0, top, width }, { text: low });
    yield put("pale label", { left: 0, top: top + 16, width }, { text: label });
    const end = put("pale", { left: 0, top, width }, { text: high });
    end.style.textAlign = "right";
    yield end;
  }

  private color({ kind }: SublayerData): string {
    const { dark } = this.host.scheme;
    const number = COLORS[kind];
    return number === undefined ? neutral(dark) : headColor(number, dark);
  }

  private mark(): void {
    const chosen = this.pointed ?? this.locked;
    for (const box of this.strips.querySelectorAll<HTMLElement>(".box"))
      box.classList.toggle("on", Number(box.dataset.index) === chosen);
  }

  private point(index: number | null, announce = false): void {
    if (index === this.pointed) return;
    this.pointed = index;
    this.mark();
    this.tell(announce);
  }

  private toggle(index: number | null): void {
    if (index !== null) this.choices.choose({ selected: index === this.locked ? null : index });
  }

  private key(event: KeyboardEvent): void {
    walkByKey(
      event,
      (down, right) => this.point(this.stepped(down, right), true),
      () => this.toggle(this.pointed),
    );
  }

  /** The sublayer that a step leads to: along its strip, or at the same place of another strip. */
  private stepped(down: number, right: number): number | null {
    const boxes = this.layout?.boxes ?? [];
    const from = boxes[this.pointed ?? this.locked ?? -1];
    if (!from) return 0;
    const strip = within(from.strip + down, { start: 0, end: this.figure.strips.length });
    const first = boxes.findIndex((box) => box.strip === strip);
    const own = boxes.findIndex((box) => box.strip === from.strip);
    const end = first + boxes.filter((box) => box.strip === strip).length;
    return within(first + from.index - own + right, { start: first, end });
  }

  protected notice(): TemplateResult {
    return this.host.notice("sublayers", []);
  }

  protected reading(): Reading {
    const box = this.layout?.boxes[this.pointed ?? this.locked ?? -1];
    if (!box)
      return { lines: [hint(`a sublayer to read its parameters${this.change ? " and Δ loss" : ""}`)], hint: true };
    return { lines: this.lines(box).map((line): Part[] => [line]) };
  }

  private lines({ sublayer, strip, unit }: Box): string[] {
    const { symbolic, strips } = this.figure;
    const its = strips[strip] as StripData;
    const { kind, layer, names, parameters, shared, zero } = sublayer;
    const where = [layer === null ? "" : `layer ${layer}`, its.name].filter(Boolean).join(", ");
    const size = symbolic ? `${parameters}d² parameters` : `${parameters.toLocaleString("en")} parameters`;
    const first = `${capital(CALLED[kind])}${where ? `, ${where}` : ""}: ${size}, ${this.share(sublayer)} of ${
      strips.length > 1 ? "its strip" : "all sublayers"
    }${shared ? "; its weights are also those of an earlier sublayer" : ""}`;
    const beside = its.units[unit]?.sublayers.filter((other) => other !== sublayer) ?? [];
    const parallel = beside.length
      ? `Side by side with ${beside.map((other) => CALLED[other.kind]).join(" and ")}`
      : "";
    const out = zero === undefined ? "" : `Left out: Δ loss ${signed(zero)} nats a token`;
    return [
      first,
      names.length ? `In the model: ${names.join(", ")}` : "",
      parallel,
      out,
      this.exchange(its, unit),
      runs(its),
    ].filter(Boolean);
  }

  private exchange({ units }: StripData, unit: number): string {
    const swap = units[unit]?.swap;
    if (swap === undefined || unit === units.length - 1) return "";
    return swap === null
      ? "It cannot change places with the next"
      : `Exchanged with the next: Δ loss ${signed(swap)} nats a token`;
  }

  private share(sublayer: SublayerData): string {
    const its = this.figure.strips.find(({ units }) => units.some(({ sublayers }) => sublayers.includes(sublayer)));
    const all = its?.units.flatMap(({ sublayers }) => sublayers) ?? [];
    const total = all.reduce((sum, { parameters }) => sum + parameters, 0);
    return `${((100 * sublayer.parameters) / (total || 1)).toPrecision(2)}%`;
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) this.choices.choose({ selected: null });
    return held;
  }

  protected sheet(): Sheet {
    const layout = this.shown;
    return { width: layout.width, height: layout.height, draw: (pen) => this.write(pen, layout) };
  }

  private write(pen: SvgPen, layout: Layout): void {
    const { scheme } = this.host;
    const span = spanOf(layout.boxes);
    for (const { text, x, y } of layout.texts) pen.text(text, x, y + 12, { size: 12 });
    for (const { sublayer, x, y, width, change } of layout.boxes) {
      const color = this.color(sublayer);
      pen.fillStyle = color;
      pen.fillRect(x, y, width, BOX);
      pen.fillStyle = ground(color, FILL, scheme);
      pen.fillRect(x + 1, y + 1, width - 2, BOX - 2);
      pen.text(sublayer.kind, x + width / 2, y + 17, { anchor: "middle", size: 12 });
      if (!change) continue;
      const { top, height } = barOf(change.value, span);
      pen.fillStyle = signedColor(change.value, scheme);
      pen.fillRect(change.x, y + top, change.width, height);
    }
    const { scale } = this;
    if (!scale) return;
    for (const { strip, y } of layout.dots) {
      const losses = this.figure.strips[strip]?.losses ?? [];
      pen.fillStyle = accent(scheme);
      for (const loss of losses)
        pen.fillRect(along(loss, scale, layout.width) - DOT / 2, y + DOTS / 2 - 8 - DOT, DOT, 2 * DOT);
      pen.fillStyle = neutral(scheme.dark);
      pen.fillRect(along(mean(losses), scale, layout.width) - 1, y + DOTS / 2 - 16, 2, 16);
    }
    const y = layout.height - SCALE + 13;
    const [low, high] = scale.map(short) as [string, string];
    pen.text(low, 0, y, { size: 12 });
    pen.text(this.figure.loss_label, layout.width / 2, y + 16, { anchor: "middle", size: 12 });
    pen.text(high, layout.width, y, { anchor: "end", size: 12 });
  }

  protected table(): Table {
    const { strips, changes, symbolic } = this.figure;
    const zero = changes.includes("zero") ? ["Δ loss, left out"] : [];
    const swap = changes.includes("swap") ? ["Δ loss, exchanged with the next"] : [];
    const columns = ["", symbolic ? "parameters / d²" : "parameters", "share", ...zero, ...swap, "in the model"];
    const rows = strips.flatMap(({ name, units }) =>
      units.flatMap(({ sublayers, swap: exchanged }, number) =>
        sublayers.map((sublayer) => [
          [name, CALLED[sublayer.kind], sublayer.layer === null ? "" : `layer ${sublayer.layer}`]
            .filter(Boolean)
            .join(", "),
          sublayer.parameters.toLocaleString("en"),
          this.share(sublayer),
          ...zero.map(() => (sublayer.zero === undefined ? "" : signed(sublayer.zero))),
          ...swap.map(() => (typeof exchanged === "number" && number < units.length - 1 ? signed(exchanged) : "")),
          sublayer.names.join(", "),
        ]),
      ),
    );
    const sizes = this.sublayers.map(({ parameters, zero = parameters }) => Math.abs(zero));
    return largest({ caption: [this.where, ...this.runLines()].join("; "), columns, rows }, sizes, "largest sublayers");
  }

  private runLines(): string[] {
    return this.figure.strips.flatMap((strip) => (strip.losses ? [`${strip.name}: ${runs(strip)}`] : []));
  }

  /** Returns all strips with their numbers, and the loss of the whole model. */
  async values(): Promise<object> {
    const { strips, loss, symbolic } = this.figure;
    return structuredClone({ strips, loss, unit: symbolic ? "d²" : "parameters" });
  }
}

/** Returns the author's losses of the runs with a strip's order, in words. */
function runs({ losses }: StripData): string {
  if (!losses) return "";
  const spread = losses.length > 1 ? `, from ${short(Math.min(...losses))} to ${short(Math.max(...losses))}` : "";
  return `${losses.length} run${losses.length > 1 ? "s" : ""}: mean ${short(mean(losses))}${spread}`;
}

const along = (loss: number, [low, high]: [number, number], width: number): number =>
  (width * (loss - low)) / (high - low);

function indexAt(event: Event): number | null {
  const { index } = (event.target as HTMLElement).dataset ?? {};
  return index === undefined ? null : Number(index);
}

interface Inside {
  text?: string;
  fill?: string;
  line?: string;
  index?: number;
}

/** Return an element at a place, in px. */
function put(name: string, place: Record<string, number>, { text, fill, line, index }: Inside): HTMLElement {
  const element = Object.assign(document.createElement("div"), { className: name, textContent: text ?? "" });
  element.setAttribute("aria-hidden", "true");
  if (index !== undefined) element.dataset.index = String(index);
  for (const [side, at] of Object.entries(place)) element.style.setProperty(side, `${at}px`);
  if (fill) element.style.setProperty("--fill", fill);
  if (line) element.style.setProperty("--line", line);
  return element;
}
