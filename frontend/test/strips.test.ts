import assert from "node:assert/strict";
import { test } from "node:test";
import { barOf, layoutOf, spanOf } from "../src/charts/strips.js";
import type { StripData } from "../src/element/figure-data.js";
import vectors from "./strips.json";

const stripOf = ({ name, order, losses }: (typeof vectors)[number]["strips"][number]): StripData => ({
  name,
  units: order.map((unit) => ({
    sublayers: unit.map(([kind, parameters, layer]) => ({ kind, parameters, layer, names: [], shared: false })),
  })) as StripData["units"],
  ...(losses.length ? { losses } : {}),
});

test("strips stand in the same places as in the static picture", () => {
  for (const { strips, room, bars, boxes, size } of vectors) {
    const layout = layoutOf(strips.map(stripOf), room, bars ? "zero" : null);
    assert.deepEqual(
      layout.boxes.map(({ x, y, width }) => [x, y, width]),
      boxes,
    );
    assert.deepEqual([layout.width, layout.height], size);
  }
});

test("a bar stands on the line of no change, and points up where the loss rises", () => {
  const up = barOf(2, [-1, 2]);
  const down = barOf(-1, [-1, 2]);
  assert.ok(Math.abs(up.top + up.height - down.top) < 1e-9);
  assert.ok(Math.abs(up.height - 2 * down.height) < 1e-9);
  assert.deepEqual(spanOf([]), [0, 0]);
});
