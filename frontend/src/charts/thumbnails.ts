import { render } from "lit";
import { OVERVIEW_LEVELS, type Overview } from "../attention/overview.js";
import type { Cell, Group } from "../attention/patterns.js";
import { FADED } from "../attention/scene.js";
import { focusByKey, moveTabStop, walkByKey, within } from "../controls/keyboard.js";
import { seen } from "../controls/reading.js";
import { indices, type Range } from "../lib/geometry.js";
import { headColor } from "../lib/palette.js";
import { heatImage, shade, toCanvas } from "./heat.js";
import type { Sheet, SvgPen } from "./svg.js";

/** The heads that the small pictures show. */
export interface Thumbs {
  overview: Overview;
  rows: Range;
  cols: Range;
  dark: boolean;
  contrast: number;
  /** The parts of columns that have a sink and are drawn faintly, or not at all. */
  faded: number[];
  hidden: number[];
}

export interface GridEvents {
  point(cell: Cell | null): void;
  /** `keys`: no pointer is on the cell. */
  toggle(cell: Cell, keys: boolean): void;
}

const SMALLEST = 24;
/** px of the line of names of shared keys, as in `views/model.py`. */
const KEYS = 20;
const FITTING = 20;
const LARGEST = 56;
/** The least size in px of a picture with a label, "11·10", below it. */
const LABELLED = 34;
/** The greatest height in px of sorted heads, if the page has room for it. */
const SORTED_HEIGHT = 720;
/** The longest side of a canvas in device pixels; a phone allows no more. */
const MOST_PIXELS = 4096;

/** Layers × heads, or groups of heads: one canvas, and over it a grid of cells to walk and click. It scrolls within itself. */
export class Thumbnails {
  readonly element = document.createElement("div");
  private readonly grid = document.createElement("div");
  private readonly canvas = document.createElement("canvas");
  private readonly cells = new Map<string, HTMLElement>();
  private layers: number[] = [];
  private heads: number[] = [];
  private tabStop: HTMLElement | undefined;
  private pitch = SMALLEST;
  private sorted = false;
  /** The heads that share keys, under the names of these. */
  private groups: [string, number[]][] = [];
  /** A text that names the layers, heads and order that are arranged now. */
  arranged = "";

  constructor(private readonly events: GridEvents) {
    this.element.className = "thumbnails";
    this.grid.className = "grid";
    this.grid.setAttribute("role", "grid");
    this.grid.setAttribute("aria-label", "Heads of all layers");
    this.canvas.setAttribute("aria-hidden", "true");
    this.element.append(this.grid);
    this.grid.addEventListener("pointerover", (event) => this.events.point(this.cellAt(event)));
    this.grid.addEventListener("pointerleave", () => this.events.point(null));
    this.grid.addEventListener("focusin", (event) => this.focusIn(event));
    this.grid.addEventListener("focusout", () => this.events.point(null));
    this.grid.addEventListener("click", (event) => this.click(event));
    this.grid.addEventListener("keydown", (event) => this.keydown(event));
  }

  /** `has` tells which layers have which heads, `groups` which heads share keys. */
  arrange(layers: number[], heads: number[], has: (cell: Cell) => boolean, groups: [string, number[]][]): void {
    if (!this.begin(`${layers} ${heads}`, layers, heads, false)) return;
    this.groups = groups;
    const header = row([
      element("columnheader", "head", "Layer"),
      ...heads.map((n) => element("columnheader", `${n}`, `Head ${n}`)),
    ]);
    header.classList.add("header");
    const over = groups.map(([keys, { length }]) => {
      const made = element("columnheader", keys, keys);
      made.style.gridColumn = `span ${length}`;
      made.ariaColSpan = `${length}`;
      return made;
    });
    const top = over.length > 0 ? [row([element("columnheader", "", ""), ...over])] : [];
    top[0]?.classList.add("keys");
    this.grid.classList.toggle("grouped", over.length > 0);
    const rows = layers.map((layer) =>
      row([
        element("rowheader", `${layer}`, `Layer ${layer}`),
        ...heads.map((head) => this.cell({ layer, head }, has)),
      ]),
    );
    rows[0]?.firstElementChild?.classList.add("first");
    this.fill([...top, header, ...rows]);
  }

  /** The same heads in groups, each under what its heads look at. */
  group(layers: number[], heads: number[], groups: Group[]): void {
    const cells = groups.flatMap((group) => group.cells);
    if (!this.begin(cells.map(key).join(), layers, heads, true)) return;
    const rows = groups.map(({ title, cells }) => {
      const header = element("rowheader", "", "");
      render(seen(title), header);
      return row([header, ...cells.map((cell) => this.cell(cell, () => true))]);
    });
    this.fill(rows);
  }

