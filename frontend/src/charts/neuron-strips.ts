import { stepped, walkByKey } from "../controls/keyboard.js";
import { indices, inRange, type Range, ROW_HEIGHT } from "../lib/geometry.js";
import { formatNumbers, type NumberColumn } from "./neuron-columns.js";
import { drawExpansion, type Expansion, type PutStrip } from "./neuron-drawing.js";
import { type NeuronLayout, neuronAt, neuronLayout, STRIP_HEIGHT } from "./neuron-layout.js";

/** A token on the right, and a neuron, that are pointed at. */
export interface Spot {
  col: number | null;
  neuron: number | null;
}

export interface StripsEvents {
  point(announce: boolean): void;
  /** A row was clicked. */
  choose(col: number): void;
  scroll(left: number): void;
}

const NOWHERE: Spot = { col: null, neuron: null };

/** The strips on a canvas and columns of numbers that stand between the columns of tokens while one is expanded. */
export class NeuronStrips {
  readonly element = document.createElement("div");
  readonly sheet = document.createElement("div");
  /** Takes the keyboard from neuron to neuron. */
  private readonly cursor = document.createElement("div");
  private readonly numbers = document.createElement("div");
  private expansion: Expansion | null = null;
  layout: NeuronLayout | null = null;
  spot: Spot = NOWHERE;

