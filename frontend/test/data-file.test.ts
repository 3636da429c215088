import assert from "node:assert/strict";
import { test } from "node:test";
import { unpack } from "../src/lib/data-file.js";

test("a data file's bytes are split into its parts, and escapes are undone", () => {
  const bytes = Uint8Array.of(0, 65, 61, 34 ^ 64, 255, 61, 44, 61, 44, 44, 61, 61 ^ 64, 61, 10 ^ 64);
  const parts = unpack(bytes).map((part) => [...part]);
  assert.deepEqual(parts, [[0, 65, 34, 255], [], [44, 61, 10]]);
});
