import type { Column } from "../charts/column.js";
import { type Focus, focused, opposite, type Side, type TokenRef } from "../lib/geometry.js";
import { focusByKey, walkByKey, within } from "./keyboard.js";

export interface PointingEvents {
  /** Tell that another token is pointed at; `announce` if the keyboard did it, and not the mouse. */
  point(announce: boolean): void;
  /** Lock a token, or free all; `add` keeps those that are locked on its side. */
  select(token: TokenRef | null, add: boolean): void;
}

/** Turns events of mouse, finger and keyboard over two columns of tokens into previews and locked tokens. */
export class Pointing {
  selected: Focus | null = null;
  /** True if each tap adds a token to the locked ones. */
  several = false;
  /** The token that is pointed at in another picture of the same tokens. */
  elsewhere: TokenRef | null = null;
  private hovered: TokenRef | null = null;
  private focused: TokenRef | null = null;

  constructor(
    element: HTMLElement,
    private readonly columns: Record<Side, Column>,
    private readonly events: PointingEvents,
  ) {
    element.addEventListener("pointerover", (event) => this.hover(event));
    element.addEventListener("pointerleave", (event) => this.leave(event));
    element.addEventListener("focusin", (event) => this.focusIn(event));
    element.addEventListener("focusout", () => this.setFocused(null));
    element.addEventListener("click", (event) => this.click(event));
    // Shift and a click would select the text between two tokens.
    element.addEventListener("mousedown", (event) => event.shiftKey && event.preventDefault());
    element.addEventListener("keydown", (event) => this.keydown(event));
  }

  /** The token whose lines are shown. */
  get focus(): Focus | null {
    return this.selected ?? this.pointed;
  }

  /** The index of the token pointed at on the other side while one is locked, or null. */
  get partner(): number | null {
    const other = this.pointed;
    return this.selected && other && other.side !== this.selected.side ? other.index : null;
  }

  get pointed(): TokenRef | null {
    return this.here ?? this.elsewhere;
  }

  get here(): TokenRef | null {
    return this.hovered ?? this.focused;
  }

  /** Forget the tokens that were pointed at, because the columns have changed. */
  reset(): void {
    this.hovered = this.focused = this.elsewhere = null;
  }

  private hover(event: PointerEvent): void {
    if (event.pointerType !== "touch") this.setHovered(tokenAt(event));
  }

  private leave(event: PointerEvent): void {
    if (event.pointerType !== "touch") this.setHovered(null);
  }

  private setHovered(token: TokenRef | null): void {
    if (same(token, this.hovered)) return;
    this.hovered = token;
    this.events.point(false);
  }

  private focusIn(event: FocusEvent): void {
    const token = tokenAt(event);
    if (token) this.columns[token.side].walkTo(token.index);
    // A click focuses too, but it is the lock that counts then.
    if (!(event.target as Element).matches(":focus-visible")) return;
    this.hovered = null; // the keyboard has taken over from the mouse
    this.setFocused(token);
  }

  private setFocused(token: TokenRef | null): void {
    if (same(token, this.focused)) return;
    this.focused = token;
    this.events.point(token !== null);
  }

  private click(event: MouseEvent): void {
    const token = tokenAt(event);
    const touch = (event as PointerEvent).pointerType === "touch";
    const { selected } = this;
    if (!token && !selected) return;
    // A finger cannot hover: its first tap on the other side shows the pair, its second moves the lock.
    if (touch && token && selected && token.side !== selected.side && !same(token, this.hovered)) {
      this.setHovered(token);
      return;
    }
    if (touch) this.hovered = null;
    this.pick(token, this.several || adds(event));
  }

  private pick(token: TokenRef | null, add: boolean): void {
    this.events.select(add || !isAlone(token, this.selected) ? token : null, add);
  }

  private keydown(event: KeyboardEvent): void {
    const token = tokenAt(event);
    if (!token || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      this.pick(token, this.several || adds(event));
      event.preventDefault();
    } else walkByKey(event, (down, right) => this.walk(token, down, right));
  }

  /** Walk up and down a column, or across to the other one. */
  private walk({ side, index }: TokenRef, down: number, right: number): boolean {
    const across = Math.abs(right) === 1;
    if (across && right > 0 !== (side === "left")) return false;
    const here = this.columns[side];
    const column = across ? this.columns[opposite(side)] : here;
    const to = across ? column.shown.start + index - here.shown.start : index + down + right;
    focusByKey(column.walkTo(within(to, column.shown)));
    return true;
  }
}

const adds = ({ ctrlKey, metaKey, shiftKey }: MouseEvent | KeyboardEvent) => ctrlKey || metaKey || shiftKey;

function isAlone(token: TokenRef | null, selected: Focus | null): boolean {
  return same(token, selected) && focused(selected as Focus).length === 1;
}

export function same(a: TokenRef | null, b: TokenRef | null): boolean {
  return a?.side === b?.side && a?.index === b?.index;
}

function tokenAt(event: Event): TokenRef | null {
  const row = (event.target as Element).closest<HTMLElement>("[role=option]");
  const side = row?.parentElement?.dataset.side as Side | undefined;
  return row && side ? { side, index: Number(row.dataset.index) } : null;
}