  /** Start an arrangement, and return whether it differs from the present one. */
  private begin(arranged: string, layers: number[], heads: number[], sorted: boolean): boolean {
    if (arranged === this.arranged) return false;
    Object.assign(this, { arranged, layers, heads, sorted });
    this.cells.clear();
    this.grid.classList.toggle("sorted", sorted);
    this.grid.setAttribute("aria-label", sorted ? "Heads by what they look at" : "Heads of all layers");
    return true;
  }

  private fill(rows: HTMLElement[]): void {
    this.grid.replaceChildren(this.canvas, ...rows);
    this.tabStop = moveTabStop(undefined, [...this.cells.values()][0]);
    this.element.scrollTop = 0;
  }

  private cell(cell: Cell, has: (cell: Cell) => boolean): HTMLElement {
    if (!has(cell)) return element("gridcell", "", "");
    const made = element("gridcell", "", `Layer ${cell.layer}, Head ${cell.head}`);
    made.dataset.tip = `Layer ${cell.layer}, Head ${cell.head}`;
    made.className = "cell";
    made.tabIndex = -1;
    made.dataset.at = key(cell);
    made.dataset.name = `${cell.layer}·${cell.head}`;
    this.cells.set(key(cell), made);
    return made;
  }

  /** Gives each picture the room there is, so that the grid is no higher than what the page has kept for it. */
  fit(width: number, height: number): number {
    const { sorted } = this;
    const axis = sorted ? 0 : (this.grid.querySelector<HTMLElement>("[role=rowheader]")?.offsetWidth ?? 0);
    const high = (height - this.keys) / this.layers.length;
    const room = Math.min((width - axis) / this.heads.length, high, LARGEST);
    // Where all fit in, they may be a little smaller than a finger likes; else they scroll.
    this.pitch = Math.max(room >= FITTING ? FITTING : SMALLEST, Math.floor(room));
    if (sorted) this.pitch = Math.max(this.pitch, LABELLED);
    this.element.classList.toggle("beyond", !sorted && axis + this.pitch * this.heads.length > width + 1);
    this.grid.style.setProperty("--pitch", `${this.pitch}px`);
    this.grid.style.setProperty("--heads", String(this.heads.length));
    const most = `${Math.max(height, 8 * SMALLEST) + SMALLEST}px`;
    this.element.style.maxHeight = sorted ? `max(${most},min(${SORTED_HEIGHT}px,var(--cap)))` : most;
    return this.pitch;
  }

  draw(thumbs: Thumbs): void {
    const { canvas, gap } = this;
    const [width, height] = this.extent;
    const ratio = Math.min(devicePixelRatio, MOST_PIXELS / Math.max(width, height));
    Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
    canvas.style.cssText = `width:${width}px;height:${height}px`;
    const context = canvas.getContext("2d");
    if (!context) return;
    context.imageSmoothingEnabled = false;
    context.scale(ratio, ratio);
    const size = this.pitch - gap;
    const { offsetLeft, offsetTop } = canvas;
    const picture = document.createElement("canvas");
    for (const [at, { offsetLeft: left, offsetTop: top }] of this.cells) {
      const [x, y] = [left - offsetLeft - 1 + gap / 2, top - offsetTop - 1 + gap / 2];
      context.drawImage(toCanvas(headImage(thumbs, cellOf(at)), picture), x, y, size, size);
    }
  }

  private get extent(): [width: number, height: number] {
    if (this.sorted) return [this.grid.offsetWidth, this.grid.offsetHeight];
    return [this.heads.length * this.pitch, this.layers.length * this.pitch];
  }

  /** The height of the line of names of shared keys. */
  private get keys(): number {
    return this.groups.length > 0 && !this.sorted ? KEYS : 0;
  }

  private get gap(): number {
    return this.pitch < 36 ? 2 : 4;
  }

  /** The whole grid for a file, with its labels. */
  sheet(pale: string): Sheet {
    const axis = 56;
    const { pitch, canvas, heads, layers } = this;
    const [width, height] = this.extent;
    const label = (pen: SvgPen, text: string, x: number, y: number, anchor: "start" | "middle" | "end") =>
      pen.text(text, x, y, { anchor, size: 11, color: pale });
    if (this.sorted)
      return {
        width,
        height,
        draw: (pen) => {
          pen.image(canvas.toDataURL(), 0, 0, width, height);
          for (const header of this.grid.querySelectorAll<HTMLElement>("[role=rowheader]"))
            label(pen, header.textContent ?? "", 0, header.offsetTop + 19, "start");
          for (const { dataset, offsetLeft, offsetTop, offsetWidth, offsetHeight } of this.cells.values())
            label(pen, dataset.name ?? "", offsetLeft + offsetWidth / 2, offsetTop + offsetHeight + 12, "middle");
        },
      };
    const { keys } = this;
    const top = SMALLEST + keys;
    return {
      width: axis + width,
      height: top + height,
      draw: (pen) => {
        for (const [name, [first = 0, ...others]] of this.groups)
          label(pen, name, axis + (heads.indexOf(first) + (others.length + 1) / 2) * pitch, 12, "middle");
        label(pen, "head", axis - 8, keys + 14, "end");
        heads.forEach((head, x) => {
          label(pen, `${head}`, axis + (x + 0.5) * pitch, keys + 14, "middle");
        });
        layers.forEach((layer, y) => {
          label(pen, y === 0 ? `layer ${layer}` : `${layer}`, axis - 8, top + (y + 0.5) * pitch + 4, "end");
        });
        pen.image(canvas.toDataURL(), axis, top, width, height);
      },
    };
  }

