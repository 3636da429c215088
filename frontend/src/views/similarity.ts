import { html, nothing, unsafeCSS } from "lit";
import type { Blob, Figure } from "../figure.js";
import { oneOf, PanelView, position } from "../panel-view.js";
import { choice } from "../parts/controls.js";
import { heatImage } from "../parts/heat.js";
import type { Sheet } from "../parts/svg.js";
import { accent, tint } from "../parts/tint.js";
import type { ViewHost } from "../view.js";
import { Scaled } from "../weights.js";
import css from "./similarity.css";

const MEASURES = ["cka", "cca", "svcca", "pwcca"] as const;
type Measure = (typeof MEASURES)[number];

interface Similar {
  /** The embeddings count as one. */
  layers: number;
  tokens: number;
  width: number;
  /** Scaled, (layers, layers): rows compared with columns. */
  measures: Record<Measure, Blob>;
}

interface SimilarityFigure extends Figure {
  similar: Record<string, Similar>;
  initial: SimilarityState;
}

interface SimilarityState {
  stack: string;
  measure: Measure;
  /** The cell that is held; the embeddings are 0. */
  row: number | null;
  col: number | null;
}

interface Cell {
  row: number;
  col: number;
}

const [SIZE, EDGE, LARGEST, WRITTEN] = [360, 40, 48, 30];
/** Of the full colour. */
const DEEPEST = 0.85;
const STEPS: Record<string, [number, number]> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

const label = (layer: number): string => (layer ? String(layer - 1) : "emb");
const called = (layer: number): string => (layer ? `layer ${layer - 1}` : "embeddings");

