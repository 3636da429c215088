import { html, type TemplateResult } from "lit";
import { stepInList, walkByKey } from "../controls/keyboard.js";
import { grouped } from "../lib/grouped.js";
import { headColor, inkOn } from "../lib/palette.js";
import type { LayerSource } from "./figure.js";
import { sharedKeys } from "./shared-keys.js";

const HINT = "Double click, double tap or Shift+Enter: this head alone, or all again";
const DOUBLE_TAP_MS = 350;

export interface HeadSquares {
  /** The layer, whose heads may share keys. */
  source: LayerSource;
  offered: number[];
  active: number[];
  dark: boolean;
  toggle(head: number): void;
  isolate(head: number): void;
}

let lastTap: { head: number; time: number } = { head: -1, time: 0 };

/** Browsers count the clicks of a mouse, but not the taps of a finger. */
function isDouble(event: PointerEvent, head: number): boolean {
  if (event.pointerType !== "touch") return event.detail === 2;
  const double = lastTap.head === head && event.timeStamp - lastTap.time < DOUBLE_TAP_MS;
  lastTap = double ? { head: -1, time: 0 } : { head, time: event.timeStamp };
  return double;
}

/** Return the label "Heads" and one small square for each head: its colour, its number, and whether it is on. */
export function headSquares({ source, offered, active, dark, toggle, isolate }: HeadSquares): TemplateResult {
  const square = (head: number) => {
    const color = headColor(head, dark);
    const name = [`Head ${head}`, ...sharedKeys(source, head)].join(" · ");
    return html`<button
      class="square"
      aria-label=${name}
      aria-pressed=${active.includes(head)}
      data-tip="${name}. ${HINT}"
      tabindex=${head === offered[0] ? 0 : -1}
      .style="--color:${color};--ink:${inkOn(color)}"
      @click=${(event: PointerEvent) => (isDouble(event, head) ? isolate(head) : toggle(head))}
      @keydown=${(event: KeyboardEvent) => {
        if (event.key !== "Enter" || !event.shiftKey) return;
        event.preventDefault();
        isolate(head);
      }}
    >${head}</button>`;
  };
  return html`<span class="heads" id="heads" aria-hidden="true">Heads</span
    ><div class="squares" role="group" aria-labelledby="heads" aria-description=${HINT} @keydown=${rove} @focusin=${moveTabStop}>
      ${grouped(offered, (head) => sharedKeys(source, head)[0] ?? "").map(([keys, some]) =>
        keys ? html`<span class="keys" data-keys=${keys}>${some.map(square)}</span>` : some.map(square),
      )}
    </div>`;
}

function moveTabStop({ currentTarget, target }: FocusEvent): void {
  for (const square of (currentTarget as HTMLElement).querySelectorAll("button"))
    square.tabIndex = square === target ? 0 : -1;
}

function rove(event: KeyboardEvent): void {
  const squares = [...(event.currentTarget as HTMLElement).querySelectorAll("button")];
  walkByKey(event, (down, right) => stepInList(squares, event.target, down, right));
}
