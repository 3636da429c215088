import { digitsFor } from "../attention/readout.js";
import { facing, isBarred, isDrawn, mean, type Scene, weightsWith } from "../attention/scene.js";
import { indices, opposite, type Range, RESERVED_ROWS, ROW_HEIGHT, type Side } from "../lib/geometry.js";
import { drawBars } from "./bars.js";
import type { Column } from "./column.js";
import { drawLines, type Frame } from "./lines.js";
import { collect, type Marks } from "./marks.js";
import { Scroller } from "./scroller.js";
import type { Pen } from "./svg.js";

/**
 * Once it scrolls, the canvas reaches this far beyond what is visible, so that it moves with the tokens and rarely redraws.
 * Until then it does not: rasterising is most of what a first picture or another layer costs.
 */
const OVERSCAN = 240;

/** Two columns of tokens with a canvas behind them that holds lines and bars. It scrolls within itself. */
export class Picture extends Scroller {
  protected readonly sheet = document.createElement("div");
  protected readonly canvas = document.createElement("canvas");
  private scene: Scene | null = null;
  protected window = { top: 0, height: 0 };
  private overscan = 0;

  constructor(
    readonly columns: Record<Side, Column>,
    redraw: () => void,
  ) {
    super(redraw);
    this.element.className = "scroller";
    columns.left.windowed = columns.right.windowed = true;
    this.sheet.className = "picture columns";
    this.canvas.setAttribute("aria-hidden", "true");
    this.sheet.append(this.canvas, columns.left.element, columns.right.element);
    this.element.append(this.sheet);
  }

  /** True if it scrolls, and gives a scrollbar room. */
  get long(): boolean {
    return Object.values(this.columns).some(({ shown }) => shown.end - shown.start > RESERVED_ROWS);
  }

  /** Draws a scene, or nothing while there are no weights. Returns the share of the weight that is drawn. */
  show(scene: Scene | null): number {
    this.prepare(scene);
    const marks = scene && collect(scene, { rows: this.inWindow(scene.rows), cols: this.inWindow(scene.cols) });
    const context = this.clearedCanvas();
    if (context && scene && marks) this.draw(context, scene, marks);
    return marks?.share ?? 1;
  }

  /** Finds what is visible, and sees to it that its tokens are there with their numbers. */
  protected prepare(scene: Scene | null): void {
    this.scene = scene;
    this.element.classList.toggle("long", this.long);
    this.window = this.wantedWindow();
    for (const column of Object.values(this.columns)) column.fill(this.inWindow(column.shown, OVERSCAN));
    this.annotate();
  }

  protected override scrolled(): void {
    if (this.covers(OVERSCAN / 2)) return;
    this.overscan = OVERSCAN;
    this.redraw();
    this.overscan = 0;
  }

  /** True if the visible part, with a margin around it, is drawn. */
  private covers(margin: number): boolean {
    const { scrollTop, clientHeight } = this.element;
    const { top, height } = this.window;
    const full = this.sheet.offsetHeight;
    return top <= Math.max(0, scrollTop - margin) && top + height >= Math.min(full, scrollTop + clientHeight + margin);
  }

  private wantedWindow(): { top: number; height: number } {
    const { scrollTop, clientHeight } = this.element;
    const full = this.sheet.offsetHeight;
    const height = Math.min(full, clientHeight + 2 * this.overscan);
    return { top: Math.max(0, Math.min(scrollTop - this.overscan, full - height)), height };
  }

  private draw(context: CanvasRenderingContext2D, scene: Scene, marks: Marks): void {
    const { left, right } = this.columns;
    const ends = { left: left.element.offsetLeft + left.element.offsetWidth, right: right.element.offsetLeft };
    const frame: Frame = { ...ends, ...this.window };
    drawBars(context, scene, frame, (scene.focus?.side === "left" ? right : left).element.offsetWidth);
    drawLines(context, scene, { ...frame, left: frame.left + this.beside }, marks);
  }

  /** Width of what stands between the tokens on the left and their lines. */
  protected get beside(): number {
    return 0;
  }

  /** The tokens that a saved picture shows: all, or of many those that are visible. */
  savedRange(range: Range, most: number): Range {
    if (range.end - range.start <= most) return range;
    const { scrollTop: top, clientHeight: height } = this.element;
    const start = Math.min(range.end - 1, range.start + Math.round(top / ROW_HEIGHT));
    return { start, end: Math.min(range.end, start + Math.round(height / ROW_HEIGHT)) };
  }

  /** The same picture, drawn whole with another pen. */
  drawSheet(pen: Pen, scene: Scene, frame: Frame, width: number): void {
    drawBars(pen, scene, frame, width);
    drawLines(pen, scene, frame, collect(scene, scene));
  }

  protected clearedCanvas(): CanvasRenderingContext2D | null {
    const { canvas, window } = this;
    const ratio = devicePixelRatio;
    const width = canvas.parentElement?.clientWidth ?? 0;
    const [pixels, lines] = [Math.round(width * ratio), Math.round(window.height * ratio)];
    if (canvas.width !== pixels || canvas.height !== lines) Object.assign(canvas, { width: pixels, height: lines });
    canvas.style.cssText = `top:${window.top}px;width:${width}px;height:${window.height}px`;
    const context = canvas.getContext("2d");
    context?.setTransform(ratio, 0, 0, ratio, 0, 0);
    context?.clearRect(0, 0, width, window.height);
    return context;
  }

  /** Numbers stand beside the tokens that face the one in focus, as far as the canvas reaches. */
  private annotate(): void {
    const { scene, columns } = this;
    const side = scene?.focus ? opposite(scene.focus.side) : null;
    for (const column of Object.values(columns))
      column.bar((index) => column.side === side && isBarred(scene as Scene, index));
    for (const column of Object.values(columns))
      if (column.side !== side) column.annotate({ start: 0, end: 0 }, String);
    if (!scene || !side) return;
    const range = facing(scene);
    const means = new Map(indices(range).map((index) => [index, mean(weightsWith(scene, index))]));
    const digits = digitsFor(Math.max(...means.values()));
    columns[side].annotate(
      this.inWindow(range),
      (index) => (means.get(index) as number).toFixed(digits),
      (index) => !isDrawn(scene, index),
    );
  }

  protected inWindow({ start, end }: Range, margin = 0): Range {
    const { top, height } = this.window;
    const first = Math.min(end, start + Math.max(0, Math.floor((top - margin) / ROW_HEIGHT)));
    const last = start + Math.ceil((top + height + margin) / ROW_HEIGHT) + 1;
    return { start: first, end: Math.min(end, Math.max(first, last)) };
  }
}
