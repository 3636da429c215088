import type { Blob } from "../element/figure.js";
import type { Decode } from "../element/store.js";
import type { ViewHost } from "../element/view.js";
import { upTo } from "../lib/packed.js";
import { type AttentionFigure, findLayer, findSequence, findStack } from "./figure.js";
import { Mask } from "./mask-runs.js";
import { type HeadNeurons, headNeurons, neuronBlobs, neuronLayer } from "./neuron-scores.js";
import type { Allowed } from "./scene.js";
import { Layer } from "./weights.js";

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
}

/** The stored weights of one figure: layers for its view, one head's numbers for a program. */
export class WeightSource {
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
    const { blob, decode, ahead } = this.find(stack, layer);
    if (ahead && !whole && !host.isDrawn) return host.blob(...ahead);
    return host.blob(blob, decode) ?? (ahead && !whole ? host.blob(...ahead) : undefined);
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
    const { blob, decode } = this.find(name, request.layer);
    const weights = await this.host.load(blob, decode);
    return { rows: [...rows], cols: [...cols], values: weights.matrix(request.head) };
  }

  /** Return what the weights of one head come of. Rejects where the figure has no queries and keys. */
  async neurons(request: WeightsRequest): Promise<HeadNeurons> {
    const { source, rows, cols, causal } = this.requested(request);
    if (!source.neurons) throw new Error("this figure has no queries and keys");
    const load = neuronBlobs(source, rows.length, cols.length, (blob, decode) => this.host.load(blob, decode));
    return headNeurons(neuronLayer(source, rows.length, cols.length, causal, await Promise.all(load)), request.head);
  }

  /** Return a layer's own blob, and the preview that is drawn before it is fetched. */
  private find(name: string, number: number): { blob: Blob; decode: Decode<Layer>; ahead?: [Blob, Decode<Layer>] } {
    const { figure } = this;
    const stack = findStack(figure, name);
    const source = findLayer(stack, number);
    const [high, wide] = [stack.cols, stack.rows].map((side) => findSequence(figure, side).tokens.length) as [
      number,
      number,
    ];
    const { heads, preview } = source;
    const decode = upTo(heads * high * wide, (bytes) => new Layer(bytes, heads, high, wide));
    if (!preview) return { blob: source, decode };
    return {
      blob: source,
      decode,
      ahead: [preview, (bytes) => Layer.preview(bytes, preview.share, heads, high, wide)],
    };
  }

  private requested({ stack, layer, head }: WeightsRequest) {
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
