import assert from "node:assert/strict";
import { test } from "node:test";
import { arrange, filtered } from "../src/attention/tokens.js";
import { acrossHeads, acrossLayers } from "../src/attention/transforms/across.js";
import { regroup } from "../src/attention/transforms/regroup.js";
import { reweighed } from "../src/attention/transforms/reweighed.js";
import { threshold } from "../src/attention/transforms/threshold.js";
import { Layer } from "../src/attention/weights.js";
import { collect } from "../src/charts/marks.js";
import { indices, only } from "../src/lib/geometry.js";
import type { Scaled } from "../src/lib/packed.js";

/** Exact weights, (heads, rows, cols). */
function layer(...heads: number[][][]): Layer {
  const rows = heads[0] as number[][];
  const shape = { heads: heads.length, cols: (rows[0] as number[]).length, rows: rows.length };
  return Layer.computed(shape, (head, from, to, visit) => {
    for (const row of indices(from))
      for (const col of indices(to)) visit(row, col, heads[head]?.[row]?.[col] as number);
  });
}

function near(found: number[][], expected: number[][]): void {
  found.flat().forEach((value, i) => {
    assert.ok(Math.abs(value - (expected.flat()[i] as number)) < 1e-6, JSON.stringify(found));
  });
}

const A = layer([
  [0.5, 0.25, 0.25],
  [0.1, 0.8, 0.1],
  [0.2, 0.2, 0.6],
]);

test("values weigh, and rows still sum to one", () => {
  const norms = { row: () => Float32Array.of(0, 2, 6) } as unknown as Scaled;
  near(reweighed(A, norms, []).matrix(0), [
    [0, 0.25, 0.75],
    [0, 1.6 / 2.2, 0.6 / 2.2],
    [0, 0.1, 0.9],
  ]);
});

test("the sink is left out, and the rest of a row sums to one if there is any", () => {
  const two = layer([
    [1, 0, 0],
    [0.5, 0.4, 0.1],
  ]);
  near(reweighed(two, null, [0]).matrix(0), [
    [0, 0, 0],
    [0, 0.8, 0.2],
  ]);
  const norms = { row: () => Float32Array.of(9, 1, 6) } as unknown as Scaled;
  near(reweighed(two, norms, [0]).matrix(0), [
    [0, 0, 0],
    [0, 0.4, 0.6],
  ]);
});

test("what a head lacks is not made up for by the weights that are there", () => {
  const some = layer([
    [0.5, 0, 0.25],
    [0.5, 0.4, 0.1],
    [0.5, 0.5, 0.1],
  ]);
  near(reweighed(some, null, [0], [0.9]).matrix(0), [
    [0, 0, 0.5],
    [0, 0.8, 0.2],
    [0, 5 / 6, 1 / 6],
  ]);
  near([reweighed(some, null, [0], [1]).matrix(0)[0] as number[]], [[0, 0, 1]]);
});

test("a sink that is left out is no hidden part of the whole", () => {
  const sequence = {
    tokens: ["un", "##do", "a", "[SEP]"],
    special: [3],
    sentence_b_start: null,
    words: [0, 0, 1, null],
  };
  const rest = arrange(sequence, true, true, [0]);
  assert.deepEqual(rest.groups, [[1], [2], [3]]);
  assert.deepEqual(rest.hidden, []);
  assert.deepEqual(arrange(sequence, true, false, [0]).hidden, [[3]]);
  assert.deepEqual(arrange(sequence, true, false, [3]).hidden, []);
  const between = arrange({ ...sequence, words: [0, 1, 1, null] }, true, true, [1]);
  assert.deepEqual(between.groups, [[0], [2], [3]], "the rest of a word does not go on with the word before");
});

test("layers and heads are averaged, or their maximum is taken", () => {
  const two = layer([[0.2, 0.8]], [[1, 0]]);
  near(acrossHeads(two, [0, 1], "mean").matrix(0), [[0.6, 0.4]]);
  near(acrossHeads(two, [0, 1], "max").matrix(0), [[1, 0.8]]);
  const other = layer([[0.4, 0.6]]);
  const mean = acrossLayers([two, other], "mean");
  near(mean.matrix(0), [[0.3, 0.7]]);
  near(mean.matrix(1), [[1, 0]]);
  near(acrossLayers([other, two], "max").matrix(0), [[0.4, 0.8]]);
});

test("words: the sum over what is attended to, the mean over what attends", () => {
  const words = [[0], [1, 2]];
  near(regroup(A, words, words).matrix(0), [
    [0.5, 0.5],
    [0.15, 0.85],
  ]);
});

test("pieces of a word are joined, where the tokenizer says so", () => {
  const sequence = {
    tokens: ["[CLS]", "un", "##hap", "##py", "##", "[SEP]", " ra", "bbit"],
    special: [0, 5],
    sentence_b_start: 6,
    words: [null, 0, 0, 0, 1, null, 2, 2],
  };
  const words = arrange(sequence, true, true);
  assert.deepEqual(words.tokens, ["[CLS]", "unhappy", "##", "[SEP]", " rabbit"]);
  assert.deepEqual(words.special, [0, 3]);
  assert.equal(words.sentence_b_start, 4);
  assert.deepEqual(words.groups[1], [1, 2, 3]);
  const bare = arrange(sequence, false, false);
  assert.deepEqual(bare.slots, [-1, 0, 1, 2, 3, -1, 4, 5]);
  assert.deepEqual(filtered(bare, "ab", "right"), { start: 4, end: 6 });
});

