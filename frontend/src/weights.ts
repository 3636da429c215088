/** A byte b stands for the weight (b / 255)². */
export const WEIGHT = Float64Array.from({ length: 256 }, (_, byte) => (byte / 255) ** 2);

/** The attention weights of one layer, as stored: one byte each, shape (heads, cols, rows). */
export class Layer {
  constructor(
    readonly bytes: Uint8Array,
    readonly heads: number,
    readonly cols: number,
    readonly rows: number,
  ) {
    if (bytes.length !== heads * cols * rows)
      throw new Error(`${bytes.length} bytes are not ${heads} × ${cols} × ${rows} weights`);
  }

  byte(head: number, row: number, col: number): number {
    return this.bytes[(head * this.cols + col) * this.rows + row] as number;
  }

  weight(head: number, row: number, col: number): number {
    return WEIGHT[this.byte(head, row, col)] as number;
  }

  /** Shape (rows, cols). */
  matrix(head: number): number[][] {
    return Array.from({ length: this.rows }, (_, row) =>
      Array.from({ length: this.cols }, (_, col) => this.weight(head, row, col)),
    );
  }
}

/** Base64 of a zlib stream → its bytes. */
export async function inflate(base64: string): Promise<Uint8Array> {
  const binary = atob(base64);
  const deflated = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) deflated[i] = binary.charCodeAt(i);
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
