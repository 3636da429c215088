import assert from "node:assert/strict";
import { test } from "node:test";
import { filteredParts, Overview, partOf } from "../src/attention/overview.js";
import { labelled } from "../src/charts/heat-labels.js";

const stack = {
  rows: "a",
  cols: "b",
  layers: [
    { layer: 3, heads: 1, data: "x" },
    { layer: 7, heads: 2, data: "x" },
  ],
};

test("an overview is read by layer, head, row and column", () => {
  const bytes = Uint8Array.from({ length: 3 * 2 * 3 }, (_, i) => i);
  const overview = new Overview(bytes, stack, 3, 2);
  assert.equal(overview.level(7, 1, 2, 1), 17);
  assert.equal(overview.level(3, 0, 1, 0), 1);
  assert.throws(() => new Overview(bytes.subarray(1), stack, 3, 2), /no overview/);
});

test("a token is in the part that begins with it or before it", () => {
  for (const tokens of [3, 24, 30, 100])
    for (let token = 0; token < tokens; token++) {
      const parts = Math.min(tokens, 24);
      const starts = Array.from({ length: parts }, (_, part) => Math.floor((part * tokens) / parts));
      assert.equal(partOf(token, tokens), starts.filter((start) => start <= token).length - 1);
    }
});

test("a pair filter cuts at the part that is nearest", () => {
  const few = { tokens: new Array<string>(10).fill(""), sentence_b_start: 4 };
  assert.deepEqual(filteredParts(few, "ab", true), { start: 0, end: 4 });
  assert.deepEqual(filteredParts(few, "ab", false), { start: 4, end: 10 });
  const many = { tokens: new Array<string>(240).fill(""), sentence_b_start: 98 };
  assert.deepEqual(filteredParts(many, "ba", true), { start: 10, end: 24 });
  assert.deepEqual(filteredParts(many, "all", true), { start: 0, end: 24 });
});

test("labels keep their distance, and the one that is read has one", () => {
  const range = { start: 10, end: 100 };
  const labels = (pointed: number | undefined) =>
    labelled({ range, inView: { start: 15, end: 40 }, size: 2, pointed, scale: 1 });
  assert.deepEqual(labels(undefined), [18, 26, 34]);
  assert.deepEqual(labels(24), [34, 24]);
  assert.deepEqual(labels(50), [18, 26, 34]);
});
