import type { Stack } from "./figure.js";
import { named, type Part, spoken } from "./parts/reading.js";

/** Bytes a head. */
const RECORD = 9;
const WORDS = ["", "itself", "the previous token", "the next token"];
const COLUMN = 4;

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

  /** The pattern of a head or null, the share of its attention that the pattern holds, and its largest weight. */
  at(layer: number, head: number): { what: Part | null; share: string; largest: Part } {
    const at = RECORD * ((this.first.get(layer) as number) + head);
    const kind = this.view.getUint8(at);
    const share = weight(this.view.getUint8(at + 1));
    const [column, row, col] = [2, 4, 6].map((offset) => this.view.getUint16(at + offset, true)) as number[];
    const what = kind === COLUMN ? named(this.cols, column as number) : WORDS[kind] || null;
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
