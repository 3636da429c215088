import { walkByKey, within } from "../controls/keyboard.js";
import type { Scheme } from "../element/scheme.js";
import { headColor } from "../lib/palette.js";
import type { Pen, SvgPen } from "./svg.js";

/** The fractions of tokens at which each unit's gate is left-saturated and right-saturated, by layer and gate. */
export type Saturation = Record<string, Record<string, [left: number[], right: number[]]>>;

/** One unit's gates. */
export interface UnitPlace {
  layer: number;
  unit: number;
}

export interface SaturationEvents {
  point(place: UnitPlace | null, announce: boolean): void;
  choose(place: UnitPlace): void;
}

const [LEFT, GAP, TOP, BOTTOM, LARGEST, REACH] = [40, 32, 28, 36, 200, 12];

/** A scatter plot for each gate: across, how often it is nearly closed; up, how often it is nearly open. */
export class SaturationPlot {
  readonly element = document.createElement("div");
  private readonly canvas = document.createElement("canvas");
  private shown: Saturation = {};
  private side = 0;
  private perLine = 1;
  private place: UnitPlace | null = null;

  constructor(private readonly events: SaturationEvents) {
    const { element, canvas } = this;
    element.className = "saturation";
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "scatter plots");
    canvas.setAttribute("aria-hidden", "true");
    element.append(canvas);
    element.addEventListener("pointermove", (event) => events.point(this.under(event), false));
    element.addEventListener("pointerleave", () => events.point(null, false));
    element.addEventListener("click", (event) => {
      const place = this.under(event);
      if (place) events.choose(place);
    });
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible")) events.point(this.place ?? this.places[0] ?? null, true);
    });
    element.addEventListener("blur", () => events.point(null, false));
    element.addEventListener("keydown", (event) =>
      walkByKey(
        event,
        (down, right) => this.walk(down, right),
        () => this.place && events.choose(this.place),
      ),
    );
  }

  get gates(): string[] {
    return [...new Set(Object.values(this.shown).flatMap(Object.keys))];
  }

  private get layers(): string[] {
    return Object.keys(this.shown);
  }

  private get places(): UnitPlace[] {
    return this.layers.flatMap((layer) => {
      const [[left] = [[]]] = Object.values(this.shown[layer] ?? {});
      return (left ?? []).map((_, unit) => ({ layer: Number(layer), unit }));
    });
  }

  /** Left and right from unit to unit, up and down from layer to layer. */
  private walk(down: number, right: number): void {
    const { layer, unit } = this.place ?? this.places[0] ?? { layer: 0, unit: 0 };
    const row = within(this.layers.indexOf(String(layer)) + down, { start: 0, end: this.layers.length });
    const of = this.places.filter((place) => String(place.layer) === this.layers[row]);
    const col = within(unit + right, { start: 0, end: of.length });
    const place = of[col];
    if (place) this.events.point(place, true);
  }

  show(saturation: Saturation, scheme: Scheme, ink: string): void {
    this.shown = saturation;
    const { element, canvas, gates } = this;
    const { clientWidth } = element;
    if (!clientWidth) return;
    this.perLine = clientWidth < 480 ? 1 : gates.length;
    this.side = Math.min(LARGEST, Math.floor((clientWidth - LEFT - GAP * (this.perLine - 1) - 16) / this.perLine));
    const { width, height } = this.size;
    const ratio = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: width * ratio, height: height * ratio });
    canvas.style.cssText = `width:${width}px;height:${height}px`;
    const pen = canvas.getContext("2d");
    if (!pen) return;
    pen.scale(ratio, ratio);
    pen.font = `12px ${getComputedStyle(element).fontFamily}`;
    this.draw(pen, scheme, ink, (text, x, y, anchor, upright) => {
      pen.save();
      pen.translate(x, y);
      if (upright) pen.rotate(-Math.PI / 2);
      pen.textAlign = anchor === "middle" ? "center" : anchor;
      pen.fillStyle = ink;
      pen.fillText(text, 0, 0);
      pen.restore();
    });
  }

  get size(): { width: number; height: number } {
    const { side, perLine } = this;
    return {
      width: LEFT + perLine * side + (perLine - 1) * GAP + 16,
      height: Math.ceil(this.gates.length / perLine) * (TOP + side + BOTTOM),
    };
  }

  /** Draws into a file. */
  write(pen: SvgPen, scheme: Scheme, ink: string): void {
    this.draw(pen, scheme, ink, (text, x, y, anchor, upright = false) =>
      pen.text(text, x, y, { anchor, upright, size: 12 }),
    );
  }

  private draw(
    pen: Pen,
    scheme: Scheme,
    ink: string,
    write: (text: string, x: number, y: number, anchor: "start" | "middle" | "end", upright?: boolean) => void,
  ): void {
    const { side } = this;
    this.gates.forEach((gate, number) => {
      const [x, y] = this.corner(number);
      pen.globalAlpha = 0.5;
      pen.fillStyle = ink;
      pen.fillRect(x, y, 1, side);
      pen.fillRect(x, y + side, side, 1);
      pen.globalAlpha = 1;
      write(`${gate} gate`, x + side / 2, y - 12, "middle");
      for (const tick of [0, 0.5, 1]) {
        write(String(tick), x + side * tick, y + side + 15, "middle");
        write(String(tick), x - 6, y + side * (1 - tick) + 4, "end");
      }
      write("below 0.1", x + side / 2, y + side + 30, "middle");
      if (number % this.perLine === 0) write("above 0.9", 10, y + side / 2, "middle", true);
      this.layers.forEach((layer, i) => {
        const [left = [], right = []] = this.shown[layer]?.[gate] ?? [];
        pen.fillStyle = headColor(i, scheme.dark);
        pen.globalAlpha = 0.65;
        left.forEach((share, unit) => {
          pen.fillRect(x + side * share - 2, y + side * (1 - (right[unit] as number)) - 2, 5, 5);
        });
      });
      pen.globalAlpha = 1;
      const at = this.place && this.spot(number, this.place);
      if (!at) return;
      pen.fillStyle = ink;
      for (const [dx, dy, width, height] of [
        [-6, -6, 13, 2],
        [-6, 5, 13, 2],
        [-6, -6, 2, 13],
        [5, -6, 2, 13],
      ] as const)
        pen.fillRect(at[0] + dx, at[1] + dy, width, height);
    });
  }

  private corner(number: number): [number, number] {
    const { side, perLine } = this;
    return [LEFT + (number % perLine) * (side + GAP), TOP + Math.floor(number / perLine) * (TOP + side + BOTTOM)];
  }

  private spot(number: number, { layer, unit }: UnitPlace): [number, number] | null {
    const [left, right] = this.shown[layer]?.[this.gates[number] as string] ?? [];
    const [x, y] = this.corner(number);
    if (left?.[unit] === undefined || right?.[unit] === undefined) return null;
    return [x + this.side * left[unit], y + this.side * (1 - right[unit])];
  }

  mark(place: UnitPlace | null): void {
    this.place = place;
  }

  /** The unit whose square is nearest to the pointer. */
  private under({ clientX, clientY }: MouseEvent): UnitPlace | null {
    const { left, top } = this.canvas.getBoundingClientRect();
    let [found, near]: [UnitPlace | null, number] = [null, REACH];
    for (let number = 0; number < this.gates.length; number++)
      for (const place of this.places) {
        const at = this.spot(number, place);
        const distance = at ? Math.hypot(at[0] - clientX + left, at[1] - clientY + top) : near;
        if (distance < near) [found, near] = [place, distance];
      }
    return found;
  }
}
