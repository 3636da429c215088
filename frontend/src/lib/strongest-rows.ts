/** The strongest weights of one row. */
export interface StrongRow {
  columns: number[];
  values: number[];
  /** The shares of the row that these weights hold, and that goes to no column. */
  kept: number;
  sink: number;
}

const SHARES = 255;

/** Rows of the strongest weights of a matrix, in one file (`models/captures/strongest_weights.py`). */
export class StrongestRows {
  /** The number of weights before each row. */
  private readonly starts: Uint32Array;
  private readonly view: DataView;

  constructor(
    private readonly bytes: Uint8Array,
    readonly count: number,
    private readonly signed: boolean,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset);
    this.starts = new Uint32Array(count + 1);
    for (let row = 0; row < count; row++)
      this.starts[row + 1] = (this.starts[row] as number) + (bytes[6 * count + row] as number);
    const size = 7 * count + (this.starts[count] as number) * (signed ? 4 : 3);
    if (bytes.length !== size) throw new Error(`${bytes.length} bytes are not ${count} rows of weights`);
  }

  row(row: number): StrongRow {
    const { bytes, count, starts, signed } = this;
    const [start, end, all] = [starts[row] as number, starts[row + 1] as number, starts[count] as number];
    const most = this.view.getFloat32(4 * row, true);
    const at = (part: number, n: number): number => bytes[7 * count + part * all + n] as number;
    const [columns, values]: [number[], number[]] = [[], []];
    let column = 0;
    for (let n = start; n < end; n++) {
      column += at(0, n) + 256 * at(1, n);
      columns.push(column);
      values.push(most * (at(2, n) / 255) ** 2 * (signed && at(3, n) ? -1 : 1));
    }
    const share = (part: number): number => (bytes[part * count + row] as number) / SHARES;
    return { columns, values, kept: share(4), sink: share(5) };
  }
}

/** The kept weights by column: which rows have it, and with what weight. */
export class Transposed {
  private readonly starts: Uint32Array;
  private readonly rows: Uint32Array;
  private readonly values: Float32Array;

  constructor(files: readonly Pick<StrongestRows, "count" | "row">[], columns: number) {
    const every = files.flatMap((file) => Array.from({ length: file.count }, (_, row) => file.row(row)));
    const starts = new Uint32Array(columns + 1);
    for (const { columns } of every)
      for (const column of columns) starts[column + 1] = (starts[column + 1] as number) + 1;
    for (let column = 0; column < columns; column++)
      starts[column + 1] = (starts[column + 1] as number) + (starts[column] as number);
    const next = starts.slice();
    this.starts = starts;
    this.rows = new Uint32Array(starts[columns] as number);
    this.values = new Float32Array(this.rows.length);
    every.forEach(({ columns, values }, row) => {
      columns.forEach((column, n) => {
        const at = next[column] as number;
        next[column] = at + 1;
        this.rows[at] = row;
        this.values[at] = values[n] as number;
      });
    });
  }

  column(column: number): { rows: number[]; values: number[] } {
    const range: [number, number] = [this.starts[column] as number, this.starts[column + 1] as number];
    return { rows: [...this.rows.subarray(...range)], values: [...this.values.subarray(...range)] };
  }
}

/** The mean weight that each column gets: the largest as float32, then steps of its square root. */
export function receivedOf(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const most = view.getFloat32(0, true);
  return Array.from(
    { length: (bytes.length - 4) / 2 },
    (_, n) => most * (view.getUint16(4 + 2 * n, true) / 65535) ** 2,
  );
}
