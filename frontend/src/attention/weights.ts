/** A byte b stands for the weight (b / 255)². */
export const WEIGHT = Float64Array.from({ length: 256 }, (_, byte) => (byte / 255) ** 2);

/** The attention weights of one layer, shape (heads, cols, rows): as stored, one byte each; where computed, exact too. */
export class Layer {
  constructor(
    /** The weights that are drawn, as bytes; a zero is not drawn. */
    readonly bytes: Uint8Array,
    readonly heads: number,
    readonly cols: number,
    readonly rows: number,
    /** The weights themselves, where the bytes are not all there is to them. */
    private readonly exact: Float32Array | Uint8Array = bytes,
  ) {
    if (bytes.length !== heads * cols * rows)
      throw new Error(`${bytes.length} bytes are not ${heads} × ${cols} × ${rows} weights`);
  }

  /** The share of the visible weight that these lines hold; less than 1 in a preview. */
  share = 1;

  /**
   * Put the strongest weights of each row, `count` of them, in their places. `packed` has three planes, (heads, rows,
   * count): low and high bytes of the columns, each as the difference to the one before, and the weights.
   */
  place(packed: Uint8Array, count: number): void {
    const { bytes, heads, cols, rows } = this;
    const plane = heads * rows * count;
    for (let at = 0, line = 0; line < heads * rows; line++) {
      const row = line % rows;
      for (let i = 0, place = ((line - row) / rows) * cols; i < count; i++, at++) {
        place += (packed[at] as number) + 256 * (packed[at + plane] as number);
        bytes[place * rows + row] = packed[at + 2 * plane] as number;
      }
    }
  }

  /** The strongest weights alone, from a preview's bytes. */
  static preview(bytes: Uint8Array, share: number, heads: number, cols: number, rows: number): Layer {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const count = view.getUint32(0, true);
    const layer = new Layer(new Uint8Array(heads * cols * rows), heads, cols, rows);
    for (let i = 0; i < count; i++) layer.bytes[view.getUint32(4 + 4 * i, true)] = bytes[4 + 4 * count + i] as number;
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

  byte(head: number, row: number, col: number): number {
    return this.bytes[this.at(head, row, col)] as number;
  }

  weight(head: number, row: number, col: number): number {
    return this.weightAt(this.at(head, row, col));
  }

  weightAt(at: number): number {
    const value = this.exact[at] as number;
    return this.exact instanceof Uint8Array ? (WEIGHT[value] as number) : value;
  }

  /** All weights, to compute with. */
  floats(): Float32Array {
    const { exact } = this;
    if (!(exact instanceof Uint8Array)) return exact;
    const floats = new Float32Array(exact.length);
    for (let i = 0; i < floats.length; i++) floats[i] = WEIGHT[exact[i] as number] as number;
    return floats;
  }

  /** The same weights, of which only those in `bytes` are drawn. */
  drawing(bytes: Uint8Array): Layer {
    return new Layer(bytes, this.heads, this.cols, this.rows, this.exact);
  }

  /** Shape (rows, cols). */
  matrix(head: number): number[][] {
    const matrix: number[][] = [];
    for (let row = 0; row < this.rows; row++) {
      const line: number[] = [];
      for (let col = 0; col < this.cols; col++) line.push(this.weight(head, row, col));
      matrix.push(line);
    }
    return matrix;
  }
}
