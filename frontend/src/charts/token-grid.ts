import { focusByKey, moveTabStop, stepped, walkByKey } from "../controls/keyboard.js";
import type { Range } from "../lib/geometry.js";
import { plainText, tokenElement } from "../lib/token.js";
import type { Paint } from "./flow.js";

export interface GridPlace {
  row: number;
  col: number;
}

export interface Grid {
  /** The rows from top to bottom. */
  rows: string[];
  /** Above the columns, under a name of their own; null where there is nothing to say. */
  above: { name: string; tokens: (string | null)[]; special?: number[] } | null;
  /** Below the columns, with their positions; null if the tokens above name them. */
  below: { name: string; tokens: string[]; special: number[] } | null;
}

/** The tokens that name the columns. */
export const columnsOf = ({ above, below }: Grid): (string | null)[] => below?.tokens ?? above?.tokens ?? [];

export interface GridCell extends Paint {
  text: string;
}

export interface GridEvents {
  /** Another cell is pointed at, or none. What the keyboard does is announced, what the mouse does is not. */
  point(place: GridPlace | null, announce: boolean): void;
  choose(place: GridPlace): void;
}

/** Rows × tokens as a table whose headers stay while it scrolls. Plain DOM: there may be thousands of cells. */
export class TokenGrid {
  readonly element = document.createElement("div");
  private cells: HTMLTableCellElement[][] = [];
  private heads: HTMLElement[][] = [];
  private texts: string[][] = [];
  private shown: Grid | undefined;
  private stop: GridPlace = { row: 0, col: 0 };

  constructor(
    private readonly label: string,
    private readonly events: GridEvents,
  ) {
    const { element } = this;
    element.className = "token-grid";
    element.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") events.point(this.placeOf(event), false);
    });
    element.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") events.point(null, false);
    });
    element.addEventListener("focusin", (event) => {
      const place = this.placeOf(event);
      if (place && (event.target as Element).matches(":focus-visible")) events.point(place, true);
    });
    element.addEventListener("focusout", () => events.point(null, false));
    element.addEventListener("click", (event) => {
      const place = this.placeOf(event);
      if (place) this.choose(place);
    });
    element.addEventListener("keydown", (event) => this.keydown(event));
  }

  show(grid: Grid): void {
    if (grid === this.shown) return;
    this.shown = grid;
    const { rows, above, below } = grid;
    const table = document.createElement("table");
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", this.label);
    const columns = columnsOf(grid);
    this.heads = columns.map(() => []);
    this.cells = rows.map(() => []);
    this.texts = rows.map(() => []);
    if (above) this.line(table.createTHead(), above.name, above.tokens, above.special ?? []);
    const body = table.createTBody();
    rows.forEach((name, row) => {
      const line = body.insertRow();
      line.append(header(name, "row"));
      columns.forEach((_, col) => {
        const cell = line.insertCell();
        cell.tabIndex = -1;
        Object.assign(cell.dataset, { row, col });
        this.cells[row]?.push(cell);
      });
    });
    if (below) this.line(table.createTFoot(), below.name, below.tokens, below.special, true);
    this.element.replaceChildren(table);
    this.turnTo({ row: 0, col: 0 });
  }

  private line(
    section: HTMLTableSectionElement,
    name: string,
    tokens: (string | null)[],
    special: number[],
    numbered = false,
  ): void {
    const line = section.insertRow();
    line.append(header(name, "row"));
    tokens.forEach((token, col) => {
      const head = header("", "col");
      if (token === null) head.setAttribute("role", "presentation");
      else {
        head.append(tokenElement(token, special.includes(col)));
        head.dataset.tip = plainText(token);
      }
      if (numbered) head.append(Object.assign(document.createElement("small"), { textContent: String(col) }));
      this.heads[col]?.push(head);
      line.append(head);
    });
  }

  /** Each cell's text and looks. */
  paint(cell: (place: GridPlace) => GridCell): void {
    this.cells.forEach((line, row) => {
      const texts = this.texts[row] as string[];
      line.forEach((element, col) => {
        const { text, background = "", ink = "" } = cell({ row, col });
        element.style.background = background;
        element.style.color = ink;
        if (texts[col] === text) return;
        texts[col] = text;
        element.replaceChildren(tokenElement(text, false));
        element.dataset.tip = plainText(text);
      });
    });
  }

  private marked: (HTMLElement | undefined)[] = [];

  mark(pointed: GridPlace | null, selected: GridPlace | null): void {
    for (const element of this.marked) {
      element?.classList.remove("pointed");
      element?.removeAttribute("aria-selected");
    }
    const [at, held] = [this.at(pointed), this.at(selected)];
    const heads = this.heads[(pointed ?? selected)?.col ?? -1] ?? [];
    this.marked = [at, held, ...heads];
    for (const element of [at, ...heads]) element?.classList.add("pointed");
    held?.setAttribute("aria-selected", "true");
  }

  private at(place: GridPlace | null): HTMLTableCellElement | undefined {
    return place ? this.cells[place.row]?.[place.col] : undefined;
  }

  private placeOf(event: Event): GridPlace | null {
    const { row, col } = (event.target as Element).closest("td")?.dataset ?? {};
    return row === undefined ? null : { row: Number(row), col: Number(col) };
  }

  private turnTo(place: GridPlace): void {
    moveTabStop(this.at(this.stop), this.at(place));
    this.stop = place;
  }

  private choose(place: GridPlace): void {
    this.turnTo(place);
    this.events.choose(place);
  }

  private keydown(event: KeyboardEvent): void {
    const place = this.placeOf(event);
    if (!place) return;
    walkByKey(
      event,
      (down, right) => this.walk(place, down, right),
      () => this.choose(place),
      true,
    );
  }

  private walk(place: GridPlace, down: number, right: number): void {
    const [rows, cols] = [this.cells.length, this.heads.length].map((end) => ({ start: 0, end })) as [Range, Range];
    this.turnTo(stepped(place, down, right, rows, cols));
    focusByKey(this.at(this.stop));
  }
}

function header(text: string, scope: string): HTMLTableCellElement {
  return Object.assign(document.createElement("th"), { textContent: text, scope });
}
