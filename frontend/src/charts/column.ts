import { moveTabStop } from "../controls/keyboard.js";
import type { Sequence } from "../element/figure.js";
import { inRange, type Range, ROW_HEIGHT, type Side, sameRange } from "../lib/geometry.js";
import { plainText, tokenElement } from "../lib/token.js";

/** The length from which only the visible tokens of a column are in the page. */
const ALL_ROWS = 160;
const NOTHING: Range = { start: 0, end: 0 };

/**
 * One side of the picture: its tokens as a listbox in even rows. Plain DOM rather than a template, because hovering
 * changes the numbers of some of a thousand rows sixty times a second.
 */
export class Column {
  readonly element = document.createElement("div");
  /** True if `fill` will be called, as a long column is scrolled. */
  windowed = false;
  private rows = new Map<number, HTMLElement>();
  private range = NOTHING;
  private window = NOTHING;
  private selected = new Set<number>();
  private pointed: number | null = null;
  private tabStop = 0;
  private isAnnotated = false;

  constructor(
    readonly side: Side,
    public sequence: Sequence,
    label: string,
  ) {
    this.element.className = `column ${side}`;
    this.element.setAttribute("role", "listbox");
    this.element.setAttribute("aria-label", label);
    this.element.setAttribute("aria-multiselectable", "true");
    this.element.dataset.side = side;
  }

  /** Shows the tokens of a range, of another sequence if one is given. Returns false if they are shown already. */
  show(range: Range, sequence = this.sequence): boolean {
    if (sameRange(range, this.range) && sequence === this.sequence) return false;
    Object.assign(this, { range, sequence, window: NOTHING, tabStop: range.start });
    this.rows.clear();
    this.element.replaceChildren();
    this.element.style.height = `${(range.end - range.start) * ROW_HEIGHT}px`;
    this.fill(this.isLong ? NOTHING : range);
    return true;
  }

  get shown(): Range {
    return this.range;
  }

  private get isLong(): boolean {
    return this.windowed && this.range.end - this.range.start > ALL_ROWS;
  }

  /** Sees to it that the rows of a window are in the page; of a short column they all are. */
  fill(window: Range): void {
    const wanted = this.isLong ? window : this.range;
    if (sameRange(wanted, this.window)) return;
    this.window = wanted;
    for (const [index, row] of this.rows) {
      if (inRange(index, wanted) || index === this.tabStop) continue;
      row.remove();
      this.rows.delete(index);
    }
    for (let index = wanted.start; index < wanted.end; index++) this.ensure(index);
    this.ensure(this.tabStop);
  }

  private ensure(index: number): HTMLElement | undefined {
    const there = this.rows.get(index);
    if (there || !inRange(index, this.range)) return there;
    const row = this.row(this.sequence.tokens[index] as string, index);
    this.rows.set(index, row);
    this.element.append(row);
    return row;
  }

  private row(token: string, index: number): HTMLElement {
    const row = document.createElement("div");
    const { start, end } = this.range;
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", String(this.selected.has(index)));
    row.classList.toggle("pointed", index === this.pointed);
    row.dataset.index = String(index);
    row.tabIndex = index === this.tabStop ? 0 : -1;
    row.style.top = `${(index - start) * ROW_HEIGHT}px`;
    if (this.isLong) {
      row.ariaSetSize = String(end - start);
      row.ariaPosInSet = String(index - start + 1);
    }
    row.dataset.tip = plainText(token);
    row.append(tokenElement(token, this.sequence.special.includes(index)), ...this.nextOf(index));
    return row;
  }

  /** The token that a decoder is to produce here. */
  private nextOf(index: number): HTMLElement[] {
    const next = this.side === "left" ? this.sequence.next?.[index] : undefined;
    if (!next) return [];
    const element = tokenElement(next, true);
    element.prepend("→ ");
    element.classList.add("next");
    return [element];
  }

  rowOf(index: number): HTMLElement | undefined {
    return this.rows.get(index);
  }

  /** Tab comes to this row next. */
  walkTo(index: number): HTMLElement | undefined {
    const row = this.ensure(index);
    if (!row) return undefined;
    moveTabStop(this.rows.get(this.tabStop), row);
    this.tabStop = index;
    return row;
  }

  select(chosen: number | readonly number[] | null): void {
    const indices = chosen === null ? [] : typeof chosen === "number" ? [chosen] : chosen;
    for (const index of this.selected) this.rows.get(index)?.setAttribute("aria-selected", "false");
    this.selected = new Set(indices);
    for (const index of indices) this.rows.get(index)?.setAttribute("aria-selected", "true");
  }

  point(index: number | null): void {
    this.rows.get(this.pointed ?? -1)?.classList.remove("pointed");
    this.pointed = index;
    this.rows.get(index ?? -1)?.classList.add("pointed");
  }

  /** Hatches the rows that may not attend, or be attended to. */
  bar(isBarred: (index: number) => boolean): void {
    for (const [index, row] of this.rows) row.classList.toggle("barred", isBarred(index));
  }

  /** Writes a number beside each row of a range, and takes away all others. A weak one is pale. */
  annotate(range: Range, text: (index: number) => string, isWeak = (index: number) => Number(text(index)) === 0): void {
    const { isAnnotated } = this;
    this.isAnnotated = range.end > range.start;
    if (!isAnnotated && !this.isAnnotated) return;
    for (const index of this.rows.keys()) {
      const written = inRange(index, range);
      this.write(index, written ? text(index) : "", written && isWeak(index));
    }
  }

  private write(index: number, text: string, weak: boolean): void {
    const row = this.rows.get(index);
    let value = row?.querySelector(".value");
    if (!row || !(value || text)) return;
    if (!value) {
      value = document.createElement("span");
      value.className = "value";
      row.append(value);
    }
    if (value.textContent !== text) value.textContent = text;
    value.classList.toggle("pale", weak);
  }
}
