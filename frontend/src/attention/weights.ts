import { indices, inRange, only, type Range } from "../lib/geometry.js";

/** A byte b stands for the weight (b / 255)². */
export const WEIGHT = Float64Array.from({ length: 256 }, (_, byte) => (byte / 255) ** 2);

export const byteOf = (weight: number): number => Math.min(255, 255 * Math.sqrt(weight) + 0.5) | 0;

/** The number of weights of a layer up to which all that is unpacked or computed is kept, 80 MB; of more, the last head. */
const MOST_KEPT = 1 << 24;

/** The strongest weights of each row of all heads, `count` of them, as `models/reduction.py` packs them. */
export interface Group {
  count: number;
  /** Three planes, (heads, rows, count): low and high bytes of the columns, each as the difference to the one before; weights. */
  packed: Uint8Array;
}

export type Visit = (row: number, col: number, value: number) => void;

/** Calls back with a head's weights from some rows to some columns: all that are not zero, and maybe others. */
export type Each = (head: number, from: Range, to: Range, visit: Visit) => void;

export type Shape = Pick<Layer, "heads" | "cols" | "rows">;

/**
 * The attention weights of one layer, shape (heads, cols, rows): as stored, one byte each; where computed, exact too.
 * Heads of which only the strongest weights of each row are there, or that are computed, are unpacked when all of their
 * bytes are wanted.
 */
export class Layer {
  /** The bytes of each head, (cols, rows), and where computed the weights; absent while they are packed. */
  readonly planes: (Uint8Array | undefined)[] = [];
  private readonly exact: (Float32Array | undefined)[] = [];
  private readonly unpacked: number[] = [];
  private compute: Each | undefined;

  constructor(
    all: Uint8Array | null,
    readonly heads: number,
    readonly cols: number,
    readonly rows: number,
    private readonly groups: Group[] = [],
  ) {
    const size = cols * rows;
    if (!all) return;
    if (all.length !== heads * size)
      throw new Error(`${all.length} bytes are not ${heads} × ${cols} × ${rows} weights`);
    for (let head = 0; head < heads; head++) this.planes.push(all.subarray(head * size, (head + 1) * size));
  }

  private get isLarge(): boolean {
    return this.heads * this.cols * this.rows > MOST_KEPT;
  }

  /** All rows, and all columns. */
  get whole(): [Range, Range] {
    return [
      { start: 0, end: this.rows },
      { start: 0, end: this.cols },
    ];
  }

  /** The share of the visible weight that these lines hold; less than 1 in a preview. */
  share = 1;

  /** Return the bytes of a head of which many weights will be looked at: if it is packed, it is unpacked. */
  plane(head: number): Uint8Array {
    const { cols, rows, planes, exact, unpacked } = this;
    const there = planes[head];
    if (there) return there;
    const size = cols * rows;
    if (this.isLarge) for (const other of unpacked.splice(0)) planes[other] = exact[other] = undefined;
    unpacked.push(head);
    const plane = new Uint8Array(size);
    const weights = this.compute && new Float32Array(size);
    if (weights)
      this.each(head, ...this.whole, (row, col, weight) => {
        weights[col * rows + row] = weight;
      });
    exact[head] = weights;
    planes[head] = plane;
    this.strongest(head, ...this.whole, (row, col, byte) => {
      plane[col * rows + row] = byte;
    });
    return plane;
  }

  /** Return the bytes of a head if they are there, or if those of all heads can be kept once they are computed. */
  known(head: number): Uint8Array | undefined {
    return this.planes[head] ?? (this.compute && !this.isLarge ? this.plane(head) : undefined);
  }

  /** Calls back with the bytes of packed weights from some rows to some columns. */
  strongest(head: number, from: Range, to: Range, visit: Visit): void {
    const { heads, rows, groups, compute } = this;
    if (compute) this.each(head, from, to, (row, col, weight) => visit(row, col, byteOf(weight)));
    for (const { count, packed } of groups) {
      const plane = heads * rows * count;
      for (let row = from.start; row < from.end; row++) {
        const first = (head * rows + row) * count;
        for (let n = first, col = 0; n < first + count; n++) {
          col += (packed[n] as number) + 256 * (packed[n + plane] as number);
          if (col >= to.end) break; // those of a row are in order
          if (col >= to.start) visit(row, col, packed[n + 2 * plane] as number);
        }
      }
    }
  }

  each: Each = (head, from, to, visit) => {
    const { compute } = this;
    if (this.planes[head])
      for (let col = to.start; col < to.end; col++)
        for (let row = from.start; row < from.end; row++) visit(row, col, this.weight(head, row, col));
    else if (compute) compute(head, from, to, visit);
    else this.strongest(head, from, to, (row, col, byte) => visit(row, col, WEIGHT[byte] as number));
  };

  /** The strongest weights alone, from a preview's bytes. */
  static preview(bytes: Uint8Array, share: number, heads: number, cols: number, rows: number): Layer {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const count = view.getUint32(0, true);
    const layer = new Layer(null, heads, cols, rows);
    const found: [col: number, byte: number][][] = [];
    for (let i = 0; i < count; i++) {
      const [head, row, col] = layer.placeOf(view.getUint32(4 + 4 * i, true));
      const line = head * rows + row;
      found[line] = [...(found[line] ?? []), [col, bytes[4 + 4 * count + i] as number]];
    }
    layer.strongest = (head, from, to, visit) => {
      for (let row = from.start; row < from.end; row++)
        for (const [col, byte] of found[head * rows + row] ?? []) if (inRange(col, to)) visit(row, col, byte);
    };
    layer.share = share;
    return layer;
  }

  /** Weights that are computed when they are looked at: those in view, or a head's. */
  static computed({ heads, cols, rows }: Shape, compute: Each): Layer {
    return Object.assign(new Layer(null, heads, cols, rows), { compute });
  }

  at(head: number, row: number, col: number): number {
    return (head * this.cols + col) * this.rows + row;
  }

  /** Head, row and column of a place. */
  placeOf(at: number): [number, number, number] {
    const { rows, cols } = this;
    return [Math.floor(at / (rows * cols)), at % rows, Math.floor(at / rows) % cols];
  }

  byte(head: number, row: number, col: number): number {
    const plane = this.planes[head];
    if (plane) return plane[col * this.rows + row] as number;
    let found = 0;
    this.strongest(head, only(row), only(col), (_, __, byte) => {
      found = byte;
    });
    return found;
  }

  weight(head: number, row: number, col: number): number {
    const at = col * this.rows + row;
    const there = this.exact[head]?.[at] ?? WEIGHT[this.planes[head]?.[at] ?? -1];
    if (there !== undefined) return there;
    let found = 0;
    this.each(head, only(row), only(col), (_, __, weight) => {
      found = weight;
    });
    return found;
  }

  /** The same weights, of which only some are drawn. */
  drawing(isDrawn: (head: number, row: number, weight: number) => boolean): Layer {
    const layer = Layer.computed(this, this.each);
    layer.strongest = (head, from, to, visit) =>
      this.each(head, from, to, (row, col, weight) => {
        if (isDrawn(head, row, weight)) visit(row, col, byteOf(weight));
      });
    return layer;
  }

  /** Shape (rows, cols). */
  matrix(head: number): number[][] {
    this.plane(head);
    const [rows, cols] = this.whole;
    return indices(rows).map((row) => indices(cols).map((col) => this.weight(head, row, col)));
  }
}
