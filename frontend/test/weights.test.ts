import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { WeightSource } from "../src/attention/weight-source.js";
import { Layer } from "../src/attention/weights.js";
import { collect } from "../src/charts/marks.js";
import type { ViewHost } from "../src/element/view.js";
import { indices } from "../src/lib/geometry.js";
import { inflate, Scaled } from "../src/lib/packed.js";
import { pairFigure } from "./figure.js";

const deflated = (bytes: Uint8Array) => new Uint8Array(deflateSync(bytes));

test("a layer is inflated and read as (heads, cols, rows)", async () => {
  const bytes = Uint8Array.from({ length: 2 * 3 * 2 }, (_, i) => i * 20);
  const layer = new Layer(await inflate(deflated(bytes)), 2, 3, 2);
  assert.equal(layer.byte(1, 1, 2), 220);
  assert.equal(layer.weight(0, 1, 0), (20 / 255) ** 2);
  assert.deepEqual(
    layer.matrix(0)[1],
    [20, 60, 100].map((byte) => (byte / 255) ** 2),
  );
});

test("bytes that do not fit are refused", async () => {
  assert.throws(() => new Layer(new Uint8Array(5), 1, 2, 3), /5 bytes are not 1 × 2 × 3/);
  await assert.rejects(inflate(new Uint8Array(3)));
  const many = deflated(new Uint8Array(1 << 20));
  assert.equal((await inflate(many, 1 << 20)).length, 1 << 20);
  await assert.rejects(inflate(many, (1 << 20) - 1), /more than 1048575 bytes/);
  await assert.rejects(inflate(deflated(new Uint8Array((1 << 26) + 1))), /more than 67108864 bytes/);
});

test("scaled values have a scale for each row, and −32768 is masked", () => {
  const view = new DataView(new ArrayBuffer(2 * 4 + 2 * 3 * 2));
  [0.5, 2].forEach((scale, i) => {
    view.setFloat32(4 * i, scale, true);
  });
  [1, -2, -32768, 3, 0, 4].forEach((step, i) => {
    view.setInt16(8 + 2 * i, step, true);
  });
  const scaled = new Scaled(new Uint8Array(view.buffer), 2);
  assert.deepEqual([...scaled.row(0)], [0.5, -1, Number.NaN]);
  assert.deepEqual([...scaled.row(1)], [6, 0, 8]);
  assert.throws(() => new Scaled(new Uint8Array(11), 2), /11 bytes/);
});

test("computed weights are exact and drawn as bytes", () => {
  const exact = [0.1, 0, 1, 0.25];
  const layer = Layer.computed({ heads: 1, cols: 2, rows: 2 }, (_, from, to, visit) => {
    for (const row of indices(from)) for (const col of indices(to)) visit(row, col, exact[2 * col + row] as number);
  });
  assert.deepEqual([...layer.plane(0)], [81, 0, 255, 128]);
  assert.equal(layer.weight(0, 1, 1), 0.25);
  const less = layer.drawing((_, __, weight) => weight === 1);
  assert.equal(less.weight(0, 1, 1), 0.25);
  assert.equal(less.byte(0, 1, 1), 0);
});

/** A layer of packed heads, of which head 1 is there in full, and the same weights as bytes. */
function packed() {
  const [heads, tokens] = [3, 5];
  const bytes = new Uint8Array(heads * tokens * tokens);
  const groups = [1, 2].map((count) => ({ count, packed: new Uint8Array(3 * heads * tokens * count) }));
  for (let head = 0; head < heads; head++)
    for (let row = 0; row < tokens; row++) {
      const columns = [[(head + row) % tokens], [(head + row + 1) % tokens, (head + row + 3) % tokens].sort()];
      groups.forEach(({ count, packed }, i) => {
        columns[i]?.forEach((col, n) => {
          const at = (head * tokens + row) * count + n;
          packed[at] = col - (columns[i]?.[n - 1] ?? 0);
          packed[at + 2 * heads * tokens * count] = 200 - 90 * i - 7 * n - head;
          bytes[(head * tokens + col) * tokens + row] = 200 - 90 * i - 7 * n - head;
        });
      });
    }
  const layer = new Layer(null, heads, tokens, tokens, groups);
  layer.planes[1] = bytes.slice(tokens * tokens, 2 * tokens * tokens);
  return { layer, bytes, dense: new Layer(bytes, heads, tokens, tokens) };
}

