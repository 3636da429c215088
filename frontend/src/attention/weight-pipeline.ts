import type { Blob } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";
import { inRange, only, type Range, type Side } from "../lib/geometry.js";
import { memo } from "../lib/memo.js";
import { Scaled } from "../lib/packed.js";
import { headColor, neutral } from "../lib/palette.js";
import {
  type AttentionFigure,
  findLayer,
  findSequence,
  findStack,
  isShipped,
  type LayerSource,
  weightBlobs,
} from "./figure.js";
import { offeredHeads, offers, type State, sinkOf, visibleRange } from "./state.js";
import { arrange, filtered, type Tokens } from "./tokens.js";
import { acrossHeads, acrossLayers } from "./transforms/across.js";
import { regroup } from "./transforms/regroup.js";
import { reweighed } from "./transforms/reweighed.js";
import { type Kept, threshold } from "./transforms/threshold.js";
import type { WeightSource } from "./weight-source.js";
import { Layer } from "./weights.js";

/** The weights to draw, after all changes that the reader has asked for. */
export interface Shown {
  layer: Layer;
  /** Heads of `layer` that are drawn, and their colours. */
  heads: number[];
  colors: string[];
  /** The way in which several heads were made one. */
  combined: string | null;
  /** The share that is left of the weight from the visible rows to the permitted columns, hidden ones included. */
  kept: number;
  /** Columns of `layer` that are let through and hidden: what is left out is part of the whole. */
  rest: number[];
  /** Columns of `layer` that are drawn faintly. */
  faded: number[];
}

const singletons = (groups: number[][], length: number) =>
  groups.length === length && groups.every((g) => g.length === 1);

/** Turns the stored weights into those that are shown: values, sink, layers, words, heads, threshold, in this order. */
export class WeightPipeline {
  private readonly weighted = new Map<LayerSource, typeof reweighed>();
  private readonly sides = { left: memo(arrange), right: memo(arrange) };
  private readonly acrossLayers = memo(acrossLayers);
  private readonly acrossHeads = memo(acrossHeads);
  private readonly regroup = memo(regroup);
  /** The largest of sums is a weight; a sum of the largest would not be. */
  private readonly largest = memo((layers: Layer[], rows: number[][], cols: number[][]) =>
    acrossLayers(
      layers.map((layer) => regroup(layer, rows, cols)),
      "max",
    ),
  );
  private readonly threshold = memo(
    (layer: Layer, heads: number[], hidden: number[], ...[r1, r2, c1, c2, min_weight, mass]: Limits) => {
      const range = { rows: { start: r1, end: r2 }, cols: { start: c1, end: c2 } };
      return threshold(layer, heads, range, { min_weight, mass }, hidden);
    },
  );

  constructor(
    private readonly host: ViewHost,
    private readonly figure: AttentionFigure,
    private readonly stored: WeightSource,
  ) {}

  tokens(state: State, side: Side): Tokens {
    const { figure } = this;
    const { rows, cols } = findStack(figure, state.stack);
    const [name, without] = side === "left" ? [rows, []] : [cols, sinkOf(figure, state, "leave_out")];
    return this.sides[side](findSequence(figure, name), state.merge_words, state.special_tokens, without);
  }

  range(state: State, side: Side): Range {
    return filtered(this.tokens(state, side), state.filter, side);
  }

  /** The blobs that the picture is made of. */
  blobs(state: State): Blob[] {
    if (state.across_layers === "rollout") return [this.source(state).rollout as Blob];
    const values = this.weighs(state);
    return this.sources(state).flatMap((source) => [
      ...weightBlobs(source),
      ...(values ? [source.values as Blob] : []),
    ]);
  }

  private source({ stack, layer }: State): LayerSource {
    return findLayer(findStack(this.figure, stack), layer);
  }

  /** The present layer first: its heads are those that are shown. Layers of which the page has nothing are left out. */
  sources(state: State): LayerSource[] {
    const present = this.source(state);
    if (state.across_layers === null) return [present];
    const { layers } = findStack(this.figure, state.stack);
    return [present, ...layers.filter((other) => other !== present && other.kept?.some(Boolean) !== false)];
  }

  /** The share that the page has of the weight of these heads. */
  shipped(state: State, heads: number[]): number {
    if (state.across_layers === "rollout") return 1;
    const shares = this.sources(state).flatMap((source) => heads.map((head) => this.share(state, source, head)));
    return shares.reduce((sum, share) => sum + share, 0) / shares.length;
  }

  /** The share that the page has of the weight of one head; without a sink, of the rest. */
  private share(state: State, source: LayerSource, head: number): number {
    const kept = source.kept?.[head] ?? 1;
    let sink = 0;
    for (const col of kept < 1 ? sinkOf(this.figure, state, "leave_out") : []) {
      const layer = this.stored.layer(state.stack, source.layer, true);
      layer?.each(head, layer.whole[0], only(col), (_, __, weight) => {
        sink += weight / layer.rows;
      });
    }
    return Math.max(0, kept - sink) / (1 - sink || 1);
  }

  weighs({ stack, value_weighted, across_layers }: State): boolean {
    return value_weighted && across_layers !== "rollout" && offers(this.figure, findStack(this.figure, stack)).values;
  }

