import type { Sequence } from "../figure.js";
import { type Range, type Side, sameRange } from "../place.js";
import { plainText, tokenElement } from "../token.js";

/**
 * One side of the picture: its tokens as a listbox in even rows. Plain DOM rather than a template, because hovering
 * changes the numbers of some of a thousand rows sixty times a second.
 */
export class Column {
  readonly element = document.createElement("div");
  private rows: HTMLElement[] = [];
  private range: Range = { start: 0, end: 0 };
  private annotated: Range = { start: 0, end: 0 };
  private tabStop: HTMLElement | undefined;

  constructor(
    readonly side: Side,
    readonly sequence: Sequence,
    label: string,
  ) {
    this.element.className = `column ${side}`;
    this.element.setAttribute("role", "listbox");
    this.element.setAttribute("aria-label", label);
    this.element.dataset.side = side;
  }

  /** Shows the tokens of a range. Returns false if they are shown already. */
  show(range: Range): boolean {
    if (sameRange(range, this.range)) return false;
    this.range = range;
    this.annotated = { start: 0, end: 0 };
    this.rows = this.sequence.tokens.slice(range.start, range.end).map((token, i) => this.row(token, range.start + i));
    this.element.replaceChildren(...this.rows);
    this.walkTo(range.start);
    return true;
  }

  get shown(): Range {
    return this.range;
  }

  private row(token: string, index: number): HTMLElement {
    const row = document.createElement("div");
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", "false");
    row.dataset.index = String(index);
    row.tabIndex = -1;
    row.title = plainText(token);
    const value = document.createElement("span");
    value.className = "value";
    row.append(tokenElement(token, this.sequence.special.includes(index)), value);
    return row;
  }

  rowOf(index: number): HTMLElement | undefined {
    return this.rows[index - this.range.start];
  }

  /** Tab comes to this row next. */
  walkTo(index: number): HTMLElement | undefined {
    const row = this.rowOf(index);
    if (!row) return undefined;
    if (this.tabStop) this.tabStop.tabIndex = -1;
    this.tabStop = row;
    row.tabIndex = 0;
    return row;
  }

  select(index: number | null): void {
    for (const row of this.element.querySelectorAll("[aria-selected=true]")) row.setAttribute("aria-selected", "false");
    if (index !== null) this.rowOf(index)?.setAttribute("aria-selected", "true");
  }

  point(index: number | null): void {
    for (const row of this.element.querySelectorAll(".pointed")) row.classList.remove("pointed");
    if (index !== null) this.rowOf(index)?.classList.add("pointed");
  }

  /** Writes a number beside each row of a range, and takes away all others. */
  annotate(range: Range, text: (index: number) => string): void {
    for (let i = this.annotated.start; i < this.annotated.end; i++) this.write(i, "");
    this.annotated = range;
    for (let i = range.start; i < range.end; i++) this.write(i, text(i));
  }

  private write(index: number, text: string): void {
    const value = this.rowOf(index)?.lastElementChild;
    if (!value || value.textContent === text) return;
    value.textContent = text;
    value.classList.toggle("pale", Number(text) === 0);
  }
}
