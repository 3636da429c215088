import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import { heatImage } from "../charts/heat.js";
import type { Sheet } from "../charts/svg.js";
import { accent, DEEPEST, ground, tint } from "../charts/tint.js";
import { choice } from "../controls/choice.js";
import { stepped, walkByKey } from "../controls/keyboard.js";
import { type Ramp, ramp } from "../controls/legend.js";
import { PanelView } from "../controls/panel-view.js";
import { hint, type Reading } from "../controls/reading.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure } from "../element/figure.js";
import type { Similar, SimilarityFigure, SimilarityState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import type { Range } from "../lib/geometry.js";
import { Scaled } from "../lib/packed.js";
import css from "./similarity.css";

const MEASURES = ["cka", "cca", "svcca", "pwcca"] as const;

interface Cell {
  row: number;
  col: number;
}

const [SIZE, EDGE, LARGEST, WRITTEN, LINE, NAMES] = [360, 40, 48, 30, 18, 24];
/** The share of the full colour that the least similar layers have. */
const PALEST = 0.06;
/** Values that differ by less are not spread over all colours, and this is said. */
const NARROW = 0.05;
const label = (layer: number): string => (layer ? String(layer - 1) : "emb");
const shape = ({ layers, columns = layers }: Similar): [number, number] => [layers, columns];
const called = (layer: number): string => (layer ? `layer ${layer - 1}` : "embeddings");

/** The values of the palest and the deepest colour, and the range of the values if it is narrow. */
interface Span {
  low: number;
  high: number;
  narrow: [number, number] | null;
}

/** Return the range of the colours. The diagonal counts only between two models: within one, each layer is like itself. */
function spanOf(values: number[][], isOfOne: boolean): Span {
  const counted = values.flatMap((line, row) => line.filter((_, col) => !isOfOne || row !== col));
  if (counted.length < 3) return { low: 0, high: 1, narrow: null };
  const [low, high] = [Math.min(...counted), Math.max(...counted)];
  return high - low < NARROW ? { low: high - NARROW, high, narrow: [low, high] } : { low, high, narrow: null };
}

const depth = ({ low, high }: Span, value: number): number =>
  PALEST + (DEEPEST - PALEST) * Math.min(1, Math.max(0, (value - low) / (high - low)));

/** The values' own range in words, where it is narrow. */
function narrowText({ narrow }: Span): string {
  const [least, most] = (narrow ?? []).map((value) => value.toFixed(3));
  return narrow ? `narrow range: ${least === most ? `all ${most}` : `${least} to ${most}`} · ` : "";
}

/** The similarity of layers' representations of a text, as a matrix: of one model, or of two, in rows and columns. */
export default class SimilarityView extends PanelView<SimilarityState, SimilarityFigure> {
  static readonly styles = unsafeCSS(css);

  private readonly grid = document.createElement("div");
  private readonly canvas = document.createElement("canvas");
  private readonly outline = Object.assign(document.createElement("div"), { className: "outline" });
  private pointed: Cell | null = null;
  private drawn = 0;

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as SimilarityFigure, (figure as SimilarityFigure).initial);
    const { grid } = this;
    grid.className = "similar";
    grid.tabIndex = 0;
    grid.setAttribute("role", "application");
    grid.setAttribute("aria-roledescription", "heat map");
    this.canvas.setAttribute("aria-hidden", "true");
    grid.addEventListener("pointermove", (event) => this.point(this.at(event)));
    grid.addEventListener("pointerleave", () => this.point(null));
    grid.addEventListener("click", (event) => this.toggle(this.at(event)));
    grid.addEventListener("keydown", (event) => this.key(event));
    grid.addEventListener("blur", () => this.point(null));
  }

  protected override resized(): void {
    super.resized();
    if (this.drawn && this.drawn !== this.cell) this.host.requestUpdate();
  }

  protected check({ stack, measure, row, col }: SimilarityState): void {
    oneOf("stack", stack, Object.keys(this.figure.similar));
    oneOf("measure", measure, MEASURES);
    const [rows, cols] = shape(this.figure.similar[stack] as Similar);
    position("row", row, rows);
    position("col", col, cols);
  }

  private get similar(): Similar {
    return this.figure.similar[this.choices.state.stack] as Similar;
  }

  private get cell(): number {
    const { clientWidth } = this.grid.parentElement ?? this.host.element;
    const room = Math.min(SIZE, clientWidth || this.host.element.clientWidth) - EDGE;
    return Math.max(2, Math.min(LARGEST, Math.floor(room / Math.max(...shape(this.similar)))));
  }

  /** The corner at which cells begin: below the labels, and the names of two models. */
  private get top(): number {
    return EDGE + (this.headings.length && NAMES);
  }

  private get headings(): string[] {
    const { models } = this.figure;
    return models ? [`rows: ${models[0]}`, `columns: ${models[1]}`] : [];
  }

  protected override get locked(): Cell | null {
    const { row, col } = this.choices.state;
    return row === null || col === null ? null : { row, col };
  }

  protected get where(): string {
    const { stack, measure } = this.choices.state;
    const several = Object.keys(this.figure.similar).length > 1;
    return `${measure.toUpperCase()} of layers${several ? ` of the ${stack}` : ""}`;
  }

  protected override controls(): unknown {
    const { stack, measure } = this.choices.state;
    const stacks = Object.keys(this.figure.similar);
    const free = { row: null, col: null };
    return html`${
      stacks.length > 1
        ? choice(
            "Layers of",
            stack,
            stacks.map((name) => [name, name] as const),
            (stack) => this.choices.choose({ stack, ...free }),
          )
        : nothing
    }${choice(
      "Measure",
      measure,
      MEASURES.map((name) => [name, name.toUpperCase()] as const),
      (measure) => this.choices.choose({ measure }),
    )}`;
  }

  protected legend(): string {
    return `${this.span ? narrowText(this.span) : ""}Similarity · emb: the embeddings`;
  }

  protected override ramp(): Ramp | null {
    const { span } = this;
    const { scheme } = this.host;
    if (!span) return null;
    const color = (share: number) => ground(accent(scheme), PALEST + (DEEPEST - PALEST) * share, scheme);
    return ramp([span.low.toFixed(2), span.high.toFixed(2)], color);
  }

  protected override notes(): string {
    const { tokens, width, other_width = 0, unit = "tokens" } = this.similar;
    const most = Math.max(width, other_width);
    const few = tokens <= most ? `; with so few, CCA is high whatever the layers (${most} dimensions) do` : "";
    const whose = this.headings.map((heading) => ` · ${heading}`).join("");
    const self = this.figure.models ? "" : " · each layer with itself: always 1, not on the scale";
    return `Compared over ${tokens} ${unit}${few}${self}${whose}`;
  }

  protected body(): unknown {
    return this.grid;
  }

  private get span(): Span | undefined {
    return this.shown && spanOf(this.shown, !this.figure.models);
  }

  private get shown(): number[][] | undefined {
    const { layers, measures } = this.similar;
    const blob = measures[this.choices.state.measure];
    const found = this.host.blob(blob, (bytes) => new Scaled(bytes, layers));
    return found && Array.from({ length: layers }, (_, row) => [...found.row(row)]);
  }

  protected draw(): boolean {
    const { shown: values, grid, canvas, outline, cell, top } = this;
    if (!values) return false;
    const [rows, cols] = shape(this.similar);
    const span = spanOf(values, !this.figure.models);
    const paint = (row: number, col: number) => 255 * depth(span, values[row]?.[col] as number);
    const image = heatImage(accent(this.host.scheme), { start: 0, end: rows }, { start: 0, end: cols }, paint);
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext("2d")?.putImageData(image, 0, 0);
    this.drawn = cell;
    canvas.style.cssText = `top:${top}px;width:${cell * cols}px;height:${cell * rows}px`;
    grid.style.cssText = `width:${EDGE + cell * cols}px;height:${top + cell * rows}px`;
    const [one, other] = this.figure.models ?? [];
    const size = one ? `${rows} of ${one} by ${cols} of ${other}` : `${rows} by ${cols}`;
    grid.setAttribute("aria-label", `${this.where}, ${size}; arrow keys read them`);
    grid.replaceChildren(canvas, ...this.names(), ...this.texts(values), outline);
    this.mark();
    return true;
  }

  /** Whose layers rows and columns are; names may be wider than the cells, not than the figure. */
  private names(): HTMLElement[] {
    return this.headings.map((heading, line) => {
      const element = Object.assign(document.createElement("div"), { className: "model", textContent: heading });
      element.setAttribute("aria-hidden", "true");
      element.title = heading;
      element.style.cssText = `top:${line * LINE}px;max-width:${Math.min(SIZE, this.host.element.clientWidth)}px`;
      return element;
    });
  }

  /** Labels, and in cells that have room for them the numbers. */
  private *texts(values: number[][]): Generator<HTMLElement> {
    const { cell, top } = this;
    const [rows, cols] = shape(this.similar);
    const every = Math.ceil(16 / cell);
    const text = (said: string, x: number, y: number, color?: string) => {
      const element = document.createElement("span");
      element.setAttribute("aria-hidden", "true");
      element.textContent = said;
      element.className = color ? "" : "label";
      element.style.cssText = `left:${x - 20}px;top:${y - 7}px;color:${color ?? ""}`;
      return element;
    };
    for (let layer = 0; layer < rows; layer += every) yield text(label(layer), EDGE / 2, top + (layer + 0.5) * cell);
    for (let layer = 0; layer < cols; layer += every * Math.ceil(24 / (cell * every)))
      yield text(label(layer), EDGE + (layer + 0.5) * cell, top - 10);
    if (cell < WRITTEN) return;
    const span = spanOf(values, !this.figure.models);
    for (const [row, line] of values.entries())
      for (const [col, value] of line.entries()) {
        const { ink } = tint(accent(this.host.scheme), depth(span, value), this.host.scheme);
        yield text(value.toFixed(2), EDGE + (col + 0.5) * cell, top + (row + 0.5) * cell, ink || "inherit");
      }
  }

  private mark(): void {
    const found = this.pointed ?? this.locked;
    const { cell, outline, top } = this;
    outline.hidden = !found;
    if (!found) return;
    outline.style.cssText = `left:${EDGE + found.col * cell}px;top:${top + found.row * cell}px;width:${cell}px;height:${cell}px`;
  }

  private at(event: MouseEvent): Cell | null {
    const { left, top } = this.grid.getBoundingClientRect();
    const [rows, cols] = shape(this.similar);
    const col = Math.floor((event.clientX - left - EDGE) / this.cell);
    const row = Math.floor((event.clientY - top - this.top) / this.cell);
    return row >= 0 && row < rows && col >= 0 && col < cols ? { row, col } : null;
  }

  private point(cell: Cell | null, announce = false): void {
    if (cell?.row === this.pointed?.row && cell?.col === this.pointed?.col) return;
    this.pointed = cell;
    this.mark();
    this.tell(announce);
  }

  private toggle(cell: Cell | null): void {
    if (!cell) return;
    const { locked } = this;
    const same = locked?.row === cell.row && locked.col === cell.col;
    this.choices.choose(same ? { row: null, col: null } : { ...cell });
  }

  private key(event: KeyboardEvent): void {
    const from = this.pointed ?? this.locked;
    const [rows, cols] = shape(this.similar).map((end) => ({ start: 0, end })) as [Range, Range];
    walkByKey(
      event,
      (down, right) => this.point(from ? stepped(from, down, right, rows, cols) : { row: 0, col: 0 }, true),
      () => this.toggle(this.pointed),
    );
  }

  protected notice(): TemplateResult {
    return this.host.notice("similarities", [this.similar.measures[this.choices.state.measure]]);
  }

  protected reading(): Reading | null {
    const { shown: values } = this;
    if (!values) return null;
    const found = this.pointed ?? this.locked;
    if (!found) return { lines: [hint("a cell to read how alike two layers are")], hint: true };
    const value = values[found.row]?.[found.col]?.toFixed(3);
    const [one = "", other = ""] = (this.figure.models ?? []).map((name) => ` of ${name}`);
    const measure = this.choices.state.measure.toUpperCase();
    return { lines: [[`${called(found.row)}${one} and ${called(found.col)}${other}: ${measure} ${value}`]] };
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) this.choices.choose({ row: null, col: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { shown: values, cell, top, headings } = this;
    if (!values) return null;
    const [rows, cols] = shape(this.similar);
    const color = accent(this.host.scheme);
    const span = spanOf(values, !this.figure.models);
    return {
      width: Math.max(EDGE + cell * cols, ...headings.map(({ length }) => 7 * length)),
      height: top + cell * rows,
      draw: (pen) => {
        for (const [line, heading] of headings.entries()) pen.text(heading, 0, line * LINE + 13, { size: 12 });
        for (const [row, line] of values.entries())
          for (const [col, value] of line.entries()) {
            pen.fillStyle = color;
            pen.globalAlpha = depth(span, value);
            pen.fillRect(EDGE + col * cell, top + row * cell, cell, cell);
          }
        pen.globalAlpha = 1;
        for (const text of this.texts(values)) {
          const [x, y] = [text.style.left, text.style.top].map((at) => Number.parseFloat(at)) as [number, number];
          const ink = text.style.color;
          pen.text(text.textContent ?? "", x + 20, y + 11, {
            anchor: "middle",
            size: 12,
            ...(ink && ink !== "inherit" ? { color: ink } : {}),
          });
        }
      },
    };
  }

  protected table(): Table | null {
    const { shown: values, headings, where } = this;
    if (!values) return null;
    const columns = ["", ...(values[0] ?? []).map((_, layer) => called(layer))];
    const rows = values.map((row, layer) => [called(layer), ...row.map((value) => value.toFixed(3))]);
    const sizes = values.map((row) => row.reduce((sum, value) => sum + value, 0));
    return largest({ caption: [where, ...headings].join(", "), columns, rows }, sizes, "most similar rows");
  }

  /**
   * Returns the values of `stack` and `measure`, by default of those shown: rows compared with columns, embeddings
   * first. The columns are the rows' layers, or with `models` the other's.
   */
  async values(request: Partial<SimilarityState>): Promise<object> {
    const { stack, measure } = { ...this.choices.state, ...request };
    this.check({ stack, measure, row: null, col: null });
    const similar = this.figure.similar[stack] as Similar;
    const { layers, measures } = similar;
    const decode = (bytes: Uint8Array) => new Scaled(bytes, layers);
    const found = await this.loaded("similarities", () => this.host.blob(measures[measure], decode));
    const [rows, cols] = shape(similar).map((length) => Array.from({ length }, (_, layer) => label(layer)));
    const { models } = this.figure;
    const other = models ? { models: [...models], columns: cols } : {};
    return { stack, measure, layers: rows, ...other, values: rows?.map((_, row) => [...found.row(row)]) };
  }
}
