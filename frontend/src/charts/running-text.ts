import { walkByKey, within } from "../controls/keyboard.js";
import { Boxes, drawBreak, LINE, type MarkEvents, MarkedText, NODE } from "./marked-text.js";
import type { Sheet } from "./svg.js";

/** A stripe behind or below the text: one unit's value at each token, as a colour, or "" for none. */
export interface Stripe {
  color(token: number): string;
  /** px. The first stripe is behind the text and as high as a line. */
  height: number;
}

export interface RunningEvents extends MarkEvents {
  /** An arrow up or down; infinite for the first and the last. */
  turn(by: number): void;
}

/**
 * A text as it is written, in lines that break where they are full. The text is plain text nodes, one a line; what is
 * behind it is a canvas. So thousands of tokens cost one repainting when colours change, and no elements.
 */
export class RunningText extends MarkedText<RunningEvents> {
  private readonly text = document.createElement("pre");
  private readonly outline = Object.assign(document.createElement("div"), { className: "outline" });
  private tokens: readonly string[] = [];
  private stripes: readonly Stripe[] = [];

  constructor(events: RunningEvents) {
    super("running", events);
    const { page, canvas, text, outline } = this;
    outline.hidden = true;
    text.dir = "auto";
    page.append(canvas, text, outline);
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
      for (const { mark, line, left, right } of boxes.all) {
        const fill = color(mark);
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
    for (const { mark, line, left, right } of this.boxes.all) {
      const text = this.tokens[mark] as string;
      const [y, middle] = [line * this.step + LINE / 2, Math.round((left + right) / 2)];
      if (text === " ") pen.fillRect(middle - 1, y, 2, 2);
      else if (text.endsWith("\n")) {
        drawBreak(pen, right, y);
        pen.fillRect(right - 5, y, 1, 5);
      }
    }
    pen.globalAlpha = 1;
  }

  protected override get step(): number {
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
    // The text stands in the middle of its line, and belongs at the top: it is moved up by what is below it.
    const boxes = new Boxes(step, text.getBoundingClientRect(), (step - LINE) / 2);
    const range = document.createRange();
    let [node, start] = [0, 0];
    const nodes = [...text.childNodes] as Text[];
    const lengths = nodes.map(({ length }) => length);
    this.tokens.forEach((token, i) => {
      while (node < nodes.length - 1 && start >= (lengths[node] as number)) {
        start -= lengths[node] as number;
        node++;
      }
      const inNode = nodes[node];
      if (!inNode) return;
      range.setStart(inNode, start);
      start += token.length;
      range.setEnd(inNode, Math.min(start, inNode.length));
      boxes.add(i, token, range.getClientRects());
    });
    this.boxes = boxes;
    Object.assign(canvas, { width: clientWidth, height: Math.max(step, boxes.lines.length * step) });
    page.style.height = `${canvas.height}px`;
  }

  /** Marks the token that is read. */
  mark(token: number | null): void {
    const box = token === null ? undefined : this.boxes.of(token);
    this.outline.hidden = !box;
    if (!box) return;
    const { line, left, right } = box;
    this.outline.style.cssText = `left:${left - 1}px;top:${line * this.step}px;width:${right - left + 2}px;height:${this.step}px`;
  }

  protected key(event: KeyboardEvent): void {
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
    for (const { mark, line, left, right } of this.boxes.all)
      yield { token: mark, x: left, y: line * this.step, width: right - left };
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
