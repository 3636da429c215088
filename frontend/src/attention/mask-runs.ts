/** The columns that each row may attend to, as runs: start and end, start and end, … (`models/mask_runs.py`). */
export class Mask {
  readonly runs: Int32Array[];

  constructor(
    bytes: Uint8Array,
    readonly rows: number,
    readonly cols = 0,
  ) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 4 * rows;
    let before = new Int32Array();
    this.runs = Array.from({ length: rows }, (_, row) => {
      const edges = new Int32Array(2 * view.getInt32(4 * row, true));
      for (let i = 0; i < edges.length; i++, at += 4) edges[i] = view.getInt32(at, true) + (before[i] ?? 0);
      before = edges;
      return edges;
    });
  }

  allows(row: number, col: number): boolean {
    const edges = this.runs[row] as Int32Array;
    let inside = 0;
    while (inside < edges.length && (edges[inside] as number) <= col) inside++;
    return inside % 2 === 1;
  }
}
