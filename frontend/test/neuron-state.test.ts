import assert from "node:assert/strict";
import { test } from "node:test";
import { attentionOf } from "../src/attention/figure.js";
import { initialState, mergeState } from "../src/attention/neuron-state.js";
import { formatNumbers } from "../src/charts/neuron-columns.js";
import { neuronAt, neuronLayout } from "../src/charts/neuron-layout.js";
import { pairFigure } from "./figure.js";

const plain = pairFigure();
const neurons = { d: 4, kv_heads: 1, scale: 0.5, q: { data: "q" }, k: { data: "k" }, terms: [] };
const self = { ...plain.stacks.self, layers: plain.stacks.self?.layers.map((layer) => ({ ...layer, neurons })) };
const cross = { ...self, rows: "short", layers: self.layers?.slice(1) };
const short = { tokens: ["x", "y"], special: [], sentence_b_start: null };
const figure = attentionOf(
  structuredClone({ ...plain, view: "neuron", sequences: { ...plain.sequences, short }, stacks: { self, cross } }),
);
const initial = initialState(figure);

test("the author's first head is shown", () => {
  assert.deepEqual(initial, { stack: "self", layer: 1, head: 0, filter: "all", expanded: null, selected: null });
});

test("a change is merged, and what does not fit any more is let go", () => {
  const state = mergeState(figure, initial, { expanded: 1, head: 3, selected: { side: "right", index: 4 } });
  assert.deepEqual(mergeState(figure, state, { layer: 5 }), { ...state, layer: 5, head: 0 });
  assert.deepEqual(mergeState(figure, state, { filter: "ba" }), {
    ...state,
    filter: "ba",
    expanded: null,
    selected: null,
  });
  assert.deepEqual(mergeState(figure, state, { filter: "ab" }), { ...state, filter: "ab" });
  const other = { stack: "cross", layer: 5, head: 0, filter: "all", expanded: null, selected: null };
  assert.deepEqual(mergeState(figure, state, { stack: "cross" }), other);
});

test("bad values are named", () => {
  const bad: [object, string][] = [
    [{ stack: "decoder" }, "stack decoder: not one of self, cross"],
    [{ layer: 2 }, "layer 2: not one of 1, 5"],
    [{ head: 7 }, "head 7: not one of 0, 1, 2, 3"],
    [{ filter: "ac" }, "filter ac: not one of all, aa, ab, ba, bb"],
    [{ expanded: 5 }, "expanded 5: no such token is shown on the left"],
    [{ expanded: 3, filter: "ab" }, "expanded 3: no such token is shown on the left"],
    [{ selected: { side: "up", index: 0 } }, "selected.side up: not left or right"],
    [{ selected: { side: "left", index: 9 } }, "selected.index 9: no such token is shown on the left"],
    [{ zoom: 2 }, "zoom: not a part of the state"],
  ];
  for (const [change, message] of bad)
    assert.throws(() => mergeState(figure, initial, change), new RangeError(message));
  assert.throws(() => mergeState(attentionOf(plain), initial, { expanded: 0 }), /no queries and keys/);
});

test("strips fill the room there is; where there is too little, a neuron keeps a pixel", () => {
  for (const d of [16, 32, 64, 128, 256])
    for (const room of [160, 560, 700])
      for (const ratio of [1, 1.5, 2]) {
        const layout = neuronLayout(room, d, 3, ratio);
        const { cell, strip, numbers, number, width } = layout;
        assert.ok(cell >= 1 && strip === cell * d && Number.isInteger(Math.round(cell * ratio * 1e6) / 1e6));
        assert.ok((numbers[2] as number) + number <= width && width >= room);
        for (const edge of [layout.q, layout.k, layout.product]) {
          assert.equal(neuronAt(layout, edge + 0.1), 0);
          assert.equal(neuronAt(layout, edge + strip - 0.1), d - 1);
          assert.equal(neuronAt(layout, edge - 0.1), null);
        }
      }
});

test("numbers have the digits that tell them apart", () => {
  assert.equal(formatNumbers([-0.004, 2.71])(2.71), "2.71");
  assert.equal(formatNumbers([-0.004, 2.71])(-0.004), "0.00");
  assert.equal(formatNumbers([Number.NEGATIVE_INFINITY, -123.4])(-123.4), "−123");
  assert.equal(formatNumbers([0.01, 0.02])(0.01), "0.010");
});

test("the token that the author's figure expands is expanded at first", () => {
  assert.equal(initialState({ ...figure, options: { ...figure.options, expanded: 1 } }).expanded, 1);
});
