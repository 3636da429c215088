import { focusByKey, moveTabStop, walkByKey, within } from "../controls/keyboard.js";
import { named, spoken } from "../controls/reading.js";
import type { Sequence } from "../element/figure.js";
import { type Range, sameRange } from "../lib/geometry.js";

/** A button beside each token on the left: + takes its weights apart, − puts them together again. */
export class NeuronToggles {
  readonly element = document.createElement("div");
  private range: Range = { start: 0, end: 0 };
  private tabStop: HTMLElement | undefined;
  private expanded: number | null = null;

  constructor(
    private readonly sequence: Sequence,
    private readonly events: { toggle(index: number): void; point(index: number | null, announce: boolean): void },
  ) {
    this.element.className = "toggles";
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", "How weights come about");
    this.element.addEventListener("click", (event) => this.click(event));
    this.element.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") events.point(indexOf(event), false);
    });
    this.element.addEventListener("pointerleave", () => events.point(null, false));
    this.element.addEventListener("focusin", (event) => this.focusIn(event));
    this.element.addEventListener("focusout", () => events.point(null, false));
    this.element.addEventListener("keydown", (event) => this.keydown(event));
  }

  show(range: Range, expanded: number | null): void {
    if (!sameRange(range, this.range)) this.fill(range);
    for (const button of this.buttons) {
      const open = Number(button.dataset.index) === expanded;
      button.dataset.sign = open ? "−" : "+";
      button.setAttribute("aria-expanded", String(open));
    }
    // Not at each drawing: Tab goes on to the button of the token that the keyboard comes from.
    if (expanded !== null && expanded !== this.expanded) this.walkTo(expanded);
    this.expanded = expanded;
  }

  private fill(range: Range): void {
    this.range = range;
    const tokens = this.sequence.tokens.slice(range.start, range.end);
    this.element.replaceChildren(...tokens.map((_, i) => button(this.sequence.tokens, range.start + i)));
    this.walkTo(range.start);
  }

  private get buttons(): HTMLElement[] {
    return [...this.element.children] as HTMLElement[];
  }

  /** Tab comes to this button next. */
  walkTo(index: number): HTMLElement | undefined {
    const button = this.element.children[index - this.range.start] as HTMLElement | undefined;
    if (!button) return undefined;
    this.tabStop = moveTabStop(this.tabStop, button);
    return button;
  }

  private click(event: Event): void {
    event.stopPropagation(); // elsewhere in the picture a click sets a locked token free
    const index = indexOf(event);
    if (index !== null) this.events.toggle(index);
  }

  private focusIn(event: FocusEvent): void {
    const index = indexOf(event);
    if (index !== null) this.walkTo(index);
    if ((event.target as Element).matches(":focus-visible")) this.events.point(index, true);
  }

  private keydown(event: KeyboardEvent): void {
    const index = indexOf(event);
    if (index === null) return;
    walkByKey(event, (down, right) => {
      if (Math.abs(right) === 1) return false;
      focusByKey(this.walkTo(within(index + down + right, this.range)));
      return true;
    });
  }
}

function button(tokens: string[], index: number): HTMLElement {
  const made = document.createElement("button");
  made.dataset.index = String(index);
  made.tabIndex = -1;
  const label = `How the weights of ${spoken(named(tokens, index))} come about`;
  made.dataset.tip = label;
  made.setAttribute("aria-label", label);
  return made;
}

function indexOf(event: Event): number | null {
  const button = (event.target as Element).closest("button");
  return button ? Number(button.dataset.index) : null;
}
