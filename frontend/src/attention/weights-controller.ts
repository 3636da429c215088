import type { ViewHost } from "../element/view.js";
import type { Range, Side } from "../lib/geometry.js";
import { plainText } from "../lib/token.js";
import { absentSentence } from "./absent.js";
import { absentPicture } from "./absent-picture.js";
import { type AttentionFigure, findLayer, findSequence } from "./figure.js";
import { percentText } from "./readout.js";
import type { Allowed } from "./scene.js";
import { sharedKeys } from "./shared-keys.js";
import {
  type Change,
  initialState,
  mergeState,
  offeredHeads,
  offers,
  type Selection,
  type State,
  sinkOf,
} from "./state.js";
import type { Tokens } from "./tokens.js";
import { AttentionViewState } from "./view-state.js";
import { type Shown, WeightPipeline } from "./weight-pipeline.js";

/** The number of sink tokens that are named. */
const NAMES = 4;
const OF = { mean: "Mean", max: "Maximum" };

/** The reader's choices, and the weights that they ask for. A view and its controls share one. */
export class WeightsController extends AttentionViewState<State, Change> {
  /** Taps add to the selection. */
  several = false;
  private readonly pipeline: WeightPipeline;

  constructor(host: ViewHost, figure: AttentionFigure, summary: () => string[]) {
    super(host, figure, initialState(figure), mergeState, summary);
    this.pipeline = new WeightPipeline(host, figure, this.source);
  }

  tokens(side: Side): Tokens {
    return this.pipeline.tokens(this.state, side);
  }

  tokensOfBoth(): Record<Side, Tokens> {
    return { left: this.tokens("left"), right: this.tokens("right") };
  }

  range(side: Side): Range {
    return this.pipeline.range(this.state, side);
  }

  shown(): Shown | undefined {
    return this.pipeline.shown(this.state, this.host.scheme.dark);
  }

  /** Return which tokens or words in the picture may attend to which; undefined if that differs among the weights. */
  allowed(): Allowed | undefined {
    const { stack, layer, across_layers } = this.state;
    const allowed = across_layers ? undefined : this.source.allowed(stack, layer);
    const { left, right } = this.tokensOfBoth();
    const cols = (col: number) => right.groups[col] ?? [];
    return allowed && ((row, col) => !!left.groups[row]?.some((from) => cols(col).some((to) => allowed(from, to))));
  }

  /** The positions of the selected tokens in the picture. */
  selected(): Selection | null {
    const { selected } = this.state;
    if (!selected) return null;
    const { slots } = this.tokens(selected.side);
    const { start, end } = this.range(selected.side);
    const shown = selected.indices.map((index) => slots[index] ?? -1).filter((slot) => slot >= start && slot < end);
    const indices = [...new Set(shown)];
    return indices.length > 0 ? { side: selected.side, index: indices[0] as number, indices } : null;
  }

  /** A token of the picture is locked, or added to those that are; locking one that is locked lets it go. */
  select(token: { side: Side; index: number } | null, add: boolean): void {
    const old = this.selected();
    if (!token) {
      this.choose({ selected: null });
      return;
    }
    const kept = old?.side === token.side ? old.indices : [];
    const there = kept.includes(token.index);
    const others = add ? kept.filter((index) => index !== token.index) : [];
    const alone = there && kept.length === 1;
    const slots = there && (add || alone) ? others : [...others, token.index];
    const { groups } = this.tokens(token.side);
    const indices = slots.flatMap((slot) => groups[slot] ?? []);
    this.choose({ selected: indices.length > 0 ? { side: token.side, indices } : null });
  }

  /** The template that stands in place of the picture while it loads. */
  notice() {
    const { stack, layer, across_layers } = this.state;
    const blobs = this.pipeline.blobs(this.state);
    const heads = this.pipeline.headsOf(this.state);
    const absent = across_layers !== "rollout" && absentSentence(this.figure, stack, layer, heads);
    if (absent) return absentPicture(this, heads, absent);
    return this.host.notice(across_layers && blobs.length > 1 ? "layers" : `layer ${layer}`, blobs);
  }

