import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import { STACKS } from "../attention/figure.js";
import { layerKey } from "../attention/layer-key.js";
import { Mask } from "../attention/mask-runs.js";
import { Layer } from "../attention/weights.js";
import { type Heat, heatImage, heatPicture, toCanvas } from "../charts/heat.js";
import { HeatMap, type MatrixCell } from "../charts/heat-map.js";
import type { Sheet, SvgPen } from "../charts/svg.js";
import { accent } from "../charts/tint.js";
import { choice } from "../controls/choice.js";
import { PanelView } from "../controls/panel-view.js";
import { hint, named, type Part, type Reading } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure, Sequence } from "../element/figure.js";
import type { MaskData, MaskFigure, MaskStackData, MaskState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { memo } from "../lib/memo.js";
import { plainText } from "../lib/token.js";
import css from "./mask.css";
import matrix from "./matrix.css";

/** Controls, strip, legend and read-out, in px; as in `views/mask.py`. */
const AROUND = 132 + 24;
/** The weight that the full colour would stand for: allowed pairs, which count as 1, are paler. */
const SCALE = { most: 1.6, exceeded: false };
/** The number of groups of layers up to which they are all named below the map. */
const FEW = 3;
/** Cells of a layer's small map. */
const PARTS = 14;

/** Allowed pairs in the form of weights: a heat map draws them, and writes no numbers. */
class Pairs extends Layer {
  constructor({ runs, rows, cols }: Mask) {
    super(new Uint8Array(rows * cols), 1, cols, rows);
    for (const [row, edges] of runs.entries())
      for (let i = 0; i < edges.length; i += 2)
        for (let col = edges[i] as number; col < (edges[i + 1] as number); col++) this.plane(0)[col * rows + row] = 255;
  }

  override weight(): number {
    return 0;
  }
}

/** The view of the pairs that may attend: a strip of the layers, and the map of one of them. */
export default class MaskView extends PanelView<MaskState, MaskFigure> {
  static readonly styles = [unsafeCSS(matrix), unsafeCSS(css)];

  private readonly map = new HeatMap(
    { point: (announce) => this.tell(announce), toggle: (cell) => this.toggle(cell) },
    () => this.host.requestUpdate(),
  );
  private readonly pairs = memo((mask: Mask) => new Pairs(mask));
  private readonly pictures = memo((color: string, ...masks: (Mask | undefined)[]) =>
    masks.map((mask) => mask && small(mask, color)),
  );

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as MaskFigure, (figure as MaskFigure).initial);
    this.map.connect();
  }

  override hostConnected(): void {
    super.hostConnected();
    this.map?.connect(); // the base connects before this class has its parts
  }

  override hostDisconnected(): void {
    super.hostDisconnected();
    this.map.disconnect();
  }

  protected check({ stack, layer, row, col }: MaskState): void {
    oneOf("stack", stack, Object.keys(this.figure.masks));
    const { layers, rows, cols } = this.figure.masks[stack] as MaskStackData;
    oneOf(
      "layer",
      layer,
      layers.map(({ layer }) => layer),
    );
    position("row", row, this.sequence(rows).tokens.length);
    position("col", col, this.sequence(cols).tokens.length);
  }

  private sequence(name: string): Sequence {
    return this.figure.sequences[name] as Sequence;
  }

  private get stack(): MaskStackData {
    return this.figure.masks[this.choices.state.stack] as MaskStackData;
  }

  private get rows(): Sequence {
    return this.sequence(this.stack.rows);
  }

  private get cols(): Sequence {
    return this.sequence(this.stack.cols);
  }

  /** The shown layer, and its mask. */
  private get shown(): { layer: MaskStackData["layers"][number]; data: MaskData; mask: Mask | undefined } {
    const { layers, masks } = this.stack;
    const layer = layers.find(({ layer }) => layer === this.choices.state.layer) as MaskStackData["layers"][number];
    const data = masks[layer.mask] as MaskData;
    return { layer, data, mask: this.mask(data) };
  }

  private mask(data: MaskData): Mask | undefined {
    const [rows, cols] = [this.rows.tokens.length, this.cols.tokens.length];
    return this.host.blob(data, (bytes) => new Mask(bytes, rows, cols));
  }

  protected override get locked(): MatrixCell | null {
    const { row, col } = this.choices.state;
    return row === null || col === null ? null : { row, col };
  }

  protected get where(): string {
    const { stack, layer } = this.choices.state;
    const several = Object.keys(this.figure.masks).length > 1;
    return `Mask of layer ${layer}${several ? ` (${STACKS[stack] ?? stack})` : ""}: ${this.shown.data.words}`;
  }

  protected override controls(): unknown {
    const { stack, layer } = this.choices.state;
    const stacks = Object.keys(this.figure.masks);
    const { layers, masks } = this.stack;
    const free = { row: null, col: null };
    const first = (name: string) => (this.figure.masks[name] as MaskStackData).layers[0]?.layer ?? 0;
    return [
      stacks.length > 1
        ? choice(
            "Attention",
            stack,
            stacks.map((name) => [name, STACKS[name] ?? name] as const),
            (stack) => this.choices.choose({ stack, layer: first(stack), ...free }),
          )
        : nothing,
      choice(
        "Layer",
        layer,
        layers.map(({ layer, mask }) => [layer, `${layer}: ${masks[mask]?.words}`] as const),
        (layer) => this.choices.choose({ layer }),
      ),
    ];
  }

  protected legend(): string {
    return "Coloured: allowed · empty: not allowed · rows attend to columns";
  }

  protected override notes(): string {
    const { groups, how } = this.stack;
    const { layer } = this.shown;
    const parts = [...groups];
    if (layer.name) parts.push(`layer ${layer.layer} is ${layer.name}`);
    if (layer.window) parts.push(`its window of ${layer.window.toLocaleString("en")} tokens is longer than the text`);
    if (layer.heads_differ) parts.push("its heads differ: a pair is allowed if any head allows it");
    if (how !== "masks") parts.push(`read from ${how}: a pair whose weight is rounded to zero counts as not allowed`);
    return parts.join(" · ");
  }

  protected body(): unknown {
    return html`<div @keydown=${this.turn}>${this.strip()}${this.map.element}</div>`;
  }

  /** The layers, each as a small map; the list of layers among the controls says the same in words. */
  private strip(): TemplateResult {
    const { layers, masks } = this.stack;
    const pictures = this.pictures(accent(this.host.scheme), ...masks.map((data) => this.mask(data)));
    const every = Math.ceil((layers.length * 22) / Math.max(1, this.host.element.clientWidth || 640));
    return html`<div class="mask-strip" aria-hidden="true">${layers.map(
      ({ layer, mask }, place) => html`<div class=${layer === this.choices.state.layer ? "on" : ""}
        data-tip=${`${layer}: ${masks[mask]?.words}`} @click=${() => this.choices.choose({ layer })}
        ><img alt="" src=${pictures[mask] ?? nothing}><span>${place % every ? "" : layer}</span></div>`,
    )}</div>`;
  }

  private readonly turn = (event: KeyboardEvent): void => {
    const choose = ({ layer }: Partial<MaskState>) => this.choices.choose({ layer: layer as number });
    layerKey(
      { stack: this.stack, state: this.choices.state, choose } as unknown as Parameters<typeof layerKey>[0],
      event,
    );
  };

  protected draw(): boolean {
    const { rows, cols, map } = this;
    const all = ({ tokens }: Sequence) => ({ start: 0, end: tokens.length });
    map.arrange(rows, cols, all(rows), all(cols), ["from ↓", "may attend to →"]);
    map.element.setAttribute("aria-label", `${this.where}; arrow keys read the pairs of tokens`);
    map.locked = this.locked;
    const heat = this.heat();
    const kept = Number.parseFloat(getComputedStyle(this.host.element).minHeight) || 0;
    map.show(heat, false, Math.max(kept, 260) - AROUND);
    return heat !== null;
  }

  private heat(): Heat | null {
    const { mask } = this.shown;
    if (!mask) return null;
    const { rows, cols } = this.map.layout;
    return {
      layer: this.pairs(mask),
      head: 0,
      color: accent(this.host.scheme),
      contrast: 1,
      rows,
      cols,
      scale: SCALE,
      inks: [],
    };
  }

  private toggle({ row, col }: MatrixCell): void {
    const { locked } = this;
    const same = locked?.row === row && locked.col === col;
    this.choices.choose(same ? { row: null, col: null } : { row, col });
  }

  protected notice(): TemplateResult {
    return this.host.notice("mask", [this.shown.data]);
  }

  protected reading(): Reading | null {
    const { mask, data } = this.shown;
    if (!mask) return null;
    const { cell } = this.map;
    if (!cell || cell.row >= mask.rows || cell.col >= mask.cols)
      return { lines: [[this.groups ?? data.words], hint("a cell to read one pair")], hint: true };
    const [from, to] = [named(this.rows.tokens, cell.row), named(this.cols.tokens, cell.col)];
    const may = mask.allows(cell.row, cell.col) ? " may attend to " : " may not attend to ";
    return {
      lines: [
        [from, may, to],
        [from, ` sees ${sees(mask, cell.row)}`],
      ],
    };
  }

  /** Return which layers have which mask, if that is short enough to be read. */
  private get groups(): string | undefined {
    const { groups } = this.stack;
    return groups.length <= FEW ? groups.join(" · ") : undefined;
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) this.choices.choose({ row: null, col: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const heat = this.heat();
    if (!heat) return null;
    const { size, margin, rows, cols } = this.map.layout;
    const [width, height] = [(cols.end - cols.start) * size[0], (rows.end - rows.start) * size[1]];
    return {
      width: margin.left + width,
      height: margin.top + height,
      draw: (pen) => {
        pen.image(toCanvas(heatPicture(heat, rows, cols)).toDataURL(), margin.left, margin.top, width, height);
        this.labels(pen);
      },
    };
  }

  private labels(pen: SvgPen): void {
    const { size, margin, names } = this.map.layout;
    const [wide, tall] = size;
    const { ink, pale } = inks(this.host.scheme.dark, this.host.scheme.pale);
    const write = (
      { tokens, special }: Sequence,
      step: number,
      put: (text: string, at: number, color: string) => void,
    ) => {
      for (let n = 0; n < tokens.length; n += Math.ceil(12 / step))
        put(plainText(tokens[n] as string), (n + 0.5) * step + 4, special.includes(n) ? pale : ink);
    };
    pen.text(names[0] as string, margin.left - 6, margin.top - 6, { anchor: "end", size: 12, color: pale });
    pen.text(names[1] as string, margin.left, 12, { size: 12, color: pale });
    write(this.rows, tall, (text, at, color) =>
      pen.text(text, margin.left - 6, margin.top + at, { anchor: "end", size: 12, color }),
    );
    write(this.cols, wide, (text, at, color) =>
      pen.text(text, margin.left + at, margin.top - 6, { size: 12, color, upright: true }),
    );
  }

  protected table(): Table | null {
    const { mask } = this.shown;
    if (!mask) return null;
    const from = this.rows.tokens;
    const counts = from.map((_, row) => count(mask, row));
    const rows: Part[][] = from.map((_, row) => [
      named(from, row),
      String(counts[row]),
      [...(mask.runs[row]?.entries() ?? [])]
        .filter(([i]) => i % 2 === 0)
        .map(([i, start]) => span(start, (mask.runs[row]?.[i + 1] as number) - 1))
        .join(", "),
    ]);
    return largest(
      { caption: this.where, columns: ["token", "may attend to", "positions"], rows },
      counts,
      "tokens that see most",
    );
  }

  /** Returns which token may attend to which in `stack` and `layer`, by default those shown: true where it may. */
  async values(request: Partial<MaskState>): Promise<object> {
    const { stack, layer } = { ...this.choices.state, ...request };
    this.check({ stack, layer, row: null, col: null });
    const { layers, masks, rows, cols } = this.figure.masks[stack] as MaskStackData;
    const data = masks[layers.find((each) => each.layer === layer)?.mask as number] as MaskData;
    const [from, to] = [this.sequence(rows).tokens, this.sequence(cols).tokens];
    const decode = (bytes: Uint8Array) => new Mask(bytes, from.length, to.length);
    const mask = await this.loaded("mask", () => this.host.blob(data, decode));
    return {
      stack,
      layer,
      kind: data.words,
      rows: from,
      cols: to,
      values: from.map((_, r) => to.map((_, c) => mask.allows(r, c))),
    };
  }
}

