import assert from "node:assert/strict";
import { test } from "node:test";
import type { HeadsFigure } from "../src/element/figure-data.js";
import type { ViewHost } from "../src/element/view.js";
import {
  accuracy,
  bestOf,
  byLayer,
  type Head,
  headsOf,
  keyGroups,
  type Relation,
  type StackIndex,
} from "../src/views/heads/data.js";
import { grid } from "../src/views/heads/grid.js";
import { placeLabels } from "../src/views/heads/labels.js";
import { map, scatter, ticks } from "../src/views/heads/scatter.js";
import { foundBy, sorted } from "../src/views/heads/tables.js";
import { tellingView } from "../src/views/heads/telling.js";

const heads = headsOf({ layers: [0, 3], heads: [2, 3] });

test("heads that share keys are grouped where all layers do so alike", () => {
  const shared = headsOf({ layers: [0, 3], heads: [4, 4], kv_heads: [2, 2] });
  assert.deepEqual(shared[5]?.keys, ["keys 0", "heads 0–1"]);
  assert.deepEqual(keyGroups(shared), [
    ["keys 0", [0, 1]],
    ["keys 1", [2, 3]],
  ]);
  assert.deepEqual(keyGroups(headsOf({ layers: [0, 3], heads: [4, 4], kv_heads: [2, 1] })), []);
  assert.deepEqual(keyGroups(headsOf({ layers: [0, 3], heads: [2, 4], kv_heads: [1, 1] })), []);
  assert.deepEqual(keyGroups(heads), []);
});
const direction = (accuracy: number[]) => ({ accuracy, low: accuracy, high: accuracy });
const det: Relation = {
  name: "det",
  count: 40,
  offset: 1,
  baseline: 0.5,
  forward: direction([0.1, 0.9, 0.2, 0.4, 0.5]),
  backward: direction([0.6, 0.3, 0.2, 0.4, 0.1]),
};
const index: StackIndex = {
  measures: [
    { name: "layer", title: "layer", unit: "" },
    { name: "entropy", title: "entropy", unit: "nats" },
    { name: "det", title: "finds det", unit: "accuracy" },
  ],
  values: { layer: [0, 0, 3, 3, 3], entropy: [1, 2.5, null, 0.2, 2.5], det: [0.6, 0.9, 0.2, 0.4, 0.5] },
  kinds: ["next token", "other"],
  kind: [0, 1, 1, 1, 1],
  references: { entropy: [3.2, "ln n"], det: [0.5, "offset +1"] },
  map: [
    [0, 0],
    [1, 0],
    [0, 2],
    [1, 2],
    [0.5, 1],
  ],
  relations: [det],
  telling: [],
};
const paints = heads.map(() => ({ fill: "#000000", edge: "#000000" }));
const names = (some: Head[]) => some.map(({ layer, head }) => `${layer}·${head}`);

test("heads are counted layer by layer, whatever the numbers of layers", () => {
  assert.deepEqual(names(heads), ["0·0", "0·1", "3·0", "3·1", "3·2"]);
  assert.deepEqual(byLayer([1, 2, 3, 4, 5], [2, 3]), [
    [1, 2],
    [3, 4, 5],
  ]);
});

test("a relation's best head is the best of both directions", () => {
  assert.equal(bestOf(det), 1);
  assert.equal(accuracy(det, 0), 0.6);
  assert.deepEqual(foundBy(index, 0), [det]);
  assert.deepEqual(foundBy(index, 4), []); // no more often than the offset
});

test("a table is sorted by a measure; unknown values are last in both directions", () => {
  const by = (sort: string | null, ascending: boolean) => names(sorted(index, heads, { sort, ascending }));
  assert.deepEqual(by("entropy", false), ["0·1", "3·2", "0·0", "3·1", "3·0"]);
  assert.deepEqual(by("entropy", true), ["3·1", "0·0", "0·1", "3·2", "3·0"]);
  assert.deepEqual(by(null, true), names(heads));
});

test("numbers of an axis are round and hold all values", () => {
  assert.deepEqual(ticks(0, 3.2), [0, 1, 2, 3, 4]);
  assert.deepEqual(ticks(0.03, 0.27, 5), [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]);
  assert.deepEqual(ticks(-0.2, 0.9, 4), [-0.5, 0, 0.5, 1]);
  assert.ok(ticks(2, 2).length >= 1);
});

