import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { inflate, Layer } from "../src/weights.js";

test("a layer is inflated and read as (heads, cols, rows)", async () => {
  const bytes = Uint8Array.from({ length: 2 * 3 * 2 }, (_, i) => i * 20);
  const layer = new Layer(await inflate(deflateSync(bytes).toString("base64")), 2, 3, 2);
  assert.equal(layer.byte(1, 1, 2), 220);
  assert.equal(layer.weight(0, 1, 0), (20 / 255) ** 2);
  assert.deepEqual(
    layer.matrix(0)[1],
    [20, 60, 100].map((byte) => (byte / 255) ** 2),
  );
});

test("bytes that do not fit are refused", async () => {
  assert.throws(() => new Layer(new Uint8Array(5), 1, 2, 3), /5 bytes are not 1 × 2 × 3/);
  await assert.rejects(inflate("AAAA"));
});
