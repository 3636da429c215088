import { walkByKey, within } from "../controls/keyboard.js";
import type { Sheet } from "./svg.js";

/** A stripe behind or below the text: one unit's value at each token, as a colour, or "" for none. */
export interface Stripe {
  color(token: number): string;
  /** px. The first stripe is behind the text and as high as a line. */
  height: number;
}

/** A piece of a token in one line. */
interface Box {
  token: number;
  line: number;
  left: number;
  right: number;
}

export interface RunningEvents {
  /** Another token is pointed at, or none. What the keyboard does is announced, what the mouse does is not. */
  point(token: number | null, announce: boolean): void;
  toggle(token: number): void;
  /** An arrow up or down; infinite for the first and the last. */
  turn(by: number): void;
}

const LINE = 24;
/** The width of a token that is nothing but a line break. */
const BREAK = 8;
/** The most characters of a text node, about. */
const NODE = 200;

/**
 * A text as it is written, in lines that break where they are full. The text is plain text nodes, one a line; what is
 * behind it is a canvas. So thousands of tokens cost one repainting when colours change, and no elements.
 */
export class RunningText {
  readonly element = document.createElement("div");
  private readonly page = document.createElement("div");
  private readonly canvas = document.createElement("canvas");
  private readonly text = document.createElement("pre");
  private readonly outline = Object.assign(document.createElement("div"), { className: "outline" });
  private tokens: readonly string[] = [];
  private boxes: Box[] = [];
  /** The index at which each line's boxes begin. */
  private lines: number[] = [];
  private first: number[] = [];
  private stripes: readonly Stripe[] = [];
  private width = 0;
  private at = 0;

