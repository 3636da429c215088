import { focusByKey, moveTabStop, walkByKey, within } from "../controls/keyboard.js";
import type { Sequence, Stretch, TextFigure } from "../element/figure.js";
import { levelsOf } from "../lib/direction.js";
import { plainText, tokenElement } from "../lib/token.js";

/** A token of a text that is set as text: line by line, in the order of reading. */
export interface FlowToken {
  text: string;
  special: boolean;
  /** The small text below it; its position, if there is nothing else to say. */
  note: string;
  /** Cannot be chosen. */
  inactive?: boolean;
}

/** Tokens that belong together, under a heading. */
export interface FlowGroup {
  heading: string;
  tokens: FlowToken[];
}

/** A bar in a token's strip, in px from the strip's top; as wide as the token where it has no width of its own. */
export interface Bar {
  color: string;
  top: number;
  height: number;
  width?: number;
}

/** The look of a token, as CSS. `ink` is the colour of its text, where the background asks for one. */
export interface Paint {
  background?: string;
  ink?: string;
  bars?: Bar[];
}

/** The room for bars in each token, in px: above its text, or between that and the note. */
export interface Strip {
  height: number;
  above: boolean;
}

/** px of a token's text, below which a strip may begin. */
export const TEXT = 22;

/** The tokens of each stretch over their positions; `more` is what a view says of them beside, or in place of that. */
export function groupsOf(
  { texts, sequences }: TextFigure & { texts: Stretch[] },
  more: (name: string, position: number) => Partial<FlowToken> = () => ({}),
): FlowGroup[] {
  return texts.map(({ name, heading, start, end }) => {
    const { tokens, special } = sequences[name] as Sequence;
    const token = (text: string, i: number) => {
      const at = start + i;
      return { text, special: special.includes(at), note: String(at), ...more(name, at) };
    };
    return { heading, tokens: tokens.slice(start, end).map(token) };
  });
}

export interface FlowEvents {
  /** Another token is pointed at, or none. What the keyboard does is announced, what the mouse does is not. */
  point(index: number | null, announce: boolean): void;
  choose(index: number): void;
}

/**
 * A text's tokens as a listbox that wraps like text. Positions count through all groups. Plain DOM, since hovering
 * repaints some of a thousand tokens sixty times a second.
 */
export class Flow {
  readonly element = document.createElement("div");
  private rows: HTMLElement[] = [];
  private shown: FlowGroup[] = [];
  private strip: Strip = { height: 0, above: false };
  private tabStop = 0;

