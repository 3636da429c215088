import assert from "node:assert/strict";
import { test } from "node:test";
import type { LayerSource } from "../src/attention/figure.js";
import { headNeurons, NeuronHead, neuronBlobs, neuronLayer } from "../src/attention/neuron-scores.js";
import type { Blob } from "../src/element/figure.js";
import { Scaled } from "../src/lib/packed.js";

const MASKED = -32768;

/** As models/encoding.py writes them: scales, then steps. */
function scaled(rows: number[][], scale: number): Uint8Array {
  const groups = rows.length;
  const length = rows[0]?.length ?? 0;
  const bytes = new Uint8Array(4 * groups + 2 * groups * length);
  const view = new DataView(bytes.buffer);
  rows.forEach((row, group) => {
    view.setFloat32(4 * group, scale, true);
    row.forEach((value, i) => {
      const step = Number.isNaN(value) ? MASKED : Math.round(value / scale);
      view.setInt16(4 * groups + 2 * (group * length + i), step, true);
    });
  });
  return bytes;
}

// Four heads of two neurons share two heads of keys; three tokens. Group 2h + i is neuron i of head h.
const Q = [1, -1, 2, 0.5, 1.5, -2, 0.25, 3].map((value) => [value, value + 1, -value]);
const K = [0.5, 1, -1.5, 2].map((value) => [value, -value, 2 * value]);
const TERM = [0, 1, 2, 3].map((head) => [0, Number.NaN, head, 1, 0, -head, Number.NaN, 2, 0]);
const source: LayerSource = {
  layer: 0,
  heads: 4,
  data: "w",
  neurons: { d: 2, kv_heads: 2, scale: 0.5, q: { data: "q" }, k: { data: "k" }, terms: [{ name: "mask", data: "t" }] },
};
const STORED: Record<string, Uint8Array> = { q: scaled(Q, 0.25), k: scaled(K, 0.25), t: scaled(TERM, 1) };

function decoded(cols = 3): Scaled[] {
  return neuronBlobs(source, 3, cols, ({ data }: Blob, decode) => decode(STORED[data as string] as Uint8Array));
}

test("scores are q·k·scale and the terms; a head looks at the keys of its group", () => {
  const { query, key, scores, terms } = headNeurons(neuronLayer(source, 3, 3, false, decoded()), 3);
  assert.deepEqual(query, [
    [0.25, 3],
    [1.25, 4],
    [-0.25, -3],
  ]);
  assert.deepEqual(key, [
    [-1.5, 2],
    [1.5, -2],
    [-3, 4],
  ]);
  assert.deepEqual(terms[0]?.values[0], [0, Number.NEGATIVE_INFINITY, 3]);
  const dot = 0.5 * (0.25 * -1.5 + 3 * 2);
  assert.deepEqual(scores[0], [dot, Number.NEGATIVE_INFINITY, 2 * dot + 3]);
});

test("weights are the softmax of the scores, over what is not masked", () => {
  const head = new NeuronHead(neuronLayer(source, 3, 3, false, decoded()), 1);
  for (const row of [0, 1, 2]) {
    const { scores, weights } = head.row(row);
    const sum = scores.reduce((total, score) => total + Math.exp(score), 0);
    scores.forEach((score, col) => {
      assert.ok(Math.abs((weights[col] as number) - Math.exp(score) / sum) < 1e-12);
    });
  }
  assert.equal(head.row(0).weights[1], 0);
});

test("no token sees a later one where attention is causal, but all see a sink", () => {
  const withSink = neuronLayer(
    source,
    2,
    3,
    true,
    decoded()
      .slice(0, 2)
      .concat(new Scaled(scaled(TERM, 1), 4)),
  );
  const { scores } = new NeuronHead(withSink, 0).row(0);
  assert.equal(scores[1], Number.NEGATIVE_INFINITY);
  assert.ok(Number.isFinite(scores[2]));
});

test("a row in which all is masked has no weights", () => {
  const nothing = new Scaled(
    scaled(
      TERM.map((row) => row.map(() => Number.NaN)),
      1,
    ),
    4,
  );
  const head = new NeuronHead(neuronLayer(source, 3, 3, false, [...decoded().slice(0, 2), nothing]), 0);
  assert.deepEqual([...head.row(1).weights], [0, 0, 0]);
});

test("the largest product is that of all pairs of tokens", () => {
  const head = new NeuronHead(neuronLayer(source, 3, 3, false, decoded()), 2);
  const tokens = [0, 1, 2];
  const pairs = tokens.flatMap((row) => tokens.flatMap((col) => [0, 1].map((i) => head.q(row, i) * head.k(col, i))));
  assert.equal(head.largest.product, Math.max(...pairs.map(Math.abs)));
});

test("blobs of another size are refused", () => {
  assert.throws(() => decoded(4), /3 values in a row, not 4/);
});
