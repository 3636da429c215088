import assert from "node:assert/strict";
import { test } from "node:test";
import { CODECS } from "../src/attention/codecs.js";
import { initialState, mergeState } from "../src/attention/state.js";
import { decodeState, encodeState } from "../src/element/link.js";
import { pairFigure } from "./figure.js";

const figure = pairFigure();
const initial = initialState(figure);

test("only what differs is in a link, and it comes back", () => {
  assert.equal(encodeState(initial, initial), "");
  const change = { layer: 5, heads: [1], selected: { side: "left", indices: [1, 3] }, mass: 0.5, contrast: 2 } as const;
  const state = mergeState(figure, initial, structuredClone(change) as never);
  const text = encodeState(state, initial, CODECS);
  assert.equal(text, "layer=5&heads=1&contrast=2&mass=0.5&selected=left,1,3");
  assert.deepEqual(mergeState(figure, initial, decodeState(text, CODECS)), state);
  assert.deepEqual(mergeState(figure, state, decodeState("selected=null&mass=null", CODECS)).selected, null);
});

test("the head beside is in the link", () => {
  const state = mergeState(figure, initial, { heads: [2], beside: { layer: 5, head: 1 } });
  assert.equal(encodeState(state, initial, CODECS), "heads=2&beside=5,1");
  assert.deepEqual(mergeState(figure, initial, decodeState("heads=2&beside=5,1", CODECS)), state);
});

test("every kind of value", () => {
  const text = "stack=a%26b&merge_words=true&across_heads=null&open=2,8&cell=1,5&zoom=cells";
  assert.deepEqual(decodeState(text, CODECS), {
    ...{ stack: "a&b", merge_words: true, across_heads: null, zoom: "cells" },
    ...{ open: { layer: 2, head: 8 }, cell: { row: 1, col: 5 } },
  });
});

test("what a view has no codec for is a text, a number, true or false, or null", () => {
  const text = "selected=3&shade=rank&before=false&factor=null&constructor=1";
  const state = { selected: 3, shade: "rank", before: false, factor: null, constructor: 1 };
  assert.deepEqual(decodeState(text), state);
  assert.equal(encodeState(state, {} as typeof state), text);
});
