/** The places of an expanded token's parts, in CSS pixels from the left edge of what scrolls sideways. */
export interface NeuronLayout {
  /** Width of one neuron's cell and of a whole strip. */
  cell: number;
  strip: number;
  /** Left edges. */
  q: number;
  k: number;
  product: number;
  numbers: number[];
  /** Width of a column of numbers. */
  number: number;
  width: number;
}

export const STRIP_HEIGHT = 16;
const NUMBER = 48;
const MARGIN = 6;
/** The least width in px in which lines fan out from the query to each key. */
const FAN = 24;
const WIDEST_FAN = 72;
export const GAP = 10;
const WIDEST_CELL = 6;
/** Narrower ones have no room for their legends. */
const SHORTEST_STRIP = 64;

/** Strips share the room that the numbers leave; where there is too little, a cell is a pixel wide and all of it scrolls. */
export function neuronLayout(room: number, d: number, numbers: number, ratio: number): NeuronLayout {
  const fixed = 2 * MARGIN + FAN + GAP + numbers * (GAP + NUMBER);
  const pixels = Math.floor(((room - fixed) / 3 / d) * ratio); // of the screen, so that all cells are alike
  const least = Math.ceil(Math.max(1, SHORTEST_STRIP / d) * ratio);
  const cell = Math.min(Math.max(pixels, least), Math.max(least, WIDEST_CELL * ratio)) / ratio;
  const strip = cell * d;
  const rest = Math.max(0, room - fixed - 3 * strip);
  const fan = Math.min(WIDEST_FAN, Math.floor(FAN + rest / 2));
  const number = Math.floor(NUMBER + (rest - (fan - FAN)) / numbers);
  const k = MARGIN + strip + fan;
  const product = k + strip + GAP;
  const first = product + strip + GAP;
  const edges = Array.from({ length: numbers }, (_, i) => first + i * (number + GAP));
  return { cell, strip, q: MARGIN, k, product, numbers: edges, number, width: Math.max(room, fixed + 3 * strip) };
}

/** The neuron under a place in one of the strips. */
export function neuronAt({ cell, strip, q, k, product }: NeuronLayout, x: number): number | null {
  const edge = [q, k, product].find((left) => x >= left && x < left + strip);
  return edge === undefined ? null : Math.floor((x - edge) / cell);
}
