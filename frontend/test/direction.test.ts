import assert from "node:assert/strict";
import { test } from "node:test";
import { levelsOf, visualOrder } from "../src/lib/direction.js";
import vectors from "./direction.json";

for (const { said, tokens, special, base, levels, order } of vectors)
  test(`order on a line: ${said}`, () => {
    const found = levelsOf(tokens.map((text, i) => ({ text, special: (special as number[]).includes(i) })));
    assert.deepEqual(found, { base, levels });
    assert.deepEqual(visualOrder(levels), order);
  });