  constructor(private readonly events: StripsEvents) {
    this.element.className = "strips";
    this.sheet.className = "strips-sheet";
    this.numbers.setAttribute("aria-hidden", "true"); // the readout says them with their meaning
    this.setUpCursor();
    this.sheet.append(this.numbers, this.cursor);
    this.element.append(this.sheet);
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.sheet.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") this.setSpot(this.spotAt(event), false);
    });
    this.sheet.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") this.setSpot(NOWHERE, false);
    });
    this.sheet.addEventListener("click", (event) => this.click(event));
  }

  /** Measures and makes room; what is drawn then depends on what of it is visible. */
  show(expansion: Expansion | null): void {
    this.expansion = expansion;
    this.element.hidden = !expansion;
    if (!expansion) {
      this.layout = null;
      this.spot = NOWHERE;
      return;
    }
    const { cols, columns, head } = expansion;
    this.layout = neuronLayout(this.element.clientWidth, head.layer.d, columns.length, devicePixelRatio);
    const { width, k, product, strip } = this.layout;
    this.sheet.style.cssText = `width:${width}px;height:${(cols.end - cols.start) * ROW_HEIGHT}px`;
    this.cursor.style.cssText = `left:${k - 3}px;width:${product + strip - k + 6}px`;
    this.describeCursor();
  }

  /** A finger that has tapped elsewhere. */
  leave(): void {
    this.spot = NOWHERE;
  }

  private scrolled(): void {
    const { scrollLeft, clientWidth, scrollWidth } = this.element;
    this.element.classList.toggle("beyond", scrollLeft + clientWidth < scrollWidth - 1);
    this.events.scroll(scrollLeft);
  }

  draw(context: CanvasRenderingContext2D, shown: Range, top: number): void {
    const { expansion, layout } = this;
    if (!expansion || !layout) return;
    context.translate(0, -top);
    context.imageSmoothingEnabled = false;
    drawExpansion(context, putOn(context), expansion, layout, shown);
  }

  /** Each column is one text with a line for each token: a thousand tokens cost no more than ten. */
  write(shown: Range): void {
    const { expansion, layout } = this;
    if (!expansion || !layout) return;
    const { cols } = expansion;
    const top = (shown.start - cols.start) * ROW_HEIGHT;
    const columns = expansion.columns.flatMap((column, i) => {
      const [numbers, pale] = columnTexts(column, expansion, shown, i);
      const place = `left:${layout.numbers[i]}px;top:${top}px;width:${layout.number}px`;
      return [textElement("number", place, numbers), textElement("number pale", place, pale)];
    });
    this.numbers.replaceChildren(...columns);
    this.scrolled();
  }

  private spotAt({ clientX, clientY }: PointerEvent | MouseEvent): Spot {
    const { expansion, layout } = this;
    if (!expansion || !layout) return NOWHERE;
    const { left, top } = this.sheet.getBoundingClientRect();
    const { cols, rows, row } = expansion;
    const line = Math.floor((clientY - top) / ROW_HEIGHT);
    const neuron = neuronAt(layout, clientX - left);
    // The query's strip stands in its own row alone.
    if (clientX - left < layout.k) return { col: null, neuron: line === row - rows.start ? neuron : null };
    return inRange(cols.start + line, cols) ? { col: cols.start + line, neuron } : NOWHERE;
  }

  private setSpot(spot: Spot, announce: boolean): void {
    if (spot.col === this.spot.col && spot.neuron === this.spot.neuron) return;
    this.spot = spot;
    this.events.point(announce);
  }

  private click(event: MouseEvent): void {
    event.stopPropagation(); // elsewhere in the picture a click sets a locked token free
    const spot = this.spotAt(event);
    if ((event as PointerEvent).pointerType === "touch") this.setSpot(spot, true);
    else if (spot.col !== null) this.events.choose(spot.col);
  }

  private setUpCursor(): void {
    const { cursor } = this;
    cursor.className = "cursor";
    cursor.tabIndex = 0;
    cursor.setAttribute("role", "slider");
    cursor.setAttribute("aria-label", "Neuron");
    cursor.addEventListener("focus", () => {
      if (cursor.matches(":focus-visible")) this.setSpot(this.strongest(), true);
    });
    cursor.addEventListener("blur", () => this.setSpot(NOWHERE, false));
    cursor.addEventListener("keydown", (event) => this.keydown(event));
  }

  /** Returns the neuron to begin with: the one that says most about the token attended to most. */
  private strongest(): Spot {
    if (!this.expansion) return NOWHERE;
    const { head, row, cols, col } = this.expansion;
    const { weights } = head.row(row);
    const to = col ?? largest(indices(cols), (at) => weights[at] as number);
    const neurons = indices({ start: 0, end: head.layer.d });
    return { col: to, neuron: largest(neurons, (i) => Math.abs(head.q(row, i) * head.k(to, i))) };
  }

  private keydown(event: KeyboardEvent): void {
    if (!this.expansion) return;
    const { cols, head } = this.expansion;
    const { col, neuron } = this.spot.neuron === null || this.spot.col === null ? this.strongest() : this.spot;
    const from = { row: col as number, col: neuron as number };
    walkByKey(event, (down, right) => {
      const to = stepped(from, down, right, cols, { start: 0, end: head.layer.d });
      this.setSpot({ col: to.row, neuron: to.col }, true);
    });
  }

  private describeCursor(): void {
    const { neuron } = this.spot;
    const last = (this.expansion?.head.layer.d ?? 1) - 1;
    for (const [name, value] of Object.entries({ valuemin: 0, valuemax: last, valuenow: neuron ?? 0 }))
      this.cursor.setAttribute(`aria-${name}`, String(value));
    this.cursor.setAttribute("aria-valuetext", neuron === null ? "none" : `neuron ${neuron}`);
  }
}

function putOn(context: CanvasRenderingContext2D): PutStrip {
  return (picture, line, left, top, width) =>
    context.drawImage(picture, 0, line, picture.width, 1, left, top, width, STRIP_HEIGHT);
}

function largest(of: number[], size: (item: number) => number): number {
  return of.reduce((best, item) => (size(item) > size(best) ? item : best));
}

function textElement(className: string, style: string, text: string): HTMLElement {
  const element = document.createElement("div");
  element.className = className;
  element.style.cssText = style;
  element.textContent = text;
  return element;
}

/** The lines of a column; what is masked, and a weight of nothing, is pale. */
function columnTexts({ values, weights }: NumberColumn, { head, row, cols }: Expansion, shown: Range, nth: number) {
  const { scores } = head.row(row);
  const format = formatNumbers(values.subarray(cols.start, cols.end));
  const lines = indices(shown).map((col) => {
    const value = values[col] as number;
    if (scores[col] === Number.NEGATIVE_INFINITY) return ["", weights ? "0" : nth === 0 ? "masked" : ""];
    const text = format(value);
    return weights && Number(text) === 0 ? ["", text] : [text, ""];
  });
  return [0, 1].map((kind) => lines.map((line) => line[kind]).join("\n")) as [string, string];
}
