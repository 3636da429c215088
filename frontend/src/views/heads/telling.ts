import type { ReactiveController } from "lit";
import type { Blob, Figure } from "../../element/figure.js";
import type { HeadsFigure, HeadsStack } from "../../element/figure-data.js";
import type { Decode } from "../../element/store.js";
import { SubHost } from "../../element/sub-host.js";
import type { ViewHost } from "../../element/view.js";
import type { Example, Head, HeadIndex, StackIndex } from "./data.js";

/** The place of one head's weights for one text in the blob of its layer. */
interface Stretch {
  blob: Blob;
  start: number;
  size: number;
  head: number;
  heads: number;
}

const asTheyAre = (bytes: Uint8Array): Uint8Array => bytes;

/** Return the stored weights of a layer of which one head is known. */
function layerOf(bytes: Uint8Array, { start, size, head, heads }: Stretch): Uint8Array {
  if (start + size > bytes.length) throw new Error(`${bytes.length} bytes do not hold these texts`);
  const layer = new Uint8Array(heads * size);
  layer.set(bytes.subarray(start, start + size), head * size);
  return layer;
}

/** A place for the head view of one text. Its layer's weights are a stretch of the bytes for all texts of the layer. */
class TextHost extends SubHost {
  private decoded: unknown;

  constructor(
    private readonly outer: ViewHost,
    about: string,
    figure: Figure,
    private readonly stretch: Stretch,
  ) {
    super(outer, about, figure);
    this.blob = (_, decode) => {
      const bytes = this.outer.blob(this.stretch.blob, asTheyAre);
      return bytes && this.decode(bytes, decode);
    };
    this.load = async (_, decode) => this.decode(await this.outer.load(this.stretch.blob, asTheyAre), decode);
    this.notice = (what) => this.outer.notice(what, [this.stretch.blob]);
  }

  private decode<T>(bytes: Uint8Array, decode: Decode<T>): T {
    this.decoded ??= decode(layerOf(bytes, this.stretch));
    return this.decoded as T;
  }
}

const sizeOf = ({ sequences }: Example, { rows, cols }: HeadsStack): number =>
  [rows, cols].reduce((size, side) => size * (sequences[side]?.tokens.length ?? 0), 1);

/** Return the examples that a head shows. */
export const textsOf = (index: HeadIndex, stack: StackIndex, head: Head): Example[] =>
  (stack.telling[head.at] ?? []).map((number) => index.examples[number] as Example);

/** The head view of the text that is shown, made anew for another head or text. */
export class Telling implements ReactiveController {
  private key = "";
  private shown: SubHost | null = null;

  constructor(private readonly host: ViewHost) {}

  /** Return the host of the view that `make` makes, unless it is there already. */
  show(key: string, make: () => SubHost): SubHost {
    if (this.shown && key === this.key) return this.shown;
    this.leave();
    this.key = key;
    this.shown = make();
    if (this.host.element.isConnected) this.shown.connect();
    return this.shown;
  }

  leave(): void {
    this.shown?.disconnect();
    this.shown = null;
  }

  hostConnected(): void {
    this.shown?.connect();
  }

  hostDisconnected(): void {
    this.shown?.disconnect();
  }

  hostUpdate(): void {
    this.shown?.update();
  }

  hostUpdated(): void {
    this.shown?.updated();
  }
}

/** Return the head view of one of a head's most telling texts, with a life of its own. */
export function tellingView(
  host: ViewHost,
  figure: HeadsFigure,
  name: string,
  index: HeadIndex,
  heads: Head[],
  chosen: Head,
  text: number,
): SubHost {
  const stack = figure.stacks[name] as HeadsStack;
  const stackIndex = index.stacks[name] as StackIndex;
  const at = stack.layers.indexOf(chosen.layer);
  const before = heads
    .filter(({ layer, head }) => layer === chosen.layer && head < chosen.head)
    .flatMap((head) => textsOf(index, stackIndex, head));
  const own = textsOf(index, stackIndex, chosen);
  const start = [...before, ...own.slice(0, text)].reduce((sum, example) => sum + sizeOf(example, stack), 0);
  const example = own[text] as Example;
  const count = stack.heads[at] as number;
  const { layer, head } = chosen;
  const kind = stackIndex.kinds[stackIndex.kind[chosen.at] as number];
  const isOfWords = example.sequences[stack.cols]?.special.every(
    (at) => example.sequences[stack.cols]?.tokens[at] !== kind,
  );
  const written = {
    view: "head",
    theme: figure.theme,
    label: "",
    ...(figure.source ? { source: figure.source } : {}),
    sequences: example.sequences,
    stacks: { [name]: { rows: stack.rows, cols: stack.cols, layers: [{ layer, heads: count, data: "here" }] } },
    options: { stack: name, layer, heads: [head], include_heads: [head], filter: "all", special_tokens: !isOfWords },
  };
  const stretch = { blob: stack.telling[at] as Blob, start, size: sizeOf(example, stack), head, heads: count };
  return new TextHost(host, `Layer ${layer}, head ${head}`, written, stretch);
}
