import { inRange, type Range } from "../lib/geometry.js";

/** A byte b stands for the weight (b / 255)². */
export const WEIGHT = Float64Array.from({ length: 256 }, (_, byte) => (byte / 255) ** 2);

/** The strongest weights of each row of all heads, `count` of them, as `models/reduction.py` packs them. */
export interface Group {
  count: number;
  /** Three planes, (heads, rows, count): low and high bytes of the columns, each as the difference to the one before; weights. */
  packed: Uint8Array;
}

/**
 * The attention weights of one layer, shape (heads, cols, rows): as stored, one byte each; where computed, exact too.
 * Heads of which only the strongest weights of each row are there are unpacked when all of their bytes are wanted.
 */
export class Layer {
  /** The bytes of each head, (cols, rows); absent while they are packed. */
  readonly planes: (Uint8Array | undefined)[] = [];

  constructor(
    private all: Uint8Array | null,
    readonly heads: number,
    readonly cols: number,
    readonly rows: number,
    /** The weights themselves, where the bytes are not all there is to them. */
    private readonly exact: Float32Array | Uint8Array | null = null,
    private readonly groups: Group[] = [],
  ) {
    const size = cols * rows;
    if (!all) return;
    if (all.length !== heads * size)
      throw new Error(`${all.length} bytes are not ${heads} × ${cols} × ${rows} weights`);
    for (let head = 0; head < heads; head++) this.planes.push(all.subarray(head * size, (head + 1) * size));
  }

  /** The share of the visible weight that these lines hold; less than 1 in a preview. */
  share = 1;

  /** The weights that are drawn, as bytes; a zero is not drawn. */
  get bytes(): Uint8Array {
    if (!this.all) {
      this.all = new Uint8Array(this.heads * this.cols * this.rows);
      for (let head = 0; head < this.heads; head++) this.all.set(this.plane(head), this.at(head, 0, 0));
    }
    return this.all;
  }

  /** Return the bytes of a head of which many weights will be looked at: if it is packed, it is unpacked. */
  plane(head: number): Uint8Array {
    const { cols, rows, planes } = this;
    const plane = planes[head] ?? new Uint8Array(cols * rows);
    if (!planes[head])
      this.strongest(head, { start: 0, end: rows }, { start: 0, end: cols }, (at, byte) => {
        plane[at - head * plane.length] = byte;
      });
    planes[head] = plane;
    return plane;
  }

  /** Calls back with the places and bytes of the packed weights from some rows to some columns. */
  strongest(head: number, from: Range, to: Range, visit: (at: number, byte: number) => void): void {
    const { heads, rows } = this;
    for (const { count, packed } of this.groups) {
      const plane = heads * rows * count;
      for (let row = from.start; row < from.end; row++) {
        const first = (head * rows + row) * count;
        for (let n = first, col = 0; n < first + count; n++) {
          col += (packed[n] as number) + 256 * (packed[n + plane] as number);
          if (col >= to.end) break; // those of a row are in order
          if (col >= to.start) visit(this.at(head, row, col), packed[n + 2 * plane] as number);
        }
      }
    }
  }

  /** The strongest weights alone, from a preview's bytes. */
  static preview(bytes: Uint8Array, share: number, heads: number, cols: number, rows: number): Layer {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const count = view.getUint32(0, true);
    const layer = new Layer(null, heads, cols, rows);
    const found: [col: number, at: number, byte: number][][] = [];
    for (let i = 0; i < count; i++) {
      const at = view.getUint32(4 + 4 * i, true);
      const [head, row, col] = layer.placeOf(at);
      const line = head * rows + row;
      found[line] = [...(found[line] ?? []), [col, at, bytes[4 + 4 * count + i] as number]];
    }
    layer.strongest = (head, from, to, visit) => {
      for (let row = from.start; row < from.end; row++)
        for (const [col, at, byte] of found[head * rows + row] ?? []) if (inRange(col, to)) visit(at, byte);
    };
    layer.share = share;
    return layer;
  }

  static of(exact: Float32Array, heads: number, cols: number, rows: number): Layer {
    const bytes = new Uint8Array(exact.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.min(255, 255 * Math.sqrt(exact[i] as number) + 0.5);
    return new Layer(bytes, heads, cols, rows, exact);
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
    this.strongest(head, { start: row, end: row + 1 }, { start: col, end: col + 1 }, (_, byte) => {
      found = byte;
    });
    return found;
  }

  weight(head: number, row: number, col: number): number {
    const value = this.exact?.[this.at(head, row, col)] ?? this.byte(head, row, col);
    return this.exact instanceof Float32Array ? value : (WEIGHT[value] as number);
  }

  /** All weights, to compute with. */
  floats(): Float32Array {
    const exact = this.exact ?? this.bytes;
    if (!(exact instanceof Uint8Array)) return exact;
    const floats = new Float32Array(exact.length);
    for (let i = 0; i < floats.length; i++) floats[i] = WEIGHT[exact[i] as number] as number;
    return floats;
  }

  /** The same weights, of which only those in `bytes` are drawn. */
  drawing(bytes: Uint8Array): Layer {
    return new Layer(bytes, this.heads, this.cols, this.rows, this.exact ?? this.bytes);
  }

  /** Shape (rows, cols). */
  matrix(head: number): number[][] {
    this.plane(head);
    const matrix: number[][] = [];
    for (let row = 0; row < this.rows; row++) {
      const line: number[] = [];
      for (let col = 0; col < this.cols; col++) line.push(this.weight(head, row, col));
      matrix.push(line);
    }
    return matrix;
  }
}
