import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { Layer } from "../src/attention/weights.js";
import { inflate, Scaled } from "../src/lib/packed.js";

const deflated = (bytes: Uint8Array) => new Uint8Array(deflateSync(bytes));

test("a layer is inflated and read as (heads, cols, rows)", async () => {
  const bytes = Uint8Array.from({ length: 2 * 3 * 2 }, (_, i) => i * 20);
  const layer = new Layer(await inflate(deflated(bytes)), 2, 3, 2);
  assert.equal(layer.byte(1, 1, 2), 220);
  assert.equal(layer.weight(0, 1, 0), (20 / 255) ** 2);
  assert.deepEqual(
    layer.matrix(0)[1],
    [20, 60, 100].map((byte) => (byte / 255) ** 2),
  );
});

test("bytes that do not fit are refused", async () => {
  assert.throws(() => new Layer(new Uint8Array(5), 1, 2, 3), /5 bytes are not 1 × 2 × 3/);
  await assert.rejects(inflate(new Uint8Array(3)));
  const many = deflated(new Uint8Array(1 << 20));
  assert.equal((await inflate(many, 1 << 20)).length, 1 << 20);
  await assert.rejects(inflate(many, (1 << 20) - 1), /more than 1048575 bytes/);
  await assert.rejects(inflate(deflated(new Uint8Array((1 << 26) + 1))), /more than 67108864 bytes/);
});

test("scaled values have a scale for each row, and −32768 is masked", () => {
  const view = new DataView(new ArrayBuffer(2 * 4 + 2 * 3 * 2));
  [0.5, 2].forEach((scale, i) => {
    view.setFloat32(4 * i, scale, true);
  });
  [1, -2, -32768, 3, 0, 4].forEach((step, i) => {
    view.setInt16(8 + 2 * i, step, true);
  });
  const scaled = new Scaled(new Uint8Array(view.buffer), 2);
  assert.deepEqual([...scaled.row(0)], [0.5, -1, Number.NaN]);
  assert.deepEqual([...scaled.row(1)], [6, 0, 8]);
  assert.throws(() => new Scaled(new Uint8Array(11), 2), /11 bytes/);
});

test("computed weights are exact and drawn as bytes", () => {
  const layer = Layer.of(Float32Array.of(0.1, 0, 1, 0.25), 1, 2, 2);
  assert.deepEqual([...layer.bytes], [81, 0, 255, 128]);
  assert.equal(layer.weight(0, 1, 1), 0.25);
  const less = layer.drawing(Uint8Array.of(0, 0, 255, 0));
  assert.equal(less.weight(0, 1, 1), 0.25);
  assert.equal(less.byte(0, 1, 1), 0);
});
