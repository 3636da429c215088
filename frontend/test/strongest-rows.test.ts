import assert from "node:assert/strict";
import { test } from "node:test";
import { receivedOf, StrongestRows, Transposed } from "../src/lib/strongest-rows.js";

/** Two rows: 0.5 to column 3 and 0.125 to column 300; −2 to column 1. */
function file(signed: boolean): Uint8Array {
  const most = new Uint8Array(8);
  new DataView(most.buffer).setFloat32(0, 0.5, true);
  new DataView(most.buffer).setFloat32(4, 2, true);
  const rest = [204, 255, 51, 0, 2, 1, 3, 41, 1, 0, 1, 0, 255, 128, 255, ...(signed ? [0, 0, 1] : [])];
  return Uint8Array.from([...most, ...rest]);
}

test("the strongest weights of rows are read", () => {
  const rows = new StrongestRows(file(true), 2, true);
  const { columns, values, kept, sink } = rows.row(0);
  assert.deepEqual(columns, [3, 300]);
  assert.equal(values[0], 0.5);
  assert.ok(Math.abs((values[1] as number) - 0.126) < 0.001);
  assert.deepEqual([kept, sink], [204 / 255, 51 / 255]);
  assert.deepEqual(rows.row(1).values, [-2]);
  assert.throws(() => new StrongestRows(file(true), 2, false), /26 bytes are not 2 rows/);
});

test("columns are read across files", () => {
  const files = [new StrongestRows(file(false), 2, false), new StrongestRows(file(false), 2, false)];
  const columns = new Transposed(files, 301);
  assert.deepEqual(columns.column(1), { rows: [1, 3], values: [2, 2] });
  assert.deepEqual(columns.column(3).rows, [0, 2]);
  assert.deepEqual(columns.column(2), { rows: [], values: [] });
});

test("what columns receive has steps of its square root", () => {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat32(0, 0.25, true);
  view.setUint16(4, 65535, true);
  view.setUint16(6, 32768, true);
  const [first, second] = receivedOf(new Uint8Array(view.buffer)) as [number, number];
  assert.equal(first, 0.25);
  assert.ok(Math.abs(second - 0.0625) < 1e-5);
});
