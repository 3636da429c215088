import { type Chart, label, line, type Mark, type Place, RADIUS } from "./chart.js";
import { extent, type Head, measureOf, nameOf, type StackIndex, titleOf } from "./data.js";
import { placeLabels } from "./labels.js";

export interface Paint {
  fill: string;
  edge: string;
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [736, 340, 44, 16, 26, 44];
/** px between the numbers of an axis, at least. */
const [ACROSS, DOWN] = [64, 48];
/** The units of measures whose scale includes what they are compared with. */
const LIMITED = ["nats", "accuracy"];
/** The most labels of a picture. */
const LABELS = 24;

type Point = readonly [number, number] | null;
type Ends = readonly [number, number];

/** Return round numbers from at most `low` to at least `high`, about `count` of them. */
export function ticks(low: number, high: number, count = 5): number[] {
  const span = high - low || 1;
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = ([1, 2, 5, 10].find((factor) => span / (power * factor) <= count) ?? 10) * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(10)));
}

interface Scale {
  ticks: number[];
  ends: Ends;
}

/**
 * Return the scale of a measure. It reaches to what the measure is compared with, if that is its own limit; layers have
 * whole numbers, and room beside the first and the last.
 */
function scaleOf(index: StackIndex, name: string, count: number): Scale {
  const [low, high] = extent(index.values[name] ?? []);
  const { unit } = measureOf(index, name);
  if (!unit) {
    const every = Math.ceil((high - low + 1) / count);
    const layers = Array.from({ length: Math.floor((high - low) / every) + 1 }, (_, i) => low + every * i);
    return { ticks: layers, ends: [low - 0.5, high + 0.5] };
  }
  const [limit = high] = LIMITED.includes(unit) ? (index.references[name] ?? []) : [];
  const round = ticks(Math.min(low, 0), Math.max(high, limit), count);
  return { ticks: round, ends: [round[0] as number, round.at(-1) as number] };
}

const share = ({ ends: [low, high] }: Scale, value: number): number => (value - low) / (high - low || 1);

/** Return how far each point is from the mean of all, in standard deviations of the axis where it is farther. */
function apart(points: Point[]): number[] {
  const known = points.filter((point) => point !== null);
  const parts = ([0, 1] as const).map((along) => {
    const mean = known.reduce((sum, point) => sum + point[along], 0) / known.length;
    const spread = Math.sqrt(known.reduce((sum, point) => sum + (point[along] - mean) ** 2, 0) / known.length) || 1;
    return (point: Point) => (point ? Math.abs(point[along] - mean) / spread : -1);
  });
  return points.map((point) => Math.max(...parts.map((part) => part(point))));
}

/** Draw a mark for each head, with the names of those that stand out; `at` leads from units of the axes to px. */
function marksOf(points: Point[], heads: Head[], paints: Paint[], at: (point: Point & object) => Ends, size: Ends) {
  const places = points.map((point): Place | null => {
    if (!point) return null;
    const [x, y] = at(point);
    return { x: x - RADIUS, y: y - RADIUS, width: 2 * RADIUS, height: 2 * RADIUS };
  });
  const far = apart(points);
  const wanted = heads
    .filter(({ at }) => points[at])
    .sort((a, b) => (far[b.at] as number) - (far[a.at] as number))
    .slice(0, LABELS)
    .map((head) => {
      const [x, y] = at(points[head.at] as Point & object);
      return { x, y, text: nameOf(head) };
    });
  const dots = [...heads]
    .sort((a, b) => (far[a.at] as number) - (far[b.at] as number)) // those that stand out are in front
    .flatMap(({ at }): Mark[] => {
      const place = places[at];
      return place ? [{ kind: "dot", x: place.x + RADIUS, y: place.y + RADIUS, ...(paints[at] as Paint) }] : [];
    });
  return {
    places,
    dots,
    labels: (taken: Parameters<typeof placeLabels>[4]) => placeLabels(wanted, places, ...size, taken),
  };
}

