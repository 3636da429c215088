/** Values of shape (groups, length) in one byte each, with a scale for each row (`models/encoding.py`). */
export class SignedBytes {
  readonly length: number;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly groups: number,
  ) {
    this.length = bytes.length / groups - 4;
    if (!Number.isInteger(this.length)) throw new Error(`${bytes.length} bytes are not ${groups} rows of signed bytes`);
  }

  scale(group: number): number {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset).getFloat32(4 * group, true);
  }

  /** The steps of a row, from −127 to 127; each is worth the row's scale. */
  steps(group: number): Int8Array {
    return new Int8Array(this.bytes.buffer, this.bytes.byteOffset + 4 * this.groups + group * this.length, this.length);
  }

  row(group: number): number[] {
    const scale = this.scale(group);
    return Array.from(this.steps(group), (step) => step * scale);
  }
}
