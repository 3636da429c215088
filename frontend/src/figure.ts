/** What Python writes into `data-figure`. Everything past `parseFigure` may trust it. */
export interface Figure {
  view: string;
  /** One sentence that says what is to be seen: the figure's accessible name. */
  label: string;
  theme: "auto" | "light" | "dark";
  sequences: Record<string, Sequence>;
  stacks: Record<string, Stack>;
  options: Options;
}

export interface Sequence {
  tokens: string[];
  special: number[];
  sentence_b_start: number | null;
}

/** The attention of one set of layers: tokens of `rows` attend to tokens of `cols`. */
export interface Stack {
  rows: string;
  cols: string;
  layers: LayerSource[];
}

export interface LayerSource {
  layer: number;
  heads: number;
  /** Base64 of the deflated bytes, or the name of the script that holds it. */
  data?: string;
  file?: string;
}

export interface Options {
  layer: number;
  heads: number[];
  include_heads: number[] | null;
}

function expect(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`data-figure: ${what}`);
}

export function parseFigure(json: string | null): Figure {
  const figure = JSON.parse(json ?? "null") as Figure | null;
  expect(figure && typeof figure === "object", "is not an object");
  expect(figure.options && typeof figure.label === "string", "has no options or no label");
  const stacks = Object.entries(figure.stacks ?? {});
  expect(stacks.length > 0, "has no stack");
  for (const [name, stack] of stacks) {
    for (const side of [stack.rows, stack.cols])
      expect(Array.isArray(figure.sequences?.[side]?.tokens), `stack ${name} names the unknown sequence ${side}`);
    expect(stack.layers?.length > 0, `stack ${name} has no layers`);
    for (const { layer, heads, data, file } of stack.layers)
      expect(heads > 0 && (data ?? file), `layer ${layer} of stack ${name} has no data`);
  }
  return figure;
}

export function findStack(figure: Figure, name = Object.keys(figure.stacks)[0] ?? ""): Stack {
  const stack = figure.stacks[name];
  if (!stack) throw new RangeError(`stack ${name}: not one of ${Object.keys(figure.stacks).join(", ")}`);
  return stack;
}

export function findLayer(stack: Stack, layer: number): LayerSource {
  const source = stack.layers.find((candidate) => candidate.layer === layer);
  if (!source) throw new RangeError(`layer ${layer}: not one of ${stack.layers.map((l) => l.layer).join(", ")}`);
  return source;
}

export function findSequence(figure: Figure, name: string): Sequence {
  return figure.sequences[name] as Sequence;
}