test("labels cover neither marks nor each other", () => {
  const wanted = Array.from({ length: 60 }, (_, i) => ({
    x: 20 + ((i * 37) % 260),
    y: 20 + ((i * 53) % 160),
    text: `1·${i}`,
  }));
  const marks = wanted.map(({ x, y }) => ({ x: x - 4, y: y - 4, width: 8, height: 8 }));
  const placed = placeLabels(wanted, marks, 300, 200);
  assert.ok(placed.length > 10);
  const boxes = placed.map(({ x, y, text, anchor }) => {
    const width = 7 * text.length;
    const left = anchor === "start" ? x : anchor === "end" ? x - width : x - width / 2;
    return { x: left, y: y - 10, width, height: 13 };
  });
  const all = [...boxes, ...marks];
  for (const [i, a] of boxes.entries())
    for (const b of all.slice(i + 1).concat(marks))
      if (b !== a)
        assert.ok(a.x >= b.x + b.width || b.x >= a.x + a.width || a.y >= b.y + b.height || b.y >= a.y + a.height);
});

test("a head without a value has no place in a scatter, and what limits a measure is in the picture", () => {
  const chart = scatter(index, heads, paints, "layer", "entropy", 600);
  assert.equal(chart.places[2], null);
  assert.equal(chart.marks.filter(({ kind }) => kind === "dot").length, 4);
  const limit = chart.marks.find((mark) => mark.kind === "line" && !mark.faint);
  const highest = Math.min(...chart.places.flatMap((place) => place?.y ?? []));
  assert.ok(limit?.kind === "line" && limit.from[1] < highest);
});

test("on a map a unit is as long in both directions", () => {
  const { places } = map(index, heads, paints, 400);
  const [a, right, down] = [places[0], places[1], places[2]];
  assert.ok(a && right && down);
  assert.ok(Math.abs(right.x - a.x - (a.y - down.y) / 2) < 1e-9);
});

test("a grid has a cell for each head, with its text where every text has room", () => {
  const filled = heads.map(({ at }) => ({ fill: "#eeeeee", text: `0.1${at}`, ink: "ink" as const }));
  const written = (room: number) =>
    grid([0, 3], heads, filled, room).marks.filter((mark) => mark.kind === "label" && mark.text.startsWith("0.1"))
      .length;
  assert.equal(written(600), 5);
  assert.equal(written(80), 0);
  assert.equal(grid([0, 3], heads, filled, 600).places.length, 5);
});

test("a text's weights are the stretch of its layer's bytes that belongs to its head", () => {
  const sequence = (size: number) => ({ tokens: Array(size).fill("a"), special: [], sentence_b_start: null });
  const examples = [2, 3].map((size) => ({ line: null, sequences: { text: sequence(size) } }));
  const telling = [[0], [1, 0], [], [1], [0, 1]];
  const whole = { stacks: { self: { ...index, telling } }, examples };
  const stack = { layers: [0, 3], heads: [2, 3], rows: "text", cols: "text", telling: [{ file: "0" }, { file: "3" }] };
  const figure = { view: "heads", theme: "auto", label: "", stacks: { self: stack } } as unknown as HeadsFigure;
  // Each byte says which head and which text it is of.
  const bytes = ["0", "3"].map((_, i) =>
    Uint8Array.from(
      heads
        .filter(({ layer }) => layer === [0, 3][i])
        .flatMap(({ at }) => (telling[at] ?? []).flatMap((text) => Array(text ? 9 : 4).fill(10 * at + text))),
    ),
  );
  const host = {
    element: {},
    make: (inner: { stacks: Record<string, { layers: { heads: number }[] }> }) => ({ inner }),
    blob: ({ file }: { file: string }, decode: (bytes: Uint8Array) => unknown) =>
      decode(bytes[file === "0" ? 0 : 1] as Uint8Array),
  } as unknown as ViewHost;
  for (const head of heads)
    for (const [text, example] of (telling[head.at] ?? []).entries()) {
      const inner = tellingView(host, figure, "self", whole, heads, head, text);
      const layer = inner.blob({}, (bytes) => [...bytes]) as number[];
      const size = example ? 9 : 4;
      assert.equal(layer.length, size * (head.layer ? 3 : 2));
      const own = layer.slice(size * head.head, size * (head.head + 1));
      assert.deepEqual(own, Array(size).fill(10 * head.at + example), `${head.layer}·${head.head}, text ${text}`);
    }
});