test("a word whose text is not that of its tokens comes with it", () => {
  const sequence = {
    tokens: [" ", "é‹1/2›", "é‹2/2›", "s@@", "at"],
    special: [],
    sentence_b_start: null,
    words: [0, 0, 0, 1, 1],
    joined: { 0: " é", 3: "sat" },
  };
  assert.deepEqual(arrange(sequence, true, true).tokens, [" é", "sat"]);
  assert.deepEqual(arrange(sequence, false, true).tokens, sequence.tokens);
});

test("a word ends at the second sentence, and takes the last piece's next token", () => {
  const sequence = {
    tokens: ["a", "b", "c"],
    special: [],
    sentence_b_start: 1,
    words: [0, 0, 0],
    next: ["b", "c", "d"],
  };
  const { tokens, next } = arrange(sequence, true, true);
  assert.deepEqual(
    [tokens, next],
    [
      ["a", "bc"],
      ["b", "d"],
    ],
  );
});

const ALL = { rows: { start: 0, end: 3 }, cols: { start: 0, end: 3 } };

test("weak weights are not drawn, but stay readable", () => {
  const kept = threshold(A, [0], ALL, { min_weight: 0.25, mass: null });
  assert.ok(Math.abs(kept.share - 2.4 / 3) < 1e-6);
  assert.equal(kept.layer.byte(0, 1, 0), 0);
  assert.ok(Math.abs(kept.layer.weight(0, 1, 0) - 0.1) < 1e-6);
});

test("what is hidden is a part of the whole that is left out", () => {
  const range = { rows: { start: 1, end: 3 }, cols: { start: 0, end: 2 } };
  const none = threshold(A, [0], range, { min_weight: null, mass: null }, [2]);
  assert.ok(Math.abs(none.share - 1.3 / 2) < 1e-6);
  assert.ok(Math.abs(threshold(A, [0], range, { min_weight: 0.2, mass: null }, [2]).share - 1.2 / 2) < 1e-6);
  assert.equal(none.layer.byte(0, 1, 0), A.byte(0, 1, 0));
});

test("of each row the strongest that hold the mass", () => {
  const kept = threshold(A, [0], ALL, { min_weight: null, mass: 0.6 });
  const drawn = [0, 1, 2].map((row) => [0, 1, 2].filter((col) => kept.layer.byte(0, row, col) > 0));
  assert.deepEqual(drawn, [[0, 1, 2], [1], [2]], "those that are alike stay together");
  assert.ok(Math.abs(kept.share - 2.4 / 3) < 1e-6);
  assert.equal(threshold(A, [0], ALL, { min_weight: null, mass: 1 }).share, 1);
});

test("a part of computed weights is as it is in the whole", () => {
  const random = () =>
    Array.from({ length: 2 }, () => Array.from({ length: 6 }, () => Array.from({ length: 6 }, Math.random)));
  const layers = [layer(...random()), layer(...random())];
  const groups = [[0], [2, 3], [4, 5], [1]];
  const norms = { row: () => Float32Array.of(1, 2, 3, 4, 5, 6) } as unknown as Scaled;
  const weighed = layers.map((layer) => reweighed(layer, norms, [2]));
  const mean = acrossLayers(weighed, "mean");
  const grouped = regroup(mean, groups, groups);
  for (const computed of [...weighed, mean, grouped, acrossHeads(grouped, [0, 1], "max")]) {
    const head = computed.heads - 1;
    const whole = Layer.computed(computed, computed.each).matrix(head);
    for (const from of [only(0), { start: 1, end: 4 }])
      for (const to of [only(3), { start: 0, end: 2 }]) {
        const found: number[] = [];
        computed.each(head, from, to, (row, col, weight) => {
          found.push(weight);
          assert.equal(weight, whole[row]?.[col]);
        });
        for (const row of indices(from))
          for (const col of indices(to)) assert.equal(computed.weight(head, row, col), whole[row]?.[col]);
        const inWhole = indices(from).flatMap((row) => indices(to).filter((col) => whole[row]?.[col]));
        assert.equal(found.filter(Boolean).length, inWhole.length);
      }
    assert.deepEqual(computed.planes, []);
  }
});

test("what is computed of a large layer takes no more memory than some of its heads", () => {
  const [heads, tokens] = [32, 1024];
  const packed = new Uint8Array(3 * heads * tokens).fill(200);
  packed.fill(0, heads * tokens, 2 * heads * tokens); // each row attends to column 200
  const stored = new Layer(null, heads, tokens, tokens, [{ count: 1, packed }]);
  const all = { start: 0, end: tokens };
  const range = { rows: all, cols: all };
  const sizes: number[] = [];
  const arrays = { Uint8Array, Float32Array, Float64Array };
  for (const [name, array] of Object.entries(arrays)) {
    const construct = (target: typeof Uint8Array, given: [number]) => {
      const made = new target(...given);
      sizes.push(made.byteLength);
      return made;
    };
    Object.assign(globalThis, { [name]: new Proxy(array, { construct } as ProxyHandler<typeof array>) });
  }
  try {
    const weighed = reweighed(stored, null, [0], new Array(heads).fill(0.9));
    const mean = acrossLayers([weighed, stored], "mean");
    const { layer, share } = threshold(mean, [3, 4], range, { min_weight: null, mass: 0.5 });
    assert.equal(share, 1);
    const scene = { layer, heads: [3, 4], colors: [], ...range, focus: null, partner: null };
    const view = { start: 190, end: 210 };
    assert.equal(collect(scene, { rows: view, cols: view }).offsets.length, tokens);
    assert.ok(layer.weight(3, 5, 200) > 0.6);
  } finally {
    Object.assign(globalThis, arrays);
  }
  assert.ok(Math.max(...sizes) <= 4 * tokens ** 2, `${Math.max(...sizes)} bytes`);
  assert.ok(sizes.length > 0);
});
