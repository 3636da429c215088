import type { Blob } from "../element/figure.js";
import type { LayerPart } from "../element/figure-data.js";
import type { Decode } from "../element/store.js";
import type { ViewHost } from "../element/view.js";
import { upTo } from "../lib/packed.js";
import { absentSentence } from "./absent.js";
import { type AttentionFigure, findLayer, findSequence, findStack, type LayerSource, weightBlobs } from "./figure.js";
import { Mask } from "./mask-runs.js";
import type { Allowed } from "./scene.js";
import { type Group, Layer } from "./weights.js";

export interface WeightsRequest {
  stack?: string;
  layer: number;
  head: number;
}

export interface Weights {
  rows: string[];
  cols: string[];
  /** Shape (rows, cols). */
  values: number[][];
  /** The share of the head's weight that the page has, where that is not all. */
  kept?: number;
}

/** The stored weights of one figure: layers for its view, one head's numbers for a program. */
export class WeightSource {
  private readonly joined = new Map<LayerSource, Layer>();

  constructor(
    private readonly host: ViewHost,
    private readonly figure: AttentionFigure,
  ) {}

  /**
   * Return the decoded layer, or undefined while it loads; the host renders again when it has come. Until then its
   * preview will do, unless it is to be the `whole` layer.
   */
  layer(stack: string, layer: number, whole = false): Layer | undefined {
    const { host } = this;
    const { source, decode, ahead, join } = this.find(stack, layer);
    if (ahead && !whole && !host.isDrawn) return host.blob(...ahead);
    const parts = weightBlobs(source).map((blob) => host.blob(blob, decode(blob)));
    if (!parts.includes(undefined)) return join(parts as (Layer | Uint8Array)[]);
    return ahead && !whole ? host.blob(...ahead) : undefined;
  }

  /** Return which tokens of a layer may attend to which, a sink included; undefined if all may, or if that is not known. */
  allowed(name: string, number: number): Allowed | undefined {
    const stack = findStack(this.figure, name);
    const [rows, cols] = [stack.rows, stack.cols].map((side) => findSequence(this.figure, side).tokens.length) as [
      number,
      number,
    ];
    const sink = stack.cols.endsWith("+sink") ? cols - 1 : cols;
    const blob = stack.masks?.[findLayer(stack, number).mask ?? -1];
    const mask = blob && this.host.blob(blob, (bytes) => new Mask(bytes, rows));
    if (mask) return (row, col) => col >= sink || mask.allows(row, col);
    return stack.causal ? (row, col) => col <= row || col >= sink : undefined;
  }

  /** Return the weights of one head, as stored: within 0.004 of the model's. */
  async weights(request: WeightsRequest): Promise<Weights> {
    const { name, rows, cols } = this.requested(request);
    const { source, decode, join } = this.find(name, request.layer);
    const absent = absentSentence(this.figure, name, request.layer, [request.head]);
    if (absent) throw new Error(absent);
    const parts = await Promise.all(weightBlobs(source).map((blob) => this.host.load(blob, decode(blob))));
    const kept = source.kept?.[request.head];
    const values = join(parts).matrix(request.head);
    return { rows: [...rows], cols: [...cols], values, ...(kept && { kept }) };
  }

  /** Return how a layer's blobs are read and put together, and the preview that is drawn before they are fetched. */
  private find(name: string, number: number) {
    const { figure } = this;
    const stack = findStack(figure, name);
    const source = findLayer(stack, number);
    const [high, wide] = [stack.cols, stack.rows].map((side) => findSequence(figure, side).tokens.length) as [
      number,
      number,
    ];
    const { heads, preview } = source;
    const decode = (part: LayerPart): Decode<Layer | Uint8Array> => {
      if (!source.parts) return upTo(heads * high * wide, (bytes) => new Layer(bytes, heads, high, wide));
      const size = part.count ? 3 * heads * wide * part.count : (part.heads as number[]).length * high * wide;
      return upTo(size, (bytes) => {
        if (bytes.length !== size) throw new Error(`${bytes.length} bytes are not ${size}`);
        return bytes;
      });
    };
    const ahead: [Blob, Decode<Layer>] | undefined = preview && [
      preview,
      (bytes) => Layer.preview(bytes, preview.share, heads, high, wide),
    ];
    const join = (contents: (Layer | Uint8Array)[]) =>
      source.parts ? this.whole(source, contents as Uint8Array[], high, wide) : (contents[0] as Layer);
    return { source, decode, ahead, join };
  }

  /** Put a layer together from its parts, once. */
  private whole(source: LayerSource, contents: Uint8Array[], high: number, wide: number): Layer {
    const { joined } = this;
    const known = joined.get(source);
    if (known) return known;
    const { heads, parts = [] } = source;
    const size = high * wide;
    const groups: Group[] = [];
    const layer = new Layer(null, heads, high, wide, groups);
    contents.forEach((packed, i) => {
      const { count, heads = [] } = parts[i] as LayerPart;
      if (count) groups.push({ count, packed });
      for (const [n, head] of heads.entries()) layer.planes[head] = packed.subarray(n * size, (n + 1) * size);
    });
    joined.set(source, layer);
    return layer;
  }

  /** Return the layer and the tokens that a request is about; throw a RangeError that names a bad value. */
  requested({ stack, layer, head }: WeightsRequest) {
    const { figure } = this;
    const name = stack ?? (Object.keys(figure.stacks)[0] as string);
    const { rows, cols, causal = false, layers } = findStack(figure, name);
    const source = findLayer({ rows, cols, layers }, layer);
    if (!(Number.isInteger(head) && head >= 0 && head < source.heads))
      throw new RangeError(`head ${head}: not one of 0 to ${source.heads - 1}`);
    const tokens = (sequence: string) => findSequence(figure, sequence).tokens;
    return { name, source, causal, rows: tokens(rows), cols: tokens(cols) };
  }
}
