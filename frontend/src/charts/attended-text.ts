import { walkByKey, within } from "../controls/keyboard.js";
import { type Box, Boxes, drawBreak, LINE, type MarkEvents, MarkedText, NODE } from "./marked-text.js";

/** The text as it is cut: marks, what stands before each of them, and the parts that have a label. */
export interface Written {
  texts: readonly string[];
  gaps: readonly string[];
  sections: readonly { label: string; start: number }[];
  special: readonly number[];
}

/** The colours of the marks. */
export interface Colors {
  /** Shares of the full colour by mark, from -1 to 1. */
  shares: ReadonlyMap<number, number>;
  color(share: number): string;
  ink: string;
  /** True where colours are not to be used: lines below the text are thicker for larger shares, above it if negative. */
  lines: boolean;
  current: number | null;
}

/** The share of the full colour up to which a pale ink can be read on it. */
const SEEN = 0.03;

/**
 * Running text whose marks can be pointed at. The text is plain text nodes; what is behind it is a canvas of three times
 * the height that is seen. So a text of thousands of tokens costs one small repainting when another is pointed at.
 */
export class AttendedText extends MarkedText<MarkEvents> {
  private readonly column = document.createElement("div");
  private written: Written | undefined;
  private begins: ReadonlySet<number> = new Set();
  private leaves: { node: Text; start: number; end: number }[] = [];
  private readonly specials = new Map<number, HTMLElement>();
  private colors: Colors | undefined;
  private top = 0;
  private goal: number | null = null;

  constructor(events: MarkEvents) {
    super("attended", events);
    const { element, page, canvas, column } = this;
    page.append(canvas, column);
    element.addEventListener("scroll", () => {
      if (!this.covers()) this.repaint();
    });
    document.fonts?.addEventListener("loadingdone", () => this.again()); // tokens may stand elsewhere now
  }

  /** The mark that the keyboard is at. */
  override set place(mark: number) {
    this.at = mark;
    this.goal = null;
  }

  /** Writes the text, unless it stands there already. */
  show(written: Written): void {
    if (written === this.written) return;
    this.written = written;
    this.leaves = [];
    this.specials.clear();
    const special = new Set(written.special);
    const { sections, texts } = written;
    this.begins = new Set(sections.map(({ start }) => start));
    this.column.replaceChildren(
      ...sections.flatMap(({ label, start }, i) => {
        const end = sections[i + 1]?.start ?? texts.length;
        const role = Object.assign(document.createElement("p"), { className: "role", textContent: label });
        return label ? [role, this.section(start, end, special)] : [this.section(start, end, special)];
      }),
    );
    this.width = 0;
  }

  private section(start: number, end: number, special: ReadonlySet<number>): HTMLElement {
    const { texts } = this.written as Written;
    const pre = document.createElement("pre");
    let [from, text] = [start, ""];
    const close = (mark: number) => {
      if (mark === from) return;
      const node = document.createTextNode(text);
      if (special.has(from)) {
        const span = Object.assign(document.createElement("span"), { className: "special" });
        span.append(node);
        pre.append(span);
        this.specials.set(from, span);
      } else pre.append(node);
      this.leaves.push({ node, start: from, end: mark });
      [from, text] = [mark, ""];
    };
    for (let mark = start; mark < end; mark++) {
      if (special.has(mark) || special.has(from) || text.length > NODE) close(mark);
      text += this.gap(mark) + (texts[mark] as string);
      if (text.endsWith("\n")) close(mark + 1);
    }
    close(end);
    return pre;
  }

  /** Return what stands before a mark; white space at the beginning of a section is left out. */
  private gap(mark: number): string {
    const gap = this.written?.gaps[mark] ?? "";
    return this.begins.has(mark) ? gap.trimStart() : gap;
  }

  paint(colors: Colors): void {
    this.colors = colors;
    for (const [mark, { classList }] of this.specials) // a pale ink cannot be read on a colour
      classList.toggle("deep", Math.abs(colors.shares.get(mark) ?? 0) > SEEN);
    this.measure();
    this.repaint();
  }

  private again(): void {
    this.width = 0;
    if (this.colors) this.paint(this.colors);
  }

  /** Return whether the canvas covers what is seen. */
  private covers(): boolean {
    const { scrollTop, clientHeight } = this.element;
    return scrollTop >= this.top && Math.min(scrollTop + clientHeight, this.height) <= this.top + this.canvas.height;
  }

  private get height(): number {
    return Math.max(LINE, this.boxes.lines.length * LINE);
  }

  private repaint(): void {
    const { canvas, element, colors, width, height } = this;
    const pen = canvas.getContext("2d");
    if (!pen || !colors || !width) return;
    const { clientHeight, scrollTop } = element;
    const tall = Math.min(height, 3 * clientHeight);
    if (canvas.width !== width || canvas.height !== tall) Object.assign(canvas, { width, height: tall });
    else pen.clearRect(0, 0, width, tall);
    if (!this.covers() || tall > height - this.top) {
      const wanted = LINE * Math.floor((scrollTop - clientHeight) / LINE);
      this.top = Math.max(0, Math.min(wanted, height - tall));
      canvas.style.top = `${this.top}px`;
    }
    const [from, to] = [this.top / LINE, (this.top + tall) / LINE].map(Math.floor) as [number, number];
    const boxes = this.boxes.between(from, to + 1);
    for (const box of boxes) this.fill(pen, box, colors);
    pen.fillStyle = colors.ink;
    for (const box of boxes) this.breakSign(pen, box);
    pen.strokeStyle = colors.ink;
    pen.lineWidth = 2;
    for (const { mark, line, left, right } of boxes)
      if (mark === colors.current) pen.strokeRect(left, line * LINE - this.top + 1, right - left, LINE - 2);
  }

