import { stepped, walkByKey } from "../controls/keyboard.js";
import type { Sequence } from "../element/figure.js";
import { indices, inRange, type Range } from "../lib/geometry.js";
import { barred, digitsOf, type Heat, heatPicture, toCanvas, valueText } from "./heat.js";
import { HeatLabels, labelWidth } from "./heat-labels.js";
import { Scroller } from "./scroller.js";

export interface MatrixCell {
  row: number;
  col: number;
}

export interface HeatMapEvents {
  /** Another cell is read. What the keyboard does is announced, what the mouse does is not. */
  point(announce: boolean): void;
  toggle(cell: MatrixCell): void;
}

/** Width and height in px of a cell. */
type Size = [width: number, height: number];

const TALLEST = 36; // px, of a cell; as in `views/matrix.py`
/** Width of a cell by its height, at most: wider ones would tear a picture apart. */
const WIDEST = 2.5;
const ENLARGED: Size = [40, 24];
/** A cell that has room for its value: so wide for each digit after the point, and so high, with the usual letters. */
const ROOMY = { digit: 7, rest: 16, height: 17 };
const USUAL_FONT = 12; // px, of labels
/** The space in px for the names of the axes, to the left of the cells and above them; `views/matrix.py` has the same. */
const AXIS: Size = [56, 18];
/** Cells that are large enough have a gap between them. */
const GAPPED = 10;

/**
 * A heat map that scrolls within itself. Only what is visible is drawn: the stage stays where it is while the empty sheet
 * behind it scrolls, so a thousand tokens cost as much as thirty, and labels need no background of their own.
 */
export class HeatMap extends Scroller {
  private readonly sheet = document.createElement("div");
  private readonly stage = document.createElement("div");
  private readonly canvas = document.createElement("canvas");
  private readonly body = document.createElement("div");
  private readonly top = new HeatLabels("top");
  private readonly side = new HeatLabels("side");
  private readonly values = document.createElement("div");
  private readonly axes = ["side", "top"].map((name) =>
    Object.assign(document.createElement("div"), { className: `axis ${name}`, ariaHidden: "true" }),
  );
  private readonly marks = ["band", "band", "outline"].map((name) =>
    Object.assign(document.createElement("div"), { className: name }),
  );
  private sequences: { rows: Sequence; cols: Sequence } | undefined;
  private shownRows: Range = { start: 0, end: 0 };
  private shownCols: Range = { start: 0, end: 0 };
  private heat: Heat | null = null;
  private size: Size = ENLARGED;
  private margin = { left: 0, top: 0 };
  private extent = { width: 0, height: 0 };
  private hovered: MatrixCell | null = null;
  private walked: MatrixCell | null = null;
  private scale = 1;
  locked: MatrixCell | null = null;

