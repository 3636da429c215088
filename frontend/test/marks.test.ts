import assert from "node:assert/strict";
import { test } from "node:test";
import { type Scene, weightsWith } from "../src/attention/scene.js";
import { Layer } from "../src/attention/weights.js";
import { collect, opacities } from "../src/charts/marks.js";

function scene(bytes: number[], heads: number, tokens: number): Scene {
  const all = { start: 0, end: tokens };
  const layer = new Layer(Uint8Array.from(bytes), heads, tokens, tokens);
  const active = Array.from({ length: heads }, (_, head) => head);
  return { layer, heads: active, colors: active.map(() => "red"), rows: all, cols: all, focus: null, partner: null };
}

const whole = (scene: Scene) => ({ rows: scene.rows, cols: scene.cols });

test("opacity grows with the weight and never passes one", () => {
  for (const heads of [1, 2, 12, 64])
    for (const focus of [null, { side: "left", index: 0 }] as const) {
      const opacity = opacities({ ...scene(new Array(heads * 4).fill(0), heads, 2), focus });
      for (let byte = 1; byte < 256; byte++) {
        assert.ok((opacity[byte] as number) > (opacity[byte - 1] as number));
        assert.ok((opacity[byte] as number) <= 1);
      }
    }
});

test("all that can be seen is drawn, weakest first", () => {
  const all = scene([255, 30, 0, 80], 1, 2);
  assert.deepEqual(collect(all, whole(all)), { offsets: [1, 3, 0], share: 1 });
});

test("what is left out is told as a share of the weight", () => {
  const faint = scene([255, 4, 0, 255], 1, 2);
  const { offsets, share } = collect(faint, whole(faint));
  assert.deepEqual(offsets, [0, 3]);
  assert.ok(share < 1 && share > 0.999);
});

test("of many lines that are all alike, some are drawn", () => {
  const alike = scene(new Array(100 * 100).fill(100), 1, 100);
  const { offsets, share } = collect(alike, whole(alike));
  assert.equal(offsets.length, 5000);
  assert.ok(Math.abs(share - 0.5) < 1e-9);
});

test("lines with no end in view are left out and not counted", () => {
  // (heads, cols, rows) of three tokens, the first in view
  const first = { start: 0, end: 1 };
  const marks = collect(scene(new Array(9).fill(100), 1, 3), { rows: first, cols: first });
  assert.deepEqual(marks, { offsets: [0, 1, 2, 3, 6], share: 1 });
});

test("a token in focus narrows the picture to its row or column", () => {
  // (heads, cols, rows): row 0 attends to col 1 with byte 90
  const base = scene([200, 10, 90, 150], 1, 2);
  assert.deepEqual(collect({ ...base, focus: { side: "left", index: 0 } }, whole(base)).offsets, [2, 0]);
  assert.deepEqual(collect({ ...base, focus: { side: "right", index: 1 } }, whole(base)).offsets, [2, 3]);
  assert.deepEqual(weightsWith({ ...base, focus: { side: "left", index: 0 } }, 1), [(90 / 255) ** 2]);
  assert.deepEqual(weightsWith({ ...base, focus: { side: "right", index: 1 } }, 0), [(90 / 255) ** 2]);
});
