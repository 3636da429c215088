import assert from "node:assert/strict";
import { test } from "node:test";
import type { Filter, Stack } from "../src/attention/figure.js";
import { Patterns } from "../src/attention/patterns.js";
import type { Scene } from "../src/attention/scene.js";
import { arrange, filtered } from "../src/attention/tokens.js";
import { shade } from "../src/charts/heat.js";
import { opacities } from "../src/charts/marks.js";
import { percent } from "../src/charts/top.js";
import type { Sequence } from "../src/element/figure.js";
import { over } from "../src/lib/color.js";
import { hexToRgba, inkOn } from "../src/lib/palette.js";
// Python computes the same: tests/test_contract.py.
import { expertColor } from "../src/views/experts/color.js";
import shared from "./computations.json";

test("an ink that can be read on a shade", () => {
  for (const [color, background, share, ink] of shared.inks as [string, string, number, string][]) {
    const [r, g, b] = hexToRgba(color);
    const seen = over([r, g, b, share], hexToRgba(background)).slice(0, 3);
    const hex = seen.map((channel) => Math.round(channel).toString(16).padStart(2, "0")).join("");
    assert.equal(inkOn(`#${hex}`), ink, `${color} ${share}`);
  }
});

test("the shade of a weight", () => {
  for (const [weight, most, contrast, level] of shared.shades as [number, number, number, number][])
    assert.equal(Math.round(15 * shade(weight, most, contrast)), level, `${weight} of ${most}`);
});

test("how a probability is written", () => {
  for (const [probability, text] of shared.percents as [number, string][]) assert.equal(percent(probability), text);
});

test("the colours of experts", () => {
  for (const [expert, experts, dark, color] of shared.experts as [number, number, boolean, string][])
    assert.equal(expertColor(expert, experts, dark), color);
});

test("the strength of a line", () => {
  for (const [step, heads, strength] of shared.opacities as [number, number, number][]) {
    const scene = { heads: Array.from({ length: heads }, (_, head) => head), cols: { start: 0, end: 5 }, focus: null };
    const found = opacities(scene as unknown as Scene)[step] as number;
    assert.ok(Math.abs(found - strength) < 1e-6, `${step} of ${heads} heads: ${found}`);
  }
});

test("tokens and words that are shown", () => {
  for (const { sequence, merge_words, special_tokens, filter, sentence, texts, special, groups } of shared.sides) {
    const all = arrange(sequence as Sequence, merge_words, special_tokens);
    const side = filter === "all" || sentence === "a" ? "left" : "right";
    const { start, end } = filtered(all, filter as Filter, side);
    assert.deepEqual(all.tokens.slice(start, end), texts);
    assert.deepEqual(all.groups.slice(start, end), groups);
    assert.deepEqual(all.tokens.map((_, slot) => all.special.includes(slot)).slice(start, end), special);
  }
});

test("the patterns of heads", () => {
  const { tokens, steps, records } = shared.patterns;
  const bytes = Uint8Array.from(records.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  const stack = { layers: [{ layer: 0, heads: steps.length }] } as Stack;
  const patterns = new Patterns(bytes, stack, tokens, tokens);
  assert.deepEqual(
    steps.map((_, head) => patterns.pattern(0, head)),
    [
      "mostly itself (1.00 on average)",
      "mostly the previous token (1.00 on average)",
      "mostly the next token (1.00 on average)",
      "mostly [SEP] (0.80 on average)",
      "no single pattern",
    ],
  );
});