  constructor(
    private readonly events: HeatMapEvents,
    redraw: () => void,
  ) {
    super(redraw);
    const { element, sheet, stage, canvas, body, top, side, marks, axes, values } = this;
    element.className = "heat-map";
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "heat map");
    stage.className = "stage";
    body.className = "body";
    canvas.setAttribute("aria-hidden", "true");
    values.className = "values";
    values.setAttribute("aria-hidden", "true");
    body.append(...marks, canvas, values);
    stage.append(body, top.element, side.element, ...axes);
    sheet.append(stage);
    element.append(sheet);
    stage.addEventListener("pointermove", (event) => this.hover(event));
    stage.addEventListener("pointerleave", () => this.hoverOver(null));
    stage.addEventListener("click", (event) => this.click(event));
    element.addEventListener("keydown", (event) => this.keydown(event));
    element.addEventListener("blur", () => this.walkTo(null));
  }

  /** The cell that is read. */
  get cell(): MatrixCell | null {
    return this.hovered ?? this.walked ?? this.locked;
  }

  /** Return whether cells that all fit in are large enough to be read. */
  fits(width: number, height: number): boolean {
    return this.fitting(width, height).every((size, i) => size >= (ENLARGED[i] as number));
  }

  private fitting(width: number, height: number): Size {
    const [rows, cols] = [this.shownRows.end - this.shownRows.start, this.shownCols.end - this.shownCols.start];
    const tall = Math.min((height - this.margin.top) / rows, TALLEST);
    const wide = Math.min((width - this.margin.left - 4) / cols, WIDEST * tall);
    return [whole(wide), whole(Math.min(tall, wide))];
  }

  /** `names` are those of the axes, of rows and of columns. */
  arrange(rows: Sequence, cols: Sequence, shownRows: Range, shownCols: Range, names: string[]): void {
    if (rows !== this.sequences?.rows || cols !== this.sequences.cols) {
      this.hovered = this.walked = null;
    }
    Object.assign(this, { sequences: { rows, cols }, shownRows, shownCols });
    const font = Number.parseFloat(getComputedStyle(this.stage).fontSize);
    this.scale = Math.max(1, font / USUAL_FONT) || 1;
    const [left, above] = AXIS.map((size) => size * this.scale) as Size;
    this.margin = {
      left: Math.max(labelWidth(rows.tokens, this.scale), left),
      top: labelWidth(cols.tokens, this.scale) + above,
    };
    this.stage.style.setProperty("--axis", `${above}px`);
    this.axes.forEach((axis, i) => {
      axis.textContent = names[i] as string;
    });
    this.element.setAttribute(
      "aria-label",
      `Weights from ${rows.tokens.length} tokens, one a row, to ${cols.tokens.length}, one a column; arrow keys read them`,
    );
  }

  /** `height`: what the page has kept for it. */
  show(heat: Heat | null, enlarged: boolean, height: number): void {
    this.heat = heat;
    const { element, sheet, margin, shownRows, shownCols } = this;
    const fitting = this.fitting(element.clientWidth, height);
    this.size = enlarged ? (fitting.map((size, i) => Math.max(size, ENLARGED[i] as number)) as Size) : fitting;
    element.style.maxHeight = `${height}px`;
    sheet.style.width = `${margin.left + (shownCols.end - shownCols.start) * this.size[0]}px`;
    sheet.style.height = `${margin.top + (shownRows.end - shownRows.start) * this.size[1]}px`;
    this.draw();
  }

  protected override scrolled(): void {
    this.draw();
  }

  /** Labels and marks follow the cell that is read; the weights stay as they are painted. */
  private point(): void {
    this.label();
    this.mark();
  }

  private draw(): void {
    const { element, stage, body, margin, sheet } = this;
    const [width, height] = [
      Math.min(element.clientWidth, sheet.offsetWidth),
      Math.min(element.clientHeight, sheet.offsetHeight),
    ];
    const { style } = stage;
    Object.assign(style, { width: `${width}px`, height: `${height}px` });
    style.setProperty("--label-left", `${margin.left}px`);
    style.setProperty("--label-top", `${margin.top}px`);
    const [bodyWidth, bodyHeight] = [width - margin.left, height - margin.top];
    body.style.cssText = `left:${margin.left}px;top:${margin.top}px;width:${bodyWidth}px;height:${bodyHeight}px`;
    this.extent = { width: bodyWidth, height: bodyHeight };
    this.paint(bodyWidth, bodyHeight);
    this.point();
  }

  /** Indices of rows or columns that are at least partly visible. */
  private inView(range: Range, offset: number, extent: number, size: number): Range {
    const start = Math.min(range.end, range.start + Math.floor(offset / size));
    return { start, end: Math.min(range.end, range.start + Math.ceil((offset + extent) / size)) };
  }

  private paint(width: number, height: number): void {
    const { canvas, element, heat } = this;
    const [wide, tall] = this.size;
    const ratio = devicePixelRatio;
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    canvas.style.cssText = `width:${width}px;height:${height}px`;
    const context = canvas.getContext("2d");
    if (!context || !heat) return;
    const rows = this.inView(heat.rows, element.scrollTop, height, tall);
    const cols = this.inView(heat.cols, element.scrollLeft, width, wide);
    if (rows.end <= rows.start || cols.end <= cols.start) return;
    const x = (cols.start - heat.cols.start) * wide - element.scrollLeft;
    const y = (rows.start - heat.rows.start) * tall - element.scrollTop;
    this.write(heat, rows, cols, x, y);
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    const [across, down] = this.size.map((size) => Math.max(1, 1 / (size * ratio))) as Size;
    const picture = toCanvas(heatPicture(heat, rows, cols, across, down));
    context.drawImage(picture, x, y, (cols.end - cols.start) * wide, (rows.end - rows.start) * tall);
    if (heat.allowed) {
      context.fillStyle = hatch(context, getComputedStyle(element).color);
      for (const [row, start, end] of barred(heat.allowed, rows, cols, down, across))
        context.fillRect(
          x + (start - cols.start) * wide,
          y + (row - rows.start) * tall,
          (end - start) * wide,
          tall * down,
        );
    }
    if (tall < GAPPED) return;
    for (let at = x; at < width; at += wide) context.clearRect(at - 0.5, 0, 1, height);
    for (let at = y; at < height; at += tall) context.clearRect(0, at - 0.5, width, 1);
  }

  /** True if cells have room for their values. */
  get roomy(): boolean {
    const { heat, size, scale } = this;
    const width = ROOMY.rest + ROOMY.digit * (heat ? digitsOf(heat.scale) : 0);
    return size[0] >= width * scale && size[1] >= ROOMY.height * scale;
  }

  private write(heat: Heat, rows: Range, cols: Range, x: number, y: number): void {
    const [wide, tall] = this.size;
    const written: HTMLElement[] = [];
    this.values.style.cssText = `--wide:${wide}px;--tall:${tall}px`;
    for (const row of this.roomy ? indices(rows) : [])
      for (const col of indices(cols)) {
        const [text, ink] = valueText(heat, row, col);
        if (!text) continue;
        const value = document.createElement("div");
        value.textContent = text;
        const place = `left:${x + (col - cols.start) * wide}px;top:${y + (row - rows.start) * tall}px`;
        value.style.cssText = ink ? `${place};color:${ink}` : place;
        written.push(value);
      }
    this.values.replaceChildren(...written);
  }

  private label(): void {
    const { element, sequences, cell, shownRows, shownCols, extent, scale } = this;
    const [wide, tall] = this.size;
    if (!sequences) return;
    const { scrollTop, scrollLeft } = element;
    const side = {
      sequence: sequences.rows,
      range: shownRows,
      size: tall,
      offset: scrollTop,
      pointed: cell?.row,
      scale,
    };
    const top = {
      sequence: sequences.cols,
      range: shownCols,
      size: wide,
      offset: scrollLeft,
      pointed: cell?.col,
      scale,
    };
    this.side.show({ ...side, inView: this.inView(shownRows, scrollTop, extent.height, tall) });
    this.top.show({ ...top, inView: this.inView(shownCols, scrollLeft, extent.width, wide) });
  }

  /** Row, column and outline of the cell that is read. */
  private mark(): void {
    const { cell, element, shownRows, shownCols, marks } = this;
    const [wide, tall] = this.size;
    for (const mark of marks) mark.hidden = cell === null;
    if (!cell) return;
    const x = (cell.col - shownCols.start) * wide - element.scrollLeft;
    const y = (cell.row - shownRows.start) * tall - element.scrollTop;
    const [row, col, outline] = marks as unknown as [HTMLElement, HTMLElement, HTMLElement];
    row.style.cssText = `left:0;right:0;top:${y}px;height:${Math.max(1, tall)}px`;
    col.style.cssText = `top:0;bottom:0;left:${x}px;width:${Math.max(1, wide)}px`;
    outline.style.cssText = `left:${x - 1}px;top:${y - 1}px;width:${wide + 1}px;height:${tall + 1}px`;
    outline.classList.toggle("locked", this.locked?.row === cell.row && this.locked?.col === cell.col);
  }

  private at(event: MouseEvent): MatrixCell | null {
    const { left, top } = this.body.getBoundingClientRect();
    const { element, shownRows, shownCols } = this;
    const [wide, tall] = this.size;
    const col = shownCols.start + Math.floor((event.clientX - left + element.scrollLeft) / wide);
    const row = shownRows.start + Math.floor((event.clientY - top + element.scrollTop) / tall);
    const inside = event.clientX >= left && event.clientY >= top;
    return inside && inRange(row, shownRows) && inRange(col, shownCols) ? { row, col } : null;
  }

  private hover(event: PointerEvent): void {
    if (event.pointerType !== "touch") this.hoverOver(this.at(event));
  }

  private hoverOver(cell: MatrixCell | null): void {
    if (cell?.row === this.hovered?.row && cell?.col === this.hovered?.col) return;
    this.hovered = cell;
    this.point();
    this.events.point(false);
  }

  private click(event: MouseEvent): void {
    const cell = this.at(event);
    if (!cell) return;
    if ((event as PointerEvent).pointerType === "touch") this.hovered = null;
    this.walked = null;
    this.events.toggle(cell);
  }

  private keydown(event: KeyboardEvent): void {
    const { walked, shownRows: rows, shownCols: cols } = this;
    const from = walked ?? this.locked ?? { row: rows.start, col: cols.start };
    walkByKey(
      event,
      (down, right) => this.walkTo(walked ? stepped(from, down, right, rows, cols) : from),
      () => walked !== null && this.events.toggle(walked),
    );
  }

  private walkTo(cell: MatrixCell | null): void {
    if (!cell && !this.walked) return;
    this.walked = cell;
    this.hovered = null;
    if (cell) this.reveal(cell);
    this.point();
    this.events.point(cell !== null);
  }

  private reveal({ row, col }: MatrixCell): void {
    const { element, margin, shownRows, shownCols } = this;
    const [wide, tall] = this.size;
    const [x, y] = [(col - shownCols.start) * wide, (row - shownRows.start) * tall];
    const [width, height] = [element.clientWidth - margin.left, element.clientHeight - margin.top];
    element.scrollLeft = Math.min(x, Math.max(element.scrollLeft, x + wide - width));
    element.scrollTop = Math.min(y, Math.max(element.scrollTop, y + tall - height));
  }

  get layout() {
    const { size, margin, shownRows, shownCols, axes } = this;
    const names = axes.map(({ textContent }) => textContent ?? "");
    return { size, margin, rows: shownRows, cols: shownCols, names };
  }
}

/** Pale lines from the lower left to the upper right. */
function hatch(context: CanvasRenderingContext2D, color: string): CanvasPattern {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const pen = tile.getContext("2d") as CanvasRenderingContext2D;
  Object.assign(pen, { fillStyle: color, globalAlpha: 0.25 });
  for (let at = 0; at < 6; at++) pen.fillRect(at, 5 - at, 1, 1);
  return context.createPattern(tile, "repeat") as CanvasPattern;
}

/** Cells of whole pixels are alike; where they are small, the width counts for more. */
const whole = (size: number): number => (size > 6 ? Math.floor(size) : size);