test("packed weights are read where they are, and unpacked a head at a time", () => {
  const { layer, dense, bytes } = packed();
  for (let at = 0; at < bytes.length; at++) {
    const [head, row, col] = layer.placeOf(at);
    assert.equal(layer.at(head, row, col), at);
    assert.equal(layer.byte(head, row, col), bytes[at]);
    assert.equal(layer.weight(head, row, col), dense.weight(head, row, col));
  }
  assert.deepEqual(Object.keys(layer.planes), ["1"]);
  assert.deepEqual(layer.matrix(2), dense.matrix(2));
  assert.equal(layer.planes[0], undefined);
  assert.deepEqual(layer.plane(0), bytes.slice(0, 25));
  assert.deepEqual(layer.drawing(() => true).plane(0), bytes.slice(0, 25));
});

test("of packed rows out of view, only what leads to a column in view is read", () => {
  const [rows, count] = [1000, 8];
  let reads = 0;
  const bytes = new Uint8Array(3 * rows * count).fill(100); // columns 100, 200, … 800
  const get = (of: Uint8Array, name: string) => {
    reads++;
    return of[name as unknown as number];
  };
  bytes.fill(0, rows * count, 2 * rows * count); // their high bytes
  const packed = new Proxy(bytes, { get }) as Uint8Array;
  const layer = new Layer(null, 1, rows, rows, [{ count, packed }]);
  const [all, view] = [
    { start: 0, end: rows },
    { start: 0, end: 20 },
  ];
  const scene = { layer, heads: [0], colors: [], rows: all, cols: all, focus: null, partner: null };
  const { offsets } = collect(scene, { rows: view, cols: view });
  assert.equal(offsets.length, 20 * count);
  assert.ok(reads <= 2 * (20 * 3 * count + 980 * 2), `${reads} reads`);
});

test("lines are the same of packed weights", () => {
  const [{ layer, dense }, all] = [packed(), { start: 0, end: 5 }];
  const views = [all, { start: 1, end: 3 }, { start: 4, end: 5 }];
  const sorted = ({ offsets, share }: ReturnType<typeof collect>) => [[...offsets].sort(), share];
  for (const rows of views)
    for (const cols of views)
      for (const focus of [null, { side: "left", index: 1 }, { side: "right", index: 2 }] as const) {
        const scene = { layer, heads: [0, 1, 2], colors: [], rows: all, cols: views[1] ?? all, focus, partner: null };
        const view = { rows, cols: focus ? cols : (views[1] as typeof all) };
        assert.deepEqual(sorted(collect(scene, view)), sorted(collect({ ...scene, layer: dense }, view)));
      }
  assert.equal(layer.planes[0], undefined);
});

test("a layer is put together once, however many and large they are", () => {
  const [layers, heads, tokens] = [8, 32, 2048];
  const figure = pairFigure();
  const part = (file: string) => ({ count: 1, file });
  figure.sequences.input = { tokens: new Array(tokens).fill("a"), special: [], sentence_b_start: null };
  figure.stacks.self = {
    rows: "input",
    cols: "input",
    layers: Array.from({ length: layers }, (_, layer) => ({ layer, heads, parts: [part(`${layer}.js`)] })),
  };
  const bytes = new Uint8Array(3 * heads * tokens);
  const host = { isDrawn: true, blob: (_: object, decode: (bytes: Uint8Array) => object) => decode(bytes) };
  const source = new WeightSource(host as unknown as ViewHost, figure);
  const all = () => Array.from({ length: layers }, (_, layer) => source.layer("self", layer, true));
  const first = all();
  all().forEach((layer, i) => {
    assert.equal(layer, first[i], "what is computed of a layer would be computed again");
  });
  const [layer] = first as [Layer];
  for (let head = 0; head < heads; head++) layer.plane(head);
  assert.equal(layer.planes.filter(Boolean).length, 1, "of a large layer one head is kept unpacked");
});