/** How alike the layers of a model hold the tokens of a text: a matrix of layers × layers. */
export class SimilarityView extends PanelView<SimilarityState, SimilarityFigure> {
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
    const { layers } = this.figure.similar[stack] as Similar;
    position("row", row, layers);
    position("col", col, layers);
  }

  private get similar(): Similar {
    return this.figure.similar[this.choices.state.stack] as Similar;
  }

  private get cell(): number {
    const { clientWidth } = this.grid.parentElement ?? this.host;
    const room = Math.min(SIZE, clientWidth || this.host.clientWidth) - EDGE;
    return Math.max(2, Math.min(LARGEST, Math.floor(room / this.similar.layers)));
  }

  private get locked(): Cell | null {
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
    const { tokens, width } = this.similar;
    const few = tokens <= width ? `; with so few, CCA is high whatever the layers (${width} dimensions) do` : "";
    return `Full colour: 1, alike · compared over ${tokens} tokens${few} · emb: the embeddings`;
  }

  protected body(): unknown {
    return this.grid;
  }

  private get shown(): number[][] | undefined {
    const { layers, measures } = this.similar;
    const blob = measures[this.choices.state.measure];
    const found = this.host.blob(blob, (bytes) => new Scaled(bytes, layers));
    return found && Array.from({ length: layers }, (_, row) => [...found.row(row)]);
  }

  protected draw(): boolean {
    const { shown: values, grid, canvas, outline, cell } = this;
    if (!values) return false;
    const all = { start: 0, end: values.length };
    const paint = (row: number, col: number) => 255 * DEEPEST * (values[row]?.[col] as number);
    const image = heatImage(accent(this.host.scheme), all, all, paint);
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext("2d")?.putImageData(image, 0, 0);
    this.drawn = cell;
    const side = cell * values.length;
    canvas.style.width = canvas.style.height = `${side}px`;
    grid.style.width = grid.style.height = `${EDGE + side}px`;
    grid.setAttribute("aria-label", `${this.where}, ${values.length} by ${values.length}; arrow keys read them`);
    grid.replaceChildren(canvas, ...this.texts(values), outline);
    this.mark();
    return true;
  }

  /** Labels, and in cells that have room for them the numbers. */
  private *texts(values: number[][]): Generator<HTMLElement> {
    const { cell } = this;
    const every = Math.ceil(16 / cell);
    const text = (said: string, x: number, y: number, color?: string) => {
      const element = document.createElement("span");
      element.setAttribute("aria-hidden", "true");
      element.textContent = said;
      element.className = color ? "" : "label";
      element.style.cssText = `left:${x - 20}px;top:${y - 7}px;color:${color ?? ""}`;
      return element;
    };
    for (let layer = 0; layer < values.length; layer += every) {
      const at = EDGE + (layer + 0.5) * cell;
      yield text(label(layer), EDGE / 2, at);
      if (layer % (every * Math.ceil(24 / (cell * every))) === 0) yield text(label(layer), at, 30);
    }
    if (cell < WRITTEN) return;
    for (const [row, line] of values.entries())
      for (const [col, value] of line.entries()) {
        const { ink } = tint(accent(this.host.scheme), DEEPEST * value, this.host.scheme);
        yield text(value.toFixed(2), EDGE + (col + 0.5) * cell, EDGE + (row + 0.5) * cell, ink || "inherit");
      }
  }

  private mark(): void {
    const found = this.pointed ?? this.locked;
    const { cell, outline } = this;
    outline.hidden = !found;
    if (!found) return;
    outline.style.cssText = `left:${EDGE + found.col * cell}px;top:${EDGE + found.row * cell}px;width:${cell}px;height:${cell}px`;
  }

  private at(event: MouseEvent): Cell | null {
    const { left, top } = this.grid.getBoundingClientRect();
    const [col, row] = [event.clientX - left, event.clientY - top].map((at) => Math.floor((at - EDGE) / this.cell));
    const inside = (index?: number) => index !== undefined && index >= 0 && index < this.similar.layers;
    return inside(row) && inside(col) ? { row: row as number, col: col as number } : null;
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
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = STEPS[event.key];
    const from = this.pointed ?? this.locked;
    const within = (index: number) => Math.min(Math.max(index, 0), this.similar.layers - 1);
    if (step)
      this.point(
        from ? { row: within(from.row + step[0]), col: within(from.col + step[1]) } : { row: 0, col: 0 },
        true,
      );
    else if (event.key === "Enter" || event.key === " ") this.toggle(this.pointed);
    else return;
    event.preventDefault();
  }

  protected reading(): unknown {
    const { shown: values } = this;
    const { measure } = this.choices.state;
    if (!values) return this.host.notice("similarities", [this.similar.measures[measure]]);
    const found = this.pointed ?? this.locked;
    if (!found) return html`<span class="detail pale">Point at a cell to read how alike two layers are</span>`;
    const value = values[found.row]?.[found.col]?.toFixed(3);
    return html`<span class="detail">${called(found.row)} and ${called(found.col)}: ${measure.toUpperCase()} ${value}</span>`;
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) this.choices.choose({ row: null, col: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { shown: values, cell } = this;
    if (!values) return null;
    const side = EDGE + cell * values.length;
    const color = accent(this.host.scheme);
    return {
      width: side,
      height: side,
      draw: (pen) => {
        for (const [row, line] of values.entries())
          for (const [col, value] of line.entries()) {
            pen.fillStyle = color;
            pen.globalAlpha = DEEPEST * value;
            pen.fillRect(EDGE + col * cell, EDGE + row * cell, cell, cell);
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

  /** Of `stack` and `measure`, or of what is shown: (layers, layers), rows compared with columns, embeddings first. */
  async values(request: Partial<SimilarityState>): Promise<object> {
    const { stack, measure } = { ...this.choices.state, ...request };
    this.check({ stack, measure, row: null, col: null });
    const { layers, measures } = this.figure.similar[stack] as Similar;
    const decode = (bytes: Uint8Array) => new Scaled(bytes, layers);
    const found = await this.loaded("similarities", () => this.host.blob(measures[measure], decode));
    const names = Array.from({ length: layers }, (_, layer) => label(layer));
    return { stack, measure, layers: names, values: names.map((_, row) => [...found.row(row)]) };
  }
}