/** Two measures of each head. */
export function scatter(index: StackIndex, heads: Head[], paints: Paint[], x: string, y: string, room: number): Chart {
  const [width, height] = [Math.min(WIDTH, room), Math.min(HEIGHT, room)];
  const [across, down] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
  const [xs, ys] = [index.values[x] ?? [], index.values[y] ?? []];
  const points = heads.map(({ at }): Point => {
    const pair = [xs[at], ys[at]];
    return pair.every((value) => value != null) ? (pair as [number, number]) : null;
  });
  const right = scaleOf(index, x, across / ACROSS);
  const up = scaleOf(index, y, down / DOWN);
  const at = ([x, y]: Ends): Ends => [LEFT + across * share(right, x), TOP + down * (1 - share(up, y))];
  const { places, dots, labels } = marksOf(points, heads, paints, at, [width, height - BOTTOM]);
  const axes: Mark[] = [];
  for (const value of up.ticks) {
    const [, place] = at([0, value]);
    axes.push(line(LEFT, place, width - RIGHT, place), label(LEFT - 8, place + 4, String(value), "pale", "end"));
  }
  for (const value of right.ticks) axes.push(label(at([value, 0])[0], height - BOTTOM + 18, String(value)));
  axes.push(
    label(0, 12, `↑ ${titleOf(measureOf(index, y))}`, "ink", "start"),
    label(width - RIGHT, height - 6, `${titleOf(measureOf(index, x))} →`, "ink", "end"),
  );
  const references = [...upright(index, x, right, at, height), ...level(index, y, up, at, width)];
  const written = references.filter((mark) => mark.kind === "label");
  const taken = [...axes, ...written].flatMap((mark) => (mark.kind === "label" ? [boxOf(mark)] : []));
  const names = labels(taken).map(({ x, y, text, anchor }) => label(x, y, text, "ink", anchor));
  return {
    width,
    height,
    marks: [...axes, ...references.filter((mark) => mark.kind !== "label"), ...dots, ...written, ...names],
    places,
    isRound: true,
  };
}

function boxOf({
  x,
  y,
  text,
  anchor,
}: {
  x: number;
  y: number;
  text: string;
  anchor: string;
}): [number, number, number, number] {
  const left = anchor === "end" ? x - 7 * text.length : x;
  return [left, y - 11, left + 7 * text.length, y + 3];
}

const isWithin = (value: number, { ends: [low, high] }: Scale): boolean => value >= low && value <= high;

/** The value that a measure along x is compared with. */
function upright(index: StackIndex, name: string, scale: Scale, at: (point: Ends) => Ends, height: number): Mark[] {
  const [value, said] = index.references[name] ?? [Number.NaN, ""];
  if (!isWithin(value, scale)) return [];
  const [x] = at([value, 0]);
  return [line(x, TOP, x, height - BOTTOM, false), label(x + 4, TOP + 10, said, "pale", "start")];
}

/** The value that a measure along y is compared with. */
function level(index: StackIndex, name: string, scale: Scale, at: (point: Ends) => Ends, width: number): Mark[] {
  const [value, said] = index.references[name] ?? [Number.NaN, ""];
  if (!isWithin(value, scale)) return [];
  const [, y] = at([0, value]);
  return [line(LEFT, y, width - RIGHT, y, false), label(width - RIGHT, y - 4, said, "pale", "end")];
}

/** Heads whose attention is alike stand near each other. A unit is as long in both directions. */
export function map(index: StackIndex, heads: Head[], paints: Paint[], room: number): Chart {
  const [width, height] = [Math.min(WIDTH, room), Math.min(HEIGHT, room)];
  const points = index.map ?? [];
  const [xs, ys] = [extent(points.map(([x]) => x)), extent(points.map(([, y]) => y))];
  const margin = 24;
  const unit = Math.min((width - 2 * margin) / (xs[1] - xs[0] || 1), (height - 2 * margin) / (ys[1] - ys[0] || 1));
  const at = ([x, y]: Ends): Ends => [
    width / 2 + unit * (x - (xs[0] + xs[1]) / 2),
    height / 2 - unit * (y - (ys[0] + ys[1]) / 2),
  ];
  const { places, dots, labels } = marksOf(points, heads, paints, at, [width, height]);
  const names = labels([]).map(({ x, y, text, anchor }) => label(x, y, text, "ink", anchor));
  return { width, height, marks: [...dots, ...names], places, isRound: true };
}
