/** A piece of a mark in one line. */
export interface Box {
  mark: number;
  line: number;
  left: number;
  right: number;
}

export interface MarkEvents {
  /** Another mark is pointed at, or none. What the keyboard does is announced, what the mouse does is not. */
  point(mark: number | null, announce: boolean): void;
  toggle(mark: number): void;
}

export const LINE = 24;
/** The most characters of a text node, about: places within a long one are slow to find. */
export const NODE = 200;
/** The width of a mark that is nothing but a line break. */
const BREAK = 8;

/** Where marks stand in a text whose lines have the same height: the boxes of each mark, and those of each line. */
export class Boxes {
  readonly all: Box[] = [];
  /** The index at which each line's boxes begin. */
  readonly lines: number[] = [];
  /** The index of each mark's first box. */
  private readonly first: number[] = [];

  /** `shift` is how far the text stands above the middle of its line. */
  constructor(
    private readonly step = LINE,
    private readonly origin = new DOMRect(),
    private readonly shift = 0,
  ) {}

  /** Adds the mark that follows, with its rectangles in the window. */
  add(mark: number, text: string, rects: Iterable<DOMRect>): void {
    this.first[mark] = this.all.length;
    for (const rect of rects) {
      const line = Math.max(0, Math.floor((rect.top + rect.height / 2 - this.origin.top + this.shift) / this.step));
      const left = Math.round(rect.left - this.origin.left);
      const right = Math.max(Math.round(rect.right - this.origin.left), left + (text.endsWith("\n") ? BREAK : 0));
      if (right > left) this.put({ mark, line, left, right });
    }
  }

  private put(box: Box): void {
    const { all } = this;
    const before = all.at(-1);
    if (before?.mark === box.mark && before.line === box.line && touch(before, box)) {
      before.left = Math.min(before.left, box.left);
      before.right = Math.max(before.right, box.right);
      return;
    }
    this.fillUp(box.line + 1);
    all.push(box);
  }

  /** Adds lines without marks, up to this number of lines. */
  fillUp(count: number): void {
    while (this.lines.length < count) this.lines.push(this.all.length);
  }

  of(mark: number): Box | undefined {
    const box = this.all[this.first[mark] ?? -1];
    return box?.mark === mark ? box : undefined;
  }

  inLine(line: number): Box[] {
    return this.between(line, line + 1).filter((box) => box.line === line);
  }

  /** The boxes of the lines from `from` up to, and without, `to`. */
  between(from: number, to: number): Box[] {
    return this.all.slice(this.lines[from] ?? this.all.length, this.lines[to] ?? this.all.length);
  }

  /** The mark at a point of the text, or null. */
  under(x: number, y: number): number | null {
    return this.inLine(Math.floor(y / this.step)).find((box) => x >= box.left && x < box.right)?.mark ?? null;
  }
}

function touch(before: Box, box: Box): boolean {
  return box.left <= before.right + 1 && box.right >= before.left - 1;
}

/** Draws the sign of a line break at the right end of a box whose middle is at `y`. */
export function drawBreak(pen: CanvasRenderingContext2D, right: number, y: number): void {
  pen.fillRect(right - 7, y + 2, 6, 1);
  pen.fillRect(right - 2, y - 3, 1, 5);
  pen.fillRect(right - 6, y + 1, 1, 3);
}

/** A text of plain text nodes whose marks can be pointed at, with a canvas behind it. */
export abstract class MarkedText<Events extends MarkEvents> {
  readonly element = document.createElement("div");
  protected readonly page = document.createElement("div");
  protected readonly canvas = document.createElement("canvas");
  protected boxes = new Boxes();
  protected width = 0;
  /** The mark that the keyboard is at. */
  protected at = 0;

  constructor(
    className: string,
    protected readonly events: Events,
  ) {
    const { element, page, canvas } = this;
    element.className = `${className} scroller`;
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "coloured text");
    page.className = "page";
    canvas.setAttribute("aria-hidden", "true");
    element.append(page);
    element.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") events.point(this.under(event), false);
    });
    element.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") events.point(null, false);
    });
    element.addEventListener("click", (event) => {
      const mark = this.under(event);
      const root = element.getRootNode() as unknown as { getSelection?: () => Selection | null };
      const { isCollapsed = true } = (root.getSelection ? root.getSelection() : getSelection()) ?? {};
      if (mark === null || !isCollapsed) return; // who selects text does not mean the token
      this.place = mark;
      events.toggle(mark);
    });
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible")) events.point(this.at, true);
    });
    element.addEventListener("blur", () => events.point(null, false));
    element.addEventListener("keydown", (event) => this.key(event));
  }

  protected abstract key(event: KeyboardEvent): void;

  /** The height of a line in px. */
  protected get step(): number {
    return LINE;
  }

  set label(text: string) {
    this.element.setAttribute("aria-label", text);
  }

  /** The mark that the keyboard is at. */
  set place(mark: number) {
    this.at = mark;
  }

  /** Brings a mark into view, within the text. */
  reveal(mark: number): void {
    const { element, step } = this;
    const top = (this.boxes.of(mark)?.line ?? 0) * step;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + step > element.scrollTop + element.clientHeight)
      element.scrollTop = step * Math.ceil((top + step - element.clientHeight) / step);
  }

  private under({ clientX, clientY }: MouseEvent): number | null {
    const { left, top } = this.page.getBoundingClientRect();
    return this.boxes.under(clientX - left, clientY - top);
  }
}
