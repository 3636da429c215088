import type { Stack } from "./figure.js";
import { plainText } from "./token.js";

/** Bytes a head. */
const RECORD = 9;
const WORDS = ["", "itself", "the previous token", "the next token"];
const COLUMN = 4;

/** What each head of a stack mostly looks at, as `views/patterns.py` has found it. */
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

  /** "mostly the previous token (0.98 on average), largest cat → the 1.00" */
  text(layer: number, head: number): string {
    const at = RECORD * ((this.first.get(layer) as number) + head);
    const kind = this.view.getUint8(at);
    const share = weight(this.view.getUint8(at + 1));
    const [column, row, col] = [2, 4, 6].map((offset) => this.view.getUint16(at + offset, true)) as number[];
    const name = (tokens: string[], index: number) => plainText(tokens[index] ?? "");
    const what = kind === COLUMN ? name(this.cols, column as number) : WORDS[kind];
    const pattern = what ? `mostly ${what} (${share} on average)` : "no single pattern";
    const largest = `${name(this.rows, row as number)} → ${name(this.cols, col as number)}`;
    return `${pattern}, largest ${largest} ${weight(this.view.getUint8(at + 8))}`;
  }
}

const weight = (step: number): string => ((step / 255) ** 2).toFixed(2);
