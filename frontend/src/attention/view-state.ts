import { ViewState } from "../controls/view-state.js";
import { labelled } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";
import { type AttentionFigure, type Filter, findStack, STACKS, type Stack } from "./figure.js";
import { WeightSource } from "./weight-source.js";

/** The choices that every view of attention offers. */
export interface Chosen {
  stack: string;
  layer: number;
  filter: Filter;
}

/** A reader's choices among the weights of a figure. */
export class AttentionViewState<State extends Chosen, Change> extends ViewState<State, Change> {
  declare readonly figure: AttentionFigure;
  readonly source: WeightSource;

  constructor(
    host: ViewHost,
    figure: AttentionFigure,
    initial: State,
    merged: (figure: AttentionFigure, old: State, change: Change) => State,
    summary: () => string[],
  ) {
    super(host, figure, initial, (old, change) => merged(figure, old, change), summary);
    this.source = new WeightSource(host, figure);
  }

  get stack(): Stack {
    return findStack(this.figure, this.state.stack);
  }

  /** "Layer 2, head 3" */
  override get where(): string {
    return `Layer ${this.state.layer}`;
  }

  /** "Layer 2, head 3, sentence A → B" */
  override get title(): string {
    const { filter } = this.state;
    return filter === "all" ? this.where : `${this.where}, sentence ${[...filter].join(" → ").toUpperCase()}`;
  }

  /** "Cross attention: layer 2, head 3. minilm: The cat sat on the mat" */
  get label(): string {
    const { figure, title } = this;
    const several = Object.keys(figure.stacks).length > 1;
    const name = several ? `${STACKS[this.state.stack] ?? this.state.stack} attention` : "Attention";
    return labelled(`${name}: ${title[0]?.toLowerCase()}${title.slice(1)}`, figure);
  }
}
