import assert from "node:assert/strict";
import { test } from "node:test";
import { palest } from "../src/element/scheme.js";
import { contrast, over, type Rgba } from "../src/lib/color.js";
import { headColor, hexToRgba, inkOn, PALETTES } from "../src/lib/palette.js";

type Triple = [number, number, number];
type Matrix = [Triple, Triple, Triple];

/** Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB. */
const SIGHT: Record<string, Matrix> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
};
const LMS: Matrix = [
  [0.4122214708, 0.5363325363, 0.0514459929],
  [0.2119034982, 0.6806995451, 0.1073969566],
  [0.0883024619, 0.2817188376, 0.6299787005],
];
const LAB: Matrix = [
  [0.2104542553, 0.793617785, -0.0040720468],
  [1.9779984951, -2.428592205, 0.4505937099],
  [0.0259040371, 0.7827717662, -0.808675766],
];

const times = (matrix: Matrix, v: Triple) =>
  matrix.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]) as Triple;
const linear = (byte: number) => (byte / 255 <= 0.04045 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4);

function oklab(hex: string, sight: Matrix): Triple {
  const [r, g, b] = hexToRgba(hex);
  const seen = times(sight, [linear(r), linear(g), linear(b)]).map((v) => Math.min(Math.max(v, 0), 1)) as Triple;
  return times(LAB, times(LMS, seen).map(Math.cbrt) as Triple);
}

const PAGES: Record<"light" | "dark", Rgba[]> = {
  light: [hexToRgba("#ffffff"), hexToRgba("#fcfcfc")],
  dark: [hexToRgba("#000000"), hexToRgba("#121212"), hexToRgba("#1e2129")],
};

for (const scheme of ["light", "dark"] as const) {
  const { heads } = PALETTES[scheme];

  for (const [name, sight] of Object.entries(SIGHT))
    test(`${scheme}: twelve colours are told apart with ${name} sight`, () => {
      const seen = heads.map((hex) => oklab(hex, sight));
      seen.forEach((a, i) => {
        for (const b of seen.slice(i + 1))
          assert.ok(Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) > 0.115, `${heads[i]} is too close to another`);
      });
    });

  test(`${scheme}: squares stand out from the page and their numbers can be read`, () => {
    for (const hex of heads) {
      for (const page of PAGES[scheme]) assert.ok(contrast(hexToRgba(hex), page) >= 3, `${hex} on the page`);
      const ink = hexToRgba(inkOn(hex) === "#fff" ? "#ffffff" : "#000000");
      assert.ok(contrast(hexToRgba(hex), ink) >= 4.5, `number on ${hex}`);
    }
  });
}

test("colours repeat after twelve heads", () => {
  assert.equal(headColor(14, false), headColor(2, false));
  assert.notEqual(headColor(2, true), headColor(2, false));
});

test("pale text is as pale as 4.5:1 allows", () => {
  const pairs: [Rgba, Rgba][] = [
    [
      [0, 0, 0, 0.87],
      [255, 255, 255, 1],
    ],
    [
      [64, 64, 64, 1],
      [252, 252, 252, 1],
    ],
    [
      [226, 228, 233, 0.82],
      [30, 33, 41, 1],
    ],
  ];
  for (const [text, page] of pairs) {
    const share = palest(text, page);
    const ratio = contrast(over([text[0], text[1], text[2], text[3] * share], page), page);
    assert.ok(share < 1 && ratio >= 4.5 && ratio < 5.2, String(ratio));
  }
});