const span = (first: number, last: number): string => (first === last ? `${first}` : `${first}–${last}`);
/** The number of columns that a row may attend to. */
const count = ({ runs }: Mask, row: number): number =>
  (runs[row] as Int32Array).reduce((sum, edge, i) => sum + (i % 2 ? edge : -edge), 0);
const sees = (mask: Mask, row: number): string => {
  const seen = count(mask, row);
  return seen === mask.cols ? `all ${seen} tokens` : `${seen} of ${mask.cols} tokens`;
};

/** A layer's mask in a few pixels, each as strong as the share of its pairs that is allowed, as the address of an image. */
function small(mask: Mask, color: string): string {
  const [down, across] = [Math.min(PARTS, mask.rows), Math.min(PARTS, mask.cols)];
  const cells = new Float64Array(down * across);
  const sizes = new Float64Array(down * across);
  for (let row = 0; row < mask.rows; row++) {
    const y = Math.floor((row * down) / mask.rows);
    const edges = mask.runs[row] as Int32Array;
    for (let x = 0; x < across; x++) {
      const [start, end] = [x, x + 1].map((cell) => Math.ceil((cell * mask.cols) / across)) as [number, number];
      const at = y * across + x;
      sizes[at] = (sizes[at] as number) + end - start;
      for (let i = 0; i < edges.length; i += 2)
        cells[at] =
          (cells[at] as number) +
          Math.max(0, Math.min(end, edges[i + 1] as number) - Math.max(start, edges[i] as number));
    }
  }
  const share = (y: number, x: number) => (cells[y * across + x] as number) / (sizes[y * across + x] as number);
  const image = heatImage(color, { start: 0, end: down }, { start: 0, end: across }, (y, x) => 255 * share(y, x));
  return toCanvas(image).toDataURL();
}
