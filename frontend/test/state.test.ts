import assert from "node:assert/strict";
import { test } from "node:test";
import { findStack } from "../src/attention/figure.js";
import {
  initialState,
  isolateHead,
  mergeState,
  offeredHeads,
  sinkOf,
  toggleHead,
  visibleRange,
} from "../src/attention/state.js";
import { pairFigure } from "./figure.js";

const figure = pairFigure();
const initial = initialState(figure);

test("the author's options are the first state; no heads mean all", () => {
  const { include_heads: _, ...first } = figure.options;
  assert.deepEqual(initial, { ...first, selected: null, beside: null });
  const options = { ...figure.options, layer: 5, heads: [] };
  assert.deepEqual(initialState({ ...figure, options }).heads, [0, 1]);
});

test("a change is merged, and heads that a layer lacks are dropped", () => {
  assert.deepEqual(mergeState(figure, initial, { layer: 5 }), { ...initial, layer: 5, heads: [0] });
  assert.deepEqual(mergeState(figure, initial, { heads: [3, 1] }).heads, [1, 3]);
});

test("where all heads were on, all of the next layer are", () => {
  const narrow = mergeState(figure, initial, { layer: 5, heads: [0, 1] });
  assert.deepEqual(mergeState(figure, narrow, { layer: 1 }).heads, [0, 1, 2, 3]);
  assert.deepEqual(mergeState(figure, { ...narrow, heads: [1] }, { layer: 1 }).heads, [1]);
});

test("a selected token outside the filter is let go", () => {
  const selected = { side: "left", index: 1, indices: [1] } as const;
  const state = mergeState(figure, initial, { selected: { side: "left", index: 1 } });
  assert.deepEqual(mergeState(figure, state, { filter: "ab" }).selected, selected);
  assert.equal(mergeState(figure, state, { filter: "ba" }).selected, null);
});

test("a head may stand beside one other, in the same stack", () => {
  const pair = mergeState(figure, initial, { beside: { layer: 5, head: 1 } });
  assert.deepEqual([pair.heads, pair.beside], [[0], { layer: 5, head: 1 }], "the first of those that were on stays");
  assert.deepEqual(mergeState(figure, pair, { layer: 5 }).beside, pair.beside);
  assert.equal(mergeState(figure, pair, { heads: [1, 2] }).beside, null, "several stand in one picture");
  assert.equal(mergeState(figure, pair, { beside: null }).beside, null);
});

test("a sink may be faded or left out where there is one, and other columns", () => {
  assert.throws(() => mergeState(figure, initial, { sink: "fade" }), /sink fade: not one of show/);
  const withSink = { ...figure, stacks: { self: { ...findStack(figure), sink: [0, 4] } } };
  const faded = mergeState(withSink, initial, { sink: "fade" });
  assert.deepEqual([sinkOf(withSink, faded, "fade"), sinkOf(withSink, faded, "leave_out")], [[0, 4], []]);
  const all = { ...figure, stacks: { self: { ...findStack(figure), sink: [0, 1, 2, 3, 4] } } };
  assert.deepEqual(sinkOf(all, { ...faded, sink: "leave_out" }, "leave_out"), []);
});

test("bad values are named", () => {
  const bad: [object, string][] = [
    [{ layer: 2 }, "layer 2: not one of 1, 5"],
    [{ heads: [] }, "heads: at least one head stays on"],
    [{ heads: [7] }, "head 7: not one of 0, 1, 2, 3"],
    [{ beside: { layer: 5, head: 2 } }, "head beside 2: not one of 0, 1"],
    [{ beside: { layer: 2, head: 0 } }, "layer 2: not one of 1, 5"],
    [{ beside: { layer: 1, head: 0 }, heads: [1, 2] }, "heads 1, 2: beside another head one is shown"],
    [{ filter: "ac" }, "filter ac: not one of all, aa, ab, ba, bb"],
    [{ selected: { side: "up", index: 0 } }, "selected.side up: not left or right"],
    [{ selected: { side: "left", index: 9 } }, "selected.index 9: no such token is shown on the left"],
    [{ selected: { side: "left", indices: [] } }, "selected.indices: no token; null selects none"],
    [{ zoom: "fit" }, "zoom: not a part of the state"],
    [{ stack: "cross" }, "stack cross: not one of self"],
    [{ across_layers: "sum" }, "across_layers sum: not one of null, mean, max"],
    [{ across_layers: "rollout" }, "across_layers rollout: not one of null, mean, max"],
    [{ across_heads: 3 }, "across_heads 3: not one of null, mean, max"],
    [{ value_weighted: true }, "value_weighted true: not one of false"],
    [{ merge_words: true }, "merge_words true: not one of false"],
    [{ contrast: 9 }, "contrast 9: not a number from 0.25 to 4"],
    [{ min_weight: 2 }, "min_weight 2: not a number from 0 to 1"],
    [{ mass: 0 }, "mass 0: not a number from 0.01 to 1"],
    [{ mass: 0.5, min_weight: 0.5 }, "min_weight and mass: at most one is set"],
  ];
  for (const [change, message] of bad)
    assert.throws(() => mergeState(figure, initial, change), new RangeError(message));
});

test("pairs are cut at the boundary", () => {
  const range = (filter: "all" | "ab", side: "left" | "right") => visibleRange(figure, findStack(figure), filter, side);
  assert.deepEqual(range("all", "left"), { start: 0, end: 5 });
  assert.deepEqual(range("ab", "left"), { start: 0, end: 2 });
  assert.deepEqual(range("ab", "right"), { start: 2, end: 5 });
});

test("heads toggle, the last one stays on, a double click isolates and restores", () => {
  assert.deepEqual(toggleHead([0, 3], 2), [0, 2, 3]);
  assert.deepEqual(toggleHead([0, 3], 3), [0]);
  assert.deepEqual(toggleHead([0], 0), [0]);
  assert.deepEqual(isolateHead([0, 3], 3, [0, 1, 2, 3]), [3]);
  assert.deepEqual(isolateHead([3], 3, [0, 1, 2, 3]), [0, 1, 2, 3]);
});

test("include_heads narrows what is offered", () => {
  const narrowed = { ...figure, options: { ...figure.options, include_heads: [1, 3] } };
  assert.deepEqual(offeredHeads(narrowed, findStack(narrowed), 1), [1, 3]);
  assert.throws(() => mergeState(narrowed, initialState(narrowed), { heads: [0] }), /head 0: not one of 1, 3/);
});