  private one(state: State, source: LayerSource): Layer | undefined {
    const layer = this.stored.layer(state.stack, source.layer, !isPlain(state));
    const norms = this.weighs(state)
      ? this.host.blob(source.values as Blob, (bytes) => new Scaled(bytes, source.heads))
      : null;
    return layer && norms !== undefined ? this.reweighed(state, source, layer, norms) : undefined;
  }

  private reweighed(state: State, source: LayerSource, layer: Layer, norms: Scaled | null = null): Layer {
    const without = sinkOf(this.figure, state, "leave_out");
    if (!norms && without.length === 0) return layer;
    const compute = this.weighted.get(source) ?? memo(reweighed);
    if (state.across_layers === null) this.weighted.clear(); // one layer's is enough to keep
    this.weighted.set(source, compute);
    return compute(layer, norms, without, source.kept);
  }

  private rollout(state: State): Layer | undefined {
    const { rows, cols } = findStack(this.figure, state.stack);
    const [attending, there] = [rows, cols].map((name) => findSequence(this.figure, name).tokens.length) as [
      number,
      number,
    ];
    const source = this.source(state);
    const rollout = this.host.blob(source.rollout as Blob, (bytes) => {
      if (bytes.length !== attending * attending)
        throw new Error(`${bytes.length} bytes are not ${attending * attending}`);
      const padded = new Uint8Array(attending * there); // a sink has no row of its own
      padded.set(bytes);
      return new Layer(padded, 1, there, attending);
    });
    return rollout && this.reweighed(state, source, rollout);
  }

  private base(state: State): Layer | undefined {
    if (state.across_layers === "rollout") return this.rollout(state);
    const layers = this.layers(state);
    return state.across_layers ? layers && this.acrossLayers(layers, state.across_layers) : layers?.[0];
  }

  private layers(state: State): Layer[] | undefined {
    const layers = this.sources(state).map((source) => this.one(state, source));
    return layers.includes(undefined) ? undefined : (layers as Layer[]);
  }

  /** Words in place of tokens; columns that are not shown come last. */
  private arranged(state: State, base: Layer): Layer {
    const rows = this.tokens(state, "left").groups;
    const { groups, hidden } = this.tokens(state, "right");
    if (singletons(rows, base.rows) && singletons(groups, base.cols)) return base;
    const cols = [...groups, ...hidden];
    return state.across_layers === "max"
      ? this.largest(this.layers(state) as Layer[], rows, cols)
      : this.regroup(base, rows, cols);
  }

  /** Undefined while something still loads. */
  shown(state: State, dark: boolean): Shown | undefined {
    const base = this.base(state);
    if (!base) return undefined;
    const asked = this.headsOf(state);
    const rollout = state.across_layers === "rollout";
    const heads = rollout ? asked : asked.filter((head) => isShipped(this.source(state), head));
    if (heads.length === 0) return undefined;
    const arranged = this.arranged(state, base);
    const combined = this.combined(state);
    const across = combined && !rollout;
    const layer = across ? this.acrossHeads(arranged, heads, state.across_heads ?? "mean") : arranged;
    const colors = combined ? [neutral(dark)] : heads.map((head) => headColor(head, dark));
    const rest = this.rest(state);
    const kept = this.limited(state, layer, combined ? [0] : heads, rest);
    const share = kept.share * this.shipped(state, asked);
    const { slots } = this.tokens(state, "right");
    const faded = sinkOf(this.figure, state, "fade").map((index) => slots[index] as number);
    return { layer: kept.layer, heads: combined ? [0] : heads, colors, combined, kept: share, rest, faded };
  }

  /** The way in which several heads are made one. */
  combined(state: State): string | null {
    if (state.across_layers === "rollout") return "rollout";
    return this.headsOf(state).length > 1 ? state.across_heads : null;
  }

  private rest(state: State): number[] {
    const { tokens, hidden } = this.tokens(state, "right");
    const visible = visibleRange(this.figure, findStack(this.figure, state.stack), state.filter, "right");
    return hidden.flatMap(([at], i) => (inRange(at as number, visible) ? [tokens.length + i] : []));
  }

  private limited(state: State, layer: Layer, heads: number[], rest: number[]): Kept {
    const { min_weight, mass } = state;
    if (min_weight === null && mass === null && this.tokens(state, "right").hidden.length === 0)
      return { layer, share: 1 };
    const [rows, cols] = [this.range(state, "left"), this.range(state, "right")];
    return this.threshold(layer, heads, rest, rows.start, rows.end, cols.start, cols.end, min_weight, mass);
  }

  /** A view of one head puts all of them together. */
  headsOf(state: State): number[] {
    if (state.across_layers === "rollout") return [0];
    const { figure } = this;
    const all = figure.view === "matrix" && state.across_heads;
    return all ? offeredHeads(figure, findStack(figure, state.stack), state.layer) : state.heads;
  }
}

/** True if the weights are shown as they are stored. */
function isPlain(state: State): boolean {
  const { across_layers, across_heads, min_weight, mass } = state;
  const limited = [across_layers, across_heads, min_weight, mass].some((value) => value !== null);
  const { value_weighted, merge_words, special_tokens, sink } = state;
  return !limited && !value_weighted && !merge_words && special_tokens && sink !== "leave_out";
}

type Limits = [number, number, number, number, number | null, number | null];