  constructor(
    label: string,
    private readonly events: FlowEvents,
  ) {
    const { element } = this;
    element.className = "flow";
    element.setAttribute("role", "listbox");
    element.setAttribute("aria-label", label);
    element.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") events.point(this.indexOf(event), false);
    });
    element.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") events.point(null, false);
    });
    element.addEventListener("focusin", (event) => {
      const index = this.indexOf(event);
      if (index !== null && (event.target as Element).matches(":focus-visible")) events.point(index, true);
    });
    element.addEventListener("focusout", () => events.point(null, false));
    element.addEventListener("click", (event) => this.choose(event));
    element.addEventListener("keydown", (event) => this.keydown(event));
  }

  /** Shows other tokens; the same ones stay as they are. */
  show(groups: FlowGroup[]): void {
    if (groups === this.shown) return;
    this.shown = groups;
    this.rows = [];
    this.element.replaceChildren(...groups.map((group) => this.group(group)));
    const first = this.rows.findIndex((row) => !row.classList.contains("inactive"));
    this.tabStop = Math.max(0, first);
    moveTabStop(undefined, this.rows[this.tabStop]);
  }

  /** Its tokens run in the direction that the text is written in. */
  private group({ heading, tokens }: FlowGroup): HTMLElement {
    const { base, levels } = levelsOf(tokens);
    const group = document.createElement("div");
    group.setAttribute("role", "group");
    if (base) group.dir = "rtl";
    if (heading) {
      const title = Object.assign(document.createElement("span"), { className: "heading", textContent: heading });
      title.setAttribute("role", "presentation");
      group.ariaLabel = heading;
      group.append(title);
    }
    nest(
      tokens.map((token) => this.token(token)),
      levels,
      base,
      group,
    );
    return group;
  }

  private token({ text, special, note, inactive }: FlowToken): HTMLElement[] {
    const row = document.createElement("div");
    row.setAttribute("role", "option");
    row.setAttribute("aria-selected", "false");
    row.dataset.index = String(this.rows.length);
    row.tabIndex = -1;
    row.dataset.tip = plainText(text);
    if (inactive) {
      row.classList.add("inactive");
      row.setAttribute("aria-disabled", "true");
    }
    row.append(tokenElement(text, special), Object.assign(document.createElement("small"), { textContent: note }));
    this.rows.push(row);
    if (!text.includes("\n")) return [row];
    return [row, document.createElement("br")];
  }

  /** Keeps room for bars. */
  reserve(strip: Strip): void {
    this.strip = strip;
    this.element.style.setProperty("--strip", `${strip.height}px`);
    this.element.classList.toggle("above", strip.above);
    this.element.classList.toggle("below", strip.height > 0 && !strip.above);
  }

  /** Each token's looks; the ground is that of the text, not of a strip above it. */
  paint(paint: (index: number) => Paint): void {
    const { height, above } = this.strip;
    this.rows.forEach((row, index) => {
      const { background = "", ink = "", bars = [] } = paint(index);
      const layers = bars.map(({ color, top, height, width }) =>
        layer(color, (above ? 0 : TEXT) + top, `${height}px`, width ? `${width}px` : "100%"),
      );
      const ground = background && above ? layer(background, height, "100%", "100%") : background;
      row.style.background = [...layers, ...(ground ? [ground] : [])].join();
      row.style.color = ink;
      row.classList.toggle("painted", Boolean(row.style.background || ink));
    });
  }

  note(text: (index: number) => string): void {
    this.rows.forEach((row, index) => {
      const note = row.lastElementChild as HTMLElement;
      const wanted = text(index);
      if (note.textContent !== wanted) note.textContent = wanted;
    });
  }

  mark(pointed: number | null, selected: number | null): void {
    this.rows.forEach((row, index) => {
      row.classList.toggle("pointed", index === pointed);
      row.setAttribute("aria-selected", String(index === selected));
    });
  }

  private indexOf(event: Event): number | null {
    const row = (event.target as Element).closest<HTMLElement>("[role=option]");
    return row && !row.classList.contains("inactive") ? Number(row.dataset.index) : null;
  }

  private choose(event: Event): void {
    const index = this.indexOf(event);
    if (index !== null) this.events.choose(index);
  }

  private keydown(event: KeyboardEvent): void {
    const index = this.indexOf(event);
    if (index === null) return;
    walkByKey(
      event,
      (down, right) => this.walk(index, down, right),
      () => this.events.choose(index),
    );
  }

  private walk(index: number, down: number, right: number): void {
    const active = this.rows.flatMap((row, at) => (row.classList.contains("inactive") ? [] : [at]));
    const mirrored = getComputedStyle(this.rows[index] as HTMLElement).direction === "rtl" && Number.isFinite(right);
    const step = active.indexOf(index) + down + (mirrored ? -right : right);
    const to = active[within(step, { start: 0, end: active.length })] as number;
    focusByKey(moveTabStop(this.rows[this.tabStop], this.rows[to]));
    this.tabStop = to;
  }
}

const layer = (color: string, top: number, height: string, width: string): string =>
  `linear-gradient(${color}, ${color}) 50% ${top}px / ${width} ${height} no-repeat`;

/** Tokens of a higher level than the text around them stand in an element of the other direction. */
function nest(tokens: HTMLElement[][], levels: number[], level: number, into: HTMLElement): void {
  for (let start = 0; start < tokens.length; ) {
    if (levels[start] === level) {
      into.append(...(tokens[start++] as HTMLElement[]));
      continue;
    }
    const length = levels.slice(start).findIndex((other) => other <= level);
    const end = length < 0 ? tokens.length : start + length;
    const run = document.createElement("span");
    run.dir = level % 2 ? "ltr" : "rtl";
    nest(tokens.slice(start, end), levels.slice(start, end), level + 1, run);
    into.append(run);
    start = end;
  }
}
