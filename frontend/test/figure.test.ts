import assert from "node:assert/strict";
import { test } from "node:test";
import { attentionOf, findLayer, findStack } from "../src/attention/figure.js";
import { parseFigure } from "../src/element/figure.js";

const read = (text: string) => attentionOf(parseFigure(text));

import { pairFigure } from "./figure.js";

test("a figure is read", () => {
  assert.deepEqual(read(JSON.stringify(pairFigure())), pairFigure());
});

test("options that an older build left out have their defaults", () => {
  const old = { ...pairFigure(), options: { layer: 1, heads: [0, 3], include_heads: null } };
  assert.deepEqual(read(JSON.stringify(old)), pairFigure());
});

test("a malformed figure is refused with its reason", () => {
  assert.throws(() => parseFigure("{oops"), SyntaxError);
  assert.throws(() => parseFigure(null), /not an object/);
  assert.throws(() => parseFigure("{}"), /no view/);
  const figure = pairFigure();
  assert.throws(() => read(JSON.stringify({ ...figure, stacks: {} })), /no stack/);
  assert.throws(() => read(JSON.stringify({ ...figure, sequences: {} })), /unknown sequence input/);
  assert.throws(() => read(JSON.stringify(figure).replace('"data":"x"', '"data":null')), /layer 1 .* no data/);
});

test("layers and stacks are found by their true names", () => {
  const stack = findStack(pairFigure());
  assert.equal(findLayer(stack, 5).file, "x.js");
  assert.throws(() => findLayer(stack, 2), new RangeError("layer 2: not one of 1, 5"));
  assert.throws(() => findStack(pairFigure(), "cross"), new RangeError("stack cross: not one of self"));
});
