import { named, type Part, spoken } from "../controls/reading.js";
import type { Stack } from "./figure.js";

/** Bytes a head. */
const RECORD = 9;
const WORDS = ["", "itself", "the previous token", "the next token"];
const COLUMN = 4;
/** The place of each kind's group: the previous token, the next, the token itself, single tokens, no pattern. */
const RANKS = [4, 2, 0, 1, 3];

/** The place of a head in a grid of layers and heads. */
export interface Cell {
  layer: number;
  head: number;
}

/** Heads that mostly look at the same, the clearest first. */
export interface Group {
  title: Part;
  cells: Cell[];
}

/** The patterns of a stack's heads, as `views/patterns.py` has found them. */
export class Patterns {
  private readonly first = new Map<number, number>();
  private readonly view: DataView;

  constructor(
    bytes: Uint8Array,
    { layers }: Stack,
    private readonly rows: string[],
    private readonly cols: string[],
  ) {
    let heads = 0;
    for (const { layer, heads: count } of layers) {
      this.first.set(layer, heads);
      heads += count;
    }
    if (bytes.length !== RECORD * heads) throw new Error(`${bytes.length} bytes are no patterns of ${heads} heads`);
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  private record(layer: number, head: number): { kind: number; share: number; column: number } {
    const at = RECORD * ((this.first.get(layer) as number) + head);
    const { view } = this;
    return { kind: view.getUint8(at), share: view.getUint8(at + 1), column: view.getUint16(at + 2, true) };
  }

  groups(cells: Cell[]): Group[] {
    const groups = new Map<number, (Cell & { share: number })[]>();
    for (const cell of cells) {
      const { kind, share, column } = this.record(cell.layer, cell.head);
      const place = 65536 * (RANKS[kind] ?? 4) + (kind === COLUMN ? column : 0);
      groups.set(place, [...(groups.get(place) ?? []), { ...cell, share }]);
    }
    return [...groups].sort(([a], [b]) => a - b).map(([, heads]) => this.group(heads));
  }

  private group(heads: (Cell & { share: number })[]): Group {
    const cells = heads.sort((a, b) => b.share - a.share).map(({ layer, head }) => ({ layer, head }));
    const { layer, head } = cells[0] as Cell;
    const { what } = this.at(layer, head);
    const position = what && typeof what === "object" && "at" in what && what.at !== null ? ` at ${what.at}` : "";
    const count = cells.length === 1 ? "1 head" : `${cells.length} heads`;
    return { title: [what ? ["Mostly ", what, position] : "No single pattern", ` · ${count}`], cells };
  }

  /** The pattern of a head or null, the share of its attention that the pattern holds, and its largest weight. */
  at(layer: number, head: number): { what: Part | null; share: string; largest: Part } {
    const at = RECORD * ((this.first.get(layer) as number) + head);
    const { kind, share: step, column } = this.record(layer, head);
    const share = weight(step);
    const [row, col] = [4, 6].map((offset) => this.view.getUint16(at + offset, true)) as number[];
    const what = kind === COLUMN ? named(this.cols, column) : WORDS[kind] || null;
    const ends = [named(this.rows, row as number), " → ", named(this.cols, col as number)];
    return { what, share, largest: [...ends, ` ${weight(this.view.getUint8(at + 8))}`] };
  }

  /** "mostly the previous token (0.98 on average)" */
  pattern(layer: number, head: number): string {
    const { what, share } = this.at(layer, head);
    return what ? `mostly ${spoken(what)} (${share} on average)` : "no single pattern";
  }

  /** "mostly the previous token (0.98 on average), largest cat → the 1.00" */
  text(layer: number, head: number): string {
    return `${this.pattern(layer, head)}, largest ${spoken(this.at(layer, head).largest)}`;
  }
}

const weight = (step: number): string => ((step / 255) ** 2).toFixed(2);