  /** Name each picture, for those who cannot see it and for those who point at it. */
  describe(text: (cell: Cell) => string): void {
    for (const [at, element] of this.cells) {
      const { layer, head } = cellOf(at);
      element.setAttribute("aria-label", `Layer ${layer}, Head ${head}: ${text({ layer, head })}`);
      element.dataset.tip = `${layer}·${head} ${text({ layer, head })}`;
    }
  }

  mark(open: Cell | null): void {
    for (const cell of this.grid.querySelectorAll("[aria-selected=true]")) cell.removeAttribute("aria-selected");
    if (open) this.cells.get(key(open))?.setAttribute("aria-selected", "true");
  }

  focus(cell: Cell): void {
    this.cells.get(key(cell))?.focus();
  }

  private cellAt(event: Event): Cell | null {
    const at = (event.target as Element).closest<HTMLElement>(".cell")?.dataset.at;
    return at ? cellOf(at) : null;
  }

  private focusIn(event: FocusEvent): void {
    const cell = this.cellAt(event);
    if (!cell) return;
    this.tabStop = moveTabStop(this.tabStop, this.cells.get(key(cell)));
    this.events.point(cell);
  }

  private click(event: MouseEvent): void {
    const cell = this.cellAt(event);
    if (cell) this.events.toggle(cell, event.detail === 0);
  }

  private keydown(event: KeyboardEvent): void {
    const cell = this.cellAt(event);
    if (!cell) return;
    walkByKey(
      event,
      (down, right) => focusByKey(this.beside(this.cells.get(key(cell)) as HTMLElement, down, right)),
      () => this.events.toggle(cell, true),
    );
  }

  /** Return the cell that a step leads to: along the line, or the nearest one on the line above or below. */
  private beside(from: HTMLElement, down: number, right: number): HTMLElement {
    const cells = [...this.cells.values()];
    const { offsetTop: top, offsetLeft: left } = from;
    if (down) {
      const beyond = cells.filter(({ offsetTop }) => down * (offsetTop - top) > 0);
      const next = down * Math.min(...beyond.map(({ offsetTop }) => down * offsetTop));
      const distance = ({ offsetLeft }: HTMLElement) => Math.abs(offsetLeft - left);
      const line = beyond.filter(({ offsetTop }) => offsetTop === next);
      return line.sort((a, b) => distance(a) - distance(b))[0] ?? from;
    }
    const line = cells.filter(({ offsetTop }) => offsetTop === top);
    const along = this.sorted && Number.isFinite(right) ? cells : line; // groups go on from line to line
    return along[within(along.indexOf(from) + right, { start: 0, end: along.length })] as HTMLElement;
  }
}

/** The picture of a head, one pixel a part. */
function headImage({ overview, rows, cols, dark, contrast, faded, hidden }: Thumbs, { layer, head }: Cell): ImageData {
  const level = (row: number, col: number) => (hidden.includes(col) ? 0 : overview.level(layer, head, row, col));
  // Coarse levels cannot be renormalised: what is left is scaled to its largest weight.
  const left = () => indices(rows).flatMap((row) => indices(cols).map((col) => level(row, col)));
  const most = hidden.length > 0 ? Math.max(1, ...left()) : OVERVIEW_LEVELS;
  const alphas = indices({ start: 0, end: most + 1 }).map((level) => 255 * shade((level / most) ** 2, 1, contrast));
  const alpha = (row: number, col: number) => (alphas[level(row, col)] as number) * (faded.includes(col) ? FADED : 1);
  return heatImage(headColor(head, dark), rows, cols, alpha);
}

function cellOf(at: string): Cell {
  const [layer, head] = at.split(".").map(Number) as [number, number];
  return { layer, head };
}

const key = ({ layer, head }: Cell): string => `${layer}.${head}`;

function element(role: string, text: string, label: string): HTMLElement {
  const made = document.createElement("div");
  made.setAttribute("role", role);
  if (label) made.setAttribute("aria-label", label);
  made.textContent = text;
  return made;
}

function row(cells: HTMLElement[]): HTMLElement {
  const made = document.createElement("div");
  made.setAttribute("role", "row");
  made.append(...cells);
  return made;
}
