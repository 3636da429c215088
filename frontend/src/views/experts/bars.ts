import type { SvgPen } from "../../charts/svg.js";
import { walkByKey, within } from "../../controls/keyboard.js";

/** The bars of one layer, one for each expert. */
export interface BarRow {
  name: string;
  /** The note behind the bars. */
  said: string;
  /** The height of each bar as a share of the highest of all rows. */
  shares: number[];
  /** The heights of further marks, one on each bar, if there are any. */
  ticks?: number[] | undefined;
  /** The height at which all would be the same. */
  even: number;
  colors: string[];
  /** The bars in full colour; the others are pale. */
  full: (expert: number) => boolean;
}

export interface BarPlace {
  row: number;
  expert: number;
}

export interface BarEvents {
  /** Another bar is pointed at, or none. What the keyboard does is announced, what the mouse does is not. */
  point(place: BarPlace | null, announce: boolean): void;
  choose(place: BarPlace): void;
}

/** The most experts whose numbers are all written. */
const NUMBERED = 16;
/** px, in a file: the height of bars and of a row, the room of names and of what is said, a bar, and the numbers below. */
const [HIGH, ROW, NAME, SAID, BAR, AXIS] = [36, 52, 72, 190, 20, 16];

/** A row of bars for each layer, with a line where all experts would be equal. */
export class ExpertBars {
  readonly element = document.createElement("div");
  private rows: BarRow[] = [];
  private cells: HTMLElement[][] = [];
  private place: BarPlace = { row: 0, expert: 0 };

  constructor(events: BarEvents) {
    const { element } = this;
    element.className = "expert-bars";
    element.tabIndex = 0;
    element.setAttribute("role", "application");
    element.setAttribute("aria-roledescription", "bar charts");
    element.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") events.point(placeOf(event), false);
    });
    element.addEventListener("pointerleave", () => events.point(null, false));
    element.addEventListener("click", (event) => {
      const place = placeOf(event);
      if (!place) return;
      this.place = place;
      events.choose(place);
    });
    element.addEventListener("focus", () => {
      if (element.matches(":focus-visible")) events.point(this.place, true);
    });
    element.addEventListener("blur", () => events.point(null, false));
    element.addEventListener("keydown", (event) =>
      walkByKey(
        event,
        (down, right) => {
          const row = within(this.place.row + down, { start: 0, end: this.rows.length });
          const end = this.rows[row]?.shares.length ?? 1;
          this.place = { row, expert: within(this.place.expert + right, { start: 0, end }) };
          this.cells[row]?.[0]?.scrollIntoView({ block: "nearest" });
          events.point(this.place, true);
        },
        () => events.choose(this.place),
        true,
      ),
    );
  }

  set label(text: string) {
    this.element.setAttribute("aria-label", text);
  }

  show(rows: BarRow[]): void {
    this.rows = rows;
    this.cells = [];
    this.place = {
      row: within(this.place.row, { start: 0, end: rows.length }),
      expert: within(this.place.expert, { start: 0, end: rows[0]?.shares.length ?? 1 }),
    };
    this.element.replaceChildren(...rows.map((row, number) => this.line(row, number)), axisOf(rows));
  }

  private line({ name, said, shares, ticks, even, colors, full }: BarRow, row: number): HTMLElement {
    const set = part("set", "");
    const cells = shares.map((share, expert) => {
      const cell = part("bar", "");
      Object.assign(cell.dataset, { row, expert });
      const bar = document.createElement("i");
      bar.style.cssText = `height:${(100 * share).toFixed(2)}%;background:${colors[expert]};opacity:${full(expert) ? 1 : 0.3}`;
      cell.append(bar);
      if (ticks) {
        const tick = part("tick-mark", "");
        tick.style.bottom = `calc(${(100 * (ticks[expert] ?? 0)).toFixed(2)}% - 1px)`;
        cell.append(tick);
      }
      return cell;
    });
    this.cells.push(cells);
    const line = part("even", "");
    line.style.bottom = `${(100 * Math.min(1, even)).toFixed(2)}%`;
    set.append(...cells, line);
    const element = part("line", "");
    element.append(part("name", name), set, part("said", said));
    return element;
  }

  mark(place: BarPlace | null): void {
    for (const [row, cells] of this.cells.entries())
      for (const [expert, cell] of cells.entries())
        cell.classList.toggle("pointed", place?.row === row && place.expert === expert);
  }

  /** The same bars for a file. */
  get size(): { width: number; height: number } {
    const most = Math.max(1, ...this.rows.map(({ shares }) => shares.length));
    return { width: NAME + BAR * most + SAID, height: ROW * this.rows.length + AXIS };
  }

  write(pen: SvgPen, { ink, background }: { ink: string; background: string }): void {
    for (const [number, { name, said, shares, ticks = [], even, colors, full }] of this.rows.entries()) {
      const bottom = number * ROW + HIGH + 8;
      pen.text(name, 0, bottom, { size: 12 });
      pen.text(said, NAME + BAR * shares.length + 8, bottom, { size: 12 });
      for (const [expert, share] of shares.entries()) {
        pen.fillStyle = colors[expert] as string;
        pen.globalAlpha = full(expert) ? 1 : 0.3;
        pen.fillRect(NAME + BAR * expert, bottom - HIGH * share, BAR - 2, HIGH * share);
      }
      pen.globalAlpha = 1;
      for (const [color, height] of [
        [background, 4],
        [ink, 2],
      ] as const) {
        pen.fillStyle = color;
        for (const [expert, tick] of ticks.entries())
          pen.fillRect(NAME + BAR * expert, bottom - HIGH * tick - height / 2, BAR - 2, height);
      }
      pen.globalAlpha = 0.5;
      for (let dash = 0; dash < BAR * shares.length; dash += 5)
        pen.fillRect(NAME + dash, bottom - HIGH * Math.min(1, even), 3, 1);
      pen.globalAlpha = 1;
    }
    for (const expert of this.rows[0]?.shares.keys() ?? [])
      pen.text(String(expert), NAME + BAR * (expert + 0.5) - 1, ROW * this.rows.length + 10, {
        anchor: "middle",
        size: 10,
      });
  }
}

/** The numbers of the experts, as many as there is room for. */
function axisOf(rows: BarRow[]): HTMLElement {
  const most = Math.max(...rows.map(({ shares }) => shares.length));
  const every = Math.ceil(most / NUMBERED);
  const set = part("set", "");
  set.append(...Array.from({ length: most }, (_, expert) => part("tick", expert % every ? "" : String(expert))));
  const element = part("line ticks", "");
  element.append(part("name", "expert"), set);
  return element;
}

function part(name: string, text: string): HTMLElement {
  return Object.assign(document.createElement("div"), { className: name, textContent: text, ariaHidden: "true" });
}

function placeOf(event: Event): BarPlace | null {
  const { row, expert } = (event.target as Element).closest<HTMLElement>(".bar")?.dataset ?? {};
  return row === undefined ? null : { row: Number(row), expert: Number(expert) };
}