  constructor(private readonly events: RunningEvents) {
    const { element, page, canvas, text, outline } = this;
    element.className = "running scroller";
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "coloured text");
    page.className = "page";
    canvas.setAttribute("aria-hidden", "true");
    outline.hidden = true;
    text.dir = "auto";
    page.append(canvas, text, outline);
    element.append(page);
    element.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") events.point(this.under(event), false);
    });
    element.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") events.point(null, false);
    });
    element.addEventListener("click", (event) => {
      const token = this.under(event);
      const selects = (element.getRootNode() as unknown as { getSelection?: () => Selection | null }).getSelection;
      const { isCollapsed = true } = (selects ? selects.call(element.getRootNode()) : getSelection()) ?? {};
      if (token === null || !isCollapsed) return; // who selects text does not mean the token
      this.at = token;
      events.toggle(token);
    });
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible")) events.point(this.at, true);
    });
    element.addEventListener("blur", () => events.point(null, false));
    element.addEventListener("keydown", (event) => this.key(event));
  }

  set label(text: string) {
    this.element.setAttribute("aria-label", text);
  }

  /** Writes the text; its tokens must be another array where they are others. */
  show(tokens: readonly string[]): void {
    if (tokens === this.tokens) return;
    this.tokens = tokens;
    const parts: Text[] = [];
    let line = "";
    const end = () => {
      if (line) parts.push(document.createTextNode(line));
      line = "";
    };
    for (const token of tokens) {
      line += token;
      if (token.includes("\n") || line.length > NODE) end(); // places within a long node are slow to find
    }
    end();
    this.text.replaceChildren(...parts);
    this.width = 0;
  }

  /** Paints stripes: the first behind the text, the others below each line. */
  paint(stripes: readonly Stripe[], ink: string): void {
    const step = this.step;
    this.stripes = stripes;
    if (step !== this.step) this.width = 0;
    this.measure();
    const { canvas, boxes } = this;
    const pen = canvas.getContext("2d");
    if (!pen) return;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    let below = 0;
    for (const { color, height } of stripes) {
      for (const { token, line, left, right } of boxes) {
        const fill = color(token);
        if (!fill) continue;
        pen.fillStyle = fill;
        pen.fillRect(left, line * this.step + below, right - left, height - (below && 1));
      }
      below += height;
    }
    this.marks(pen, ink);
  }

  /** White space can be seen, but hardly. */
  private marks(pen: CanvasRenderingContext2D, ink: string): void {
    pen.fillStyle = ink;
    pen.globalAlpha = 0.35;
    for (const { token, line, left, right } of this.boxes) {
      const text = this.tokens[token] as string;
      const [y, middle] = [line * this.step + LINE / 2, Math.round((left + right) / 2)];
      if (text === " ") pen.fillRect(middle - 1, y, 2, 2);
      else if (text.endsWith("\n")) {
        pen.fillRect(right - 7, y + 2, 6, 1);
        pen.fillRect(right - 2, y - 3, 1, 5);
        pen.fillRect(right - 6, y + 1, 1, 3);
        pen.fillRect(right - 5, y, 1, 5);
      }
    }
    pen.globalAlpha = 1;
  }

  private get step(): number {
    return Math.max(
      LINE,
      this.stripes.reduce((sum, { height }) => sum + height, 0),
    );
  }

  /** Finds the boxes of the tokens, where the width or the height of the lines is another. */
  private measure(): void {
    const { element, page, canvas, text, step } = this;
    const { clientWidth } = element;
    if (clientWidth === this.width || !clientWidth) return;
    this.width = clientWidth;
    page.style.setProperty("--step", `${step}px`);
    const origin = text.getBoundingClientRect();
    // The text stands in the middle of its line, and belongs at the top: it is moved up by what is below it.
    const shift = (step - LINE) / 2;
    this.boxes = [];
    this.lines = [];
    this.first = [];
    const range = document.createRange();
    let [node, start] = [0, 0];
    const nodes = [...text.childNodes] as Text[];
    const lengths = nodes.map(({ length }) => length);
    this.tokens.forEach((token, i) => {
      while (node < nodes.length - 1 && start >= (lengths[node] as number)) {
        start -= lengths[node] as number;
        node++;
      }
      this.first.push(this.boxes.length);
      const inNode = nodes[node];
      if (!inNode) return;
      range.setStart(inNode, start);
      start += token.length;
      range.setEnd(inNode, Math.min(start, inNode.length));
      for (const rect of range.getClientRects()) {
        const line = Math.max(0, Math.floor((rect.top + rect.height / 2 - origin.top + shift) / step));
        const left = Math.round(rect.left - origin.left);
        const right = Math.max(Math.round(rect.right - origin.left), left + (token.endsWith("\n") ? BREAK : 0));
        if (right <= left) continue;
        const before = this.boxes.at(-1);
        if (before?.token === i && before.line === line) {
          before.left = Math.min(before.left, left);
          before.right = Math.max(before.right, right);
          continue;
        }
        while (this.lines.length <= line) this.lines.push(this.boxes.length);
        this.boxes.push({ token: i, line, left, right });
      }
    });
    Object.assign(canvas, { width: clientWidth, height: Math.max(step, this.lines.length * step) });
    page.style.height = `${canvas.height}px`;
  }

  /** Marks the token that is read. */
  mark(token: number | null): void {
    const box = token === null ? undefined : this.boxes[this.first[token] ?? -1];
    this.outline.hidden = !box || box.token !== token;
    if (!box) return;
    const { line, left, right } = box;
    this.outline.style.cssText = `left:${left - 1}px;top:${line * this.step}px;width:${right - left + 2}px;height:${this.step}px`;
  }

  /** Brings a token into view, within the text. */
  private reveal(token: number): void {
    const { line = 0 } = this.boxes[this.first[token] ?? -1] ?? {};
    const { element, step } = this;
    const top = line * step;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + step > element.scrollTop + element.clientHeight)
      element.scrollTop = top + step - element.clientHeight;
  }

  private under({ clientX, clientY }: MouseEvent): number | null {
    const { left, top } = this.page.getBoundingClientRect();
    const line = Math.floor((clientY - top) / this.step);
    const [x, from, to] = [clientX - left, this.lines[line], this.lines[line + 1]];
    if (from === undefined) return null;
    return this.boxes.slice(from, to).find((box) => box.line === line && x >= box.left && x < box.right)?.token ?? null;
  }

  private key(event: KeyboardEvent): void {
    walkByKey(
      event,
      (down, right) => {
        if (down) this.events.turn(down);
        else {
          this.at = within(this.at + right, { start: 0, end: this.tokens.length });
          this.reveal(this.at);
          this.events.point(this.at, true);
        }
      },
      () => this.events.toggle(this.at),
      true,
    );
  }

  /** The lines and stripes as they are seen, for a file. */
  private *pieces(): Generator<{ token: number; x: number; y: number; width: number }> {
    for (const { token, line, left, right } of this.boxes)
      yield { token, x: left, y: line * this.step, width: right - left };
  }

  /** Return the text with these stripes as a picture to save. */
  sheet(stripes: readonly Stripe[], texts: readonly string[]): Sheet {
    return {
      width: this.canvas.width,
      height: this.canvas.height,
      draw: (pen) => {
        let below = 0;
        for (const { color, height } of stripes) {
          for (const { token, x, y, width } of this.pieces()) {
            pen.fillStyle = color(token);
            if (pen.fillStyle) pen.fillRect(x, y + below, width, height - (below && 1));
          }
          below += height;
        }
        for (const { token, x, y } of this.pieces()) {
          const said = (texts[token] as string).trimEnd();
          if (said) pen.text(said, x, y + 17, { size: 13, mono: true });
        }
      },
    };
  }
}
