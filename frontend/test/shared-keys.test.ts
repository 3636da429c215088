import assert from "node:assert/strict";
import { test } from "node:test";
import { sharedKeys } from "../src/attention/shared-keys.js";
import { grouped } from "../src/lib/grouped.js";

test("successive heads share keys, as in repeat_kv", () => {
  const layer = { heads: 8, kv_heads: 2 };
  assert.deepEqual(sharedKeys(layer, 3), ["keys 0", "heads 0–3"]);
  assert.deepEqual(sharedKeys(layer, 4), ["keys 1", "heads 4–7"]);
  assert.deepEqual(sharedKeys({ heads: 71, kv_heads: 1 }, 70), ["keys 0", "heads 0–70"]);
  assert.deepEqual([sharedKeys({ heads: 8 }, 4), sharedKeys({ heads: 8, kv_heads: 8 }, 4)], [[], []]);
});

test("groups keep the order of their items", () => {
  const name = (head: number) => sharedKeys({ heads: 8, kv_heads: 2 }, head)[0] as string;
  assert.deepEqual(grouped([1, 2, 6], name), [
    ["keys 0", [1, 2]],
    ["keys 1", [6]],
  ]);
});