  private layersText(): string {
    const { layer, across_layers } = this.state;
    const { length } = this.pipeline.sources(this.state);
    if (across_layers === "rollout") return `Rollout to layer ${layer}`;
    return across_layers ? `${OF[across_layers]} of ${length} layers` : `Layer ${layer}`;
  }

  private headsText(combined: string | null): string {
    const heads = this.pipeline.headsOf(this.state);
    const several = `${heads.length} heads`;
    if (combined) return `${OF[combined as keyof typeof OF].toLowerCase()} of ${several}`;
    return heads.length > 1 ? several : `head ${heads[0]}`;
  }

  /** Sentences about what is shown, each with whether the controls say the same. */
  private parts(): [text: string, said: boolean][] {
    const { state, pipeline } = this;
    const sink: [string, boolean][] = this.sinkText ? [[this.sinkText, false]] : [];
    if (state.open === null) return [["All heads shown", true], ...sink];
    const combined = pipeline.combined(state);
    const parts: [string, boolean][] = [[this.layersText(), !state.across_layers]];
    if (combined !== "rollout") parts.push([this.headsText(combined), !combined]);
    const shared =
      state.heads.length > 1 || combined
        ? []
        : sharedKeys(findLayer(this.stack, state.layer), state.heads[0] as number);
    if (shared.length > 0 && !state.across_layers) parts.push([shared.join(" · "), this.figure.view === "head"]);
    if (pipeline.weighs(state)) parts.push(["value-weighted", false]);
    const kept = pipeline.shipped(state, pipeline.headsOf(state));
    if (kept < 1) parts.push([`${percentText(kept)} of its weight is in this page`, true]);
    if (state.merge_words && offers(this.figure, this.stack).words) parts.push(["whole words", false]);
    return [...parts, ...sink];
  }

  /** "without the sink “[CLS]” “[SEP]”, the rest renormalised" */
  private get sinkText(): string {
    const { figure, state, stack } = this;
    const { tokens } = findSequence(figure, stack.cols);
    const columns = sinkOf(figure, state, state.sink);
    if (state.sink === "show" || columns.length === 0) return "";
    const names = [...new Set(columns.map((at) => `“${plainText(tokens[at] as string)}”`))].slice(0, NAMES).join(" ");
    if (state.sink === "fade") return `sink ${names} faded`;
    return `without the sink ${names}, ${state.open === null ? "scaled to the largest" : "the rest renormalised"}`;
  }

  /** The beginning of the legend. */
  get opacityText(): string {
    return ["Opacity = weight", this.sinkText].filter(Boolean).join(" · ");
  }

  /** "Layer 2, head 3, beside layer 5, head 11" */
  override get where(): string {
    const { beside } = this.state;
    return `${this.what}${beside ? `, beside layer ${beside.layer}, head ${beside.head}` : ""}`;
  }

  /** "Layer 2, head 3, value-weighted" */
  get what(): string {
    return this.parts()
      .map(([text]) => text)
      .join(", ");
  }

  /** The sentences of `notes` that the controls do not say. */
  get how(): string {
    return this.parts()
      .flatMap(([text, said]) => (said ? [] : text))
      .join(", ");
  }
}

/** A reader of the same choices, for the head that stands beside the first. */
export class BesideController extends WeightsController {
  constructor(private readonly first: WeightsController) {
    super(first.host, first.figure, () => []);
  }

  override get state(): State {
    const { state } = this.first;
    const { layer, head } = state.beside ?? { layer: state.layer, head: state.heads[0] as number };
    return { ...state, layer, heads: [head], beside: null };
  }

  /** Its layer and head are the other part of the same state; all else holds for both. */
  override choose({ layer, heads, ...shared }: Change): void {
    const { state, figure, stack } = this;
    const to = layer ?? state.layer;
    const head = (heads ?? state.heads)[0] as number;
    const offered = offeredHeads(figure, stack, to);
    const beside = { layer: to, head: offered.includes(head) ? head : (offered[0] as number) };
    this.first.choose(layer === undefined && !heads ? shared : { ...shared, beside });
  }

  override announce(): void {
    this.first.announce();
  }
}
