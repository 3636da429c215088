import { stepped, walkByKey } from "../controls/keyboard.js";
import type { Sequence } from "../element/figure.js";
import type { Range } from "../lib/geometry.js";
import { tokenElement } from "../lib/token.js";

/** `col` is null where a token is pointed at, and none of its neurons. */
export interface MapCell {
  row: number;
  col: number | null;
}

export interface NeuronMapEvents {
  /** Another cell is read. What the keyboard does is announced, what the mouse does is not. */
  point(announce: boolean): void;
  toggle(cell: MapCell): void;
}

const ROW = 20;

/**
 * A heat map of tokens, one a line, by neurons, which share the width. One pixel of its canvas is one cell, so that it
 * is painted once for all sizes.
 */
export class NeuronMap {
  readonly element = document.createElement("div");
  private readonly names = document.createElement("div");
  private readonly cells = document.createElement("div");
  private readonly canvas = document.createElement("canvas");
  private readonly band = document.createElement("div");
  private readonly outline = document.createElement("div");
  private sequence: Sequence | undefined;
  private hovered: MapCell | null = null;
  private walked: MapCell | null = null;
  locked: MapCell | null = null;
  /** The reading while nothing is pointed at or locked. */
  resting: MapCell | null = null;

  constructor(private readonly events: NeuronMapEvents) {
    const { element, names, cells, canvas, band, outline } = this;
    element.className = "neuron-map";
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "heat map");
    Object.assign(names, { className: "names", ariaHidden: "true" });
    Object.assign(cells, { className: "cells", ariaHidden: "true" });
    band.className = "band";
    outline.className = "outline";
    cells.append(band, canvas, outline);
    element.append(names, cells);
    element.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") this.hover(this.at(event));
    });
    element.addEventListener("pointerleave", () => this.hover(null));
    element.addEventListener("click", (event) => this.click(event));
    element.addEventListener("keydown", (event) => this.keydown(event));
    element.addEventListener("blur", () => this.walk(null));
  }

  /** The cell that is read. */
  get cell(): MapCell | null {
    return this.hovered ?? this.walked ?? this.locked ?? this.resting;
  }

  /** Shows tokens, and a picture of one pixel a cell. */
  show(sequence: Sequence, picture: ImageData | null, label: string): void {
    if (sequence !== this.sequence) this.name(sequence);
    this.element.setAttribute("aria-label", label);
    const { canvas } = this;
    const { width, height } = picture ?? { width: 1, height: sequence.tokens.length };
    if (this.walked && (this.walked.col ?? 0) >= width) this.walked = null;
    this.hovered = null;
    Object.assign(canvas, { width, height });
    if (picture) canvas.getContext("2d")?.putImageData(picture, 0, 0);
    this.mark();
  }

  private name(sequence: Sequence): void {
    this.sequence = sequence;
    this.hovered = this.walked = null;
    this.cells.style.height = `${ROW * sequence.tokens.length}px`;
    this.names.replaceChildren(
      ...sequence.tokens.map((token, index) => {
        const line = document.createElement("div");
        line.append(tokenElement(token, sequence.special.includes(index)));
        return line;
      }),
    );
  }

  /** Line and outline of the cell that is read. */
  mark(): void {
    const { cell, band, outline, canvas, locked } = this;
    band.hidden = cell === null;
    outline.hidden = typeof cell?.col !== "number";
    [...this.names.children].forEach((line, row) => {
      line.classList.toggle("pointed", row === cell?.row);
    });
    if (!cell) return;
    band.style.top = outline.style.top = `${ROW * cell.row}px`;
    outline.style.left = `${(100 * (cell.col ?? 0)) / canvas.width}%`;
    outline.style.width = `${100 / canvas.width}%`;
    outline.classList.toggle("locked", cell.row === locked?.row && cell.col === locked.col);
  }

  private at(event: MouseEvent): MapCell | null {
    const { left, top, width, height } = this.cells.getBoundingClientRect();
    const row = Math.floor((event.clientY - top) / ROW);
    const col = Math.floor(((event.clientX - left) / width) * this.canvas.width);
    if (event.clientY < top || event.clientY >= top + height || col >= this.canvas.width) return null;
    return { row, col: col < 0 ? null : col };
  }

  private hover(cell: MapCell | null): void {
    if (cell?.row === this.hovered?.row && cell?.col === this.hovered?.col) return;
    this.hovered = cell;
    this.mark();
    this.events.point(false);
  }

  private click(event: MouseEvent): void {
    const cell = this.at(event);
    this.walked = null;
    if (cell) this.events.toggle(cell);
  }

  private keydown(event: KeyboardEvent): void {
    const { walked, locked } = this;
    const { row, col } = walked ?? locked ?? { row: 0, col: 0 };
    const from = { row, col: col ?? 0 };
    const [rows, cols] = [this.sequence?.tokens.length ?? 1, this.canvas.width].map((end) => ({ start: 0, end })) as [
      Range,
      Range,
    ];
    walkByKey(
      event,
      (down, right) => this.walk(walked ? stepped(from, down, right, rows, cols) : from),
      () => walked !== null && this.events.toggle(walked),
    );
  }

  private walk(cell: MapCell | null): void {
    if (!cell && !this.walked) return;
    this.walked = cell;
    this.hovered = null;
    this.mark();
    if (cell) this.names.children[cell.row]?.scrollIntoView({ block: "nearest" });
    this.events.point(cell !== null);
  }
}
