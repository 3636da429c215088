import { render } from "lit";
import { walkByKey } from "../../controls/keyboard.js";
import { type Chart, chartSvg, type Place, RADIUS } from "./chart.js";

/** px around the pointer within which a mark is pointed at. */
const REACH = 24;

export interface StageActions {
  point(at: number | null, announce?: boolean): void;
  choose(at: number): void;
  /** Return the head that a step leads to. */
  step(down: number, right: number): number;
  readonly pointed: number | null;
}

/** A chart that is pointed at and walked through; one head is ringed because it is chosen, another because it is read. */
export class Stage {
  readonly element = document.createElement("div");
  chart: Chart | null = null;
  private readonly canvas = document.createElement("div");
  private readonly chosen = Object.assign(document.createElement("i"), { className: "ring chosen" });
  private readonly pointed = Object.assign(document.createElement("i"), { className: "ring" });

  constructor(actions: StageActions) {
    const { element } = this;
    element.className = "head-stage";
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.append(this.canvas, this.chosen, this.pointed);
    element.addEventListener("pointermove", (event) => actions.point(this.under(event)));
    element.addEventListener("pointerleave", () => actions.point(null));
    element.addEventListener("blur", () => actions.point(null));
    element.addEventListener("click", (event) => {
      const at = this.under(event);
      if (at !== null) actions.choose(at);
    });
    element.addEventListener("keydown", (event) =>
      walkByKey(
        event,
        (down, right) => actions.point(actions.step(down, right), true),
        () => (actions.pointed === null ? false : actions.choose(actions.pointed)),
      ),
    );
  }

  show(chart: Chart, name: string, description: string): void {
    const { element } = this;
    this.chart = chart;
    render(chartSvg(chart), this.canvas);
    element.style.cssText = `width:${chart.width}px;height:${chart.height}px`;
    element.setAttribute("aria-label", name);
    element.setAttribute("aria-roledescription", description);
    element.classList.toggle("round", chart.isRound);
  }

  mark(chosen: number | null, pointed: number | null): void {
    this.ring(this.chosen, chosen);
    this.ring(this.pointed, pointed);
  }

  private ring(ring: HTMLElement, at: number | null): void {
    const place = at === null ? null : this.chart?.places[at];
    ring.hidden = !place;
    if (place)
      ring.style.cssText = `left:${place.x}px;top:${place.y}px;width:${place.width}px;height:${place.height}px`;
  }

  /** The head whose mark is nearest to the pointer, or whose cell is under it. */
  private under(event: MouseEvent): number | null {
    const { left, top } = this.element.getBoundingClientRect();
    const [x, y] = [event.clientX - left, event.clientY - top];
    let [nearest, distance] = [null as number | null, REACH];
    for (const [at, place] of (this.chart?.places ?? []).entries()) {
      const away = place ? this.away(place, x, y) : REACH;
      if (away < distance) [nearest, distance] = [at, away];
    }
    return nearest;
  }

  private away({ x: left, y: top, width, height }: Place, x: number, y: number): number {
    if (this.chart?.isRound) return Math.hypot(x - left - RADIUS, y - top - RADIUS);
    return x >= left && x < left + width && y >= top && y < top + height ? 0 : REACH;
  }
}
