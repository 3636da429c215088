import type { Sequence } from "../element/figure.js";
import { inRange, type Range } from "../lib/geometry.js";
import { plainText, tokenElement } from "../lib/token.js";

/** Where cells are too small, not all have a label. */
const PITCH = 15;
const WIDEST = 112;

/** The visible tokens of one side, and the one that is read. */
export interface Axis {
  sequence: Sequence;
  /** All that could be scrolled to, and what is in view. */
  range: Range;
  inView: Range;
  size: number;
  offset: number;
  pointed: number | undefined;
  /** The reader's letter size as a multiple of the usual one. */
  scale: number;
}

/** Returns the tokens that have a label: every so many, and the one that is read in place of its neighbours. */
export function labelled({ range, inView, size, pointed, scale }: Omit<Axis, "sequence" | "offset">): number[] {
  const every = Math.ceil((PITCH * scale) / size);
  const read = pointed !== undefined && inRange(pointed, inView) ? pointed : null;
  const first = inView.start + ((every - ((inView.start - range.start) % every)) % every);
  const wanted: number[] = [];
  for (let index = first; index < inView.end; index += every)
    if (read === null || Math.abs(index - read) >= every) wanted.push(index);
  return read === null ? wanted : [...wanted, read];
}

/** The tokens along one side of a heat map; only those that are visible are in the page. */
export class HeatLabels {
  readonly element = document.createElement("div");
  private there = new Map<number, HTMLElement>();
  private sequence: Sequence | undefined;

  constructor(side: "top" | "side") {
    this.element.className = `labels ${side}`;
    this.element.setAttribute("aria-hidden", "true");
  }

  show(axis: Axis): void {
    const { sequence, range, size, offset, pointed } = axis;
    const wanted = labelled(axis);
    const kept = new Set(sequence === this.sequence ? wanted : []);
    for (const [index, label] of this.there) {
      if (kept.has(index)) continue;
      label.remove();
      this.there.delete(index);
    }
    this.sequence = sequence;
    for (const index of wanted) {
      const label = this.there.get(index) ?? this.add(sequence, index);
      label.style.setProperty("--at", `${(index - range.start + 0.5) * size - offset}px`);
      label.classList.toggle("pointed", index === pointed);
    }
  }

  private add(sequence: Sequence, index: number): HTMLElement {
    const token = sequence.tokens[index] as string;
    const label = document.createElement("div");
    label.title = plainText(token);
    label.append(tokenElement(token, sequence.special.includes(index)));
    this.there.set(index, label);
    this.element.append(label);
    return label;
  }
}

/** Room for the longest label, found without laying them out. */
export function labelWidth(tokens: string[], scale: number): number {
  const longest = tokens.reduce((most, token) => Math.max(most, plainText(token).length), 1);
  return Math.min(WIDEST, Math.round(longest * 7.6 * scale) + 14);
}