  private fill(pen: CanvasRenderingContext2D, { mark, line, left, right }: Box, colors: Colors): void {
    const share = colors.shares.get(mark);
    if (!share) return;
    const top = line * LINE - this.top;
    const thick = Math.max(1, Math.round(6 * Math.abs(share)));
    pen.fillStyle = colors.lines ? colors.ink : colors.color(share);
    if (!colors.lines) pen.fillRect(left, top + 1, right - left, LINE - 2);
    else pen.fillRect(left, share < 0 ? top : top + LINE - thick, right - left - 1, thick);
  }

  /** Line breaks can be seen, but hardly. */
  private breakSign(pen: CanvasRenderingContext2D, { mark, line, right }: Box): void {
    if (!this.written?.texts[mark]?.endsWith("\n")) return;
    const y = line * LINE - this.top + LINE / 2;
    pen.globalAlpha = 0.35;
    drawBreak(pen, right, y);
    pen.globalAlpha = 1;
  }

  /** Finds the boxes of the marks, where the width is another. */
  private measure(): void {
    const { element, page, column, written } = this;
    const { clientWidth } = element;
    if (clientWidth === this.width || !clientWidth || !written) return;
    this.width = clientWidth;
    const boxes = new Boxes(LINE, column.getBoundingClientRect());
    const range = document.createRange();
    for (const { node, start, end } of this.leaves) {
      let at = 0;
      for (let mark = start; mark < end; mark++) {
        const text = written.texts[mark] as string;
        at += this.gap(mark).length;
        range.setStart(node, Math.min(at, node.length));
        at += text.length;
        range.setEnd(node, Math.min(at, node.length));
        boxes.add(mark, text, range.getClientRects());
      }
    }
    boxes.fillUp(Math.round(column.offsetHeight / LINE));
    this.boxes = boxes;
    page.style.height = `${this.height}px`;
  }

  protected key(event: KeyboardEvent): void {
    const { key, ctrlKey, altKey, metaKey } = event;
    if (ctrlKey && !altKey && !metaKey && (key === "ArrowLeft" || key === "ArrowRight")) {
      this.go(this.word(key === "ArrowRight" ? 1 : -1));
      event.preventDefault();
      return;
    }
    walkByKey(
      event,
      (down, right) => {
        if (down) this.go(this.vertically(down), true);
        else this.go(this.at + (Number.isFinite(right) && this.fromRight() ? -right : right));
      },
      () => this.events.toggle(this.at),
      true,
    );
  }

  private go(mark: number, keepGoal = false): void {
    if (!keepGoal) this.goal = null;
    this.at = within(mark, { start: 0, end: this.written?.texts.length ?? 1 });
    this.reveal(this.at);
    this.events.point(this.at, true);
  }

  /** The next mark before which there is white space, or the one before. */
  private word(by: 1 | -1): number {
    const { texts, gaps } = this.written as Written;
    const begins = (mark: number) =>
      /\s$/.test((texts[mark - 1] ?? "") + (gaps[mark] ?? "")) || /^\s/.test(texts[mark] ?? "");
    let mark = this.at + by * (this.fromRight() ? -1 : 1);
    while (mark > 0 && mark < texts.length - 1 && !begins(mark)) mark += by * (this.fromRight() ? -1 : 1);
    return mark;
  }

  /** Return whether the text runs from right to left where the keyboard is. */
  private fromRight(): boolean {
    const here = this.boxes.of(this.at);
    for (const by of [1, -1]) {
      const beside = this.boxes.of(this.at + by);
      if (here && beside && here.line === beside.line) return by * (beside.left - here.left) < 0;
    }
    return false;
  }

  /** The mark above or below, or the first or the last. */
  private vertically(down: number): number {
    if (!Number.isFinite(down)) return down < 0 ? 0 : (this.written as Written).texts.length - 1;
    const here = this.boxes.of(this.at);
    if (!here) return this.at + down;
    this.goal ??= (here.left + here.right) / 2;
    for (let line = here.line + down; line >= 0 && line < this.boxes.lines.length; line += down) {
      const distance = ({ left, right }: Box) => Math.abs((left + right) / 2 - (this.goal as number));
      const [nearest] = this.boxes.inLine(line).sort((a, b) => distance(a) - distance(b));
      if (nearest) return nearest.mark;
    }
    return this.at;
  }

  /** The lines from which and up to which the text is seen, and how many there are. */
  get seen(): { from: number; to: number; all: number } {
    const { scrollTop, clientHeight } = this.element;
    const all = this.boxes.lines.length;
    return { from: Math.floor(scrollTop / LINE), to: Math.min(all, Math.ceil((scrollTop + clientHeight) / LINE)), all };
  }

  /** The boxes of some lines, for a file. */
  boxesOf(from: number, to: number): Box[] {
    return this.boxes.between(from, to);
  }

  /** The lines in which a label stands, with the label. */
  *labels(): Generator<{ label: string; line: number }> {
    const { top } = this.column.getBoundingClientRect();
    for (const role of this.column.querySelectorAll(".role"))
      yield { label: role.textContent ?? "", line: Math.round((role.getBoundingClientRect().top - top) / LINE) };
  }
}
