import { type CSSResultGroup, unsafeCSS } from "lit";
import pictureCss from "../charts/picture.css";
import type { View } from "../element/view.js";
import { CODECS } from "./codecs.js";
import type { AttentionViewState, Chosen } from "./view-state.js";
import type { Weights, WeightsRequest } from "./weight-source.js";

/** A view of weights: it has a state that the reader chooses, a name for it, and answers to programs. */
export abstract class AttentionView<State extends Chosen, Change> implements View {
  static readonly styles: CSSResultGroup = unsafeCSS(pictureCss);

  readonly codecs = CODECS;
  readonly hasMenu = true;
  protected abstract readonly choices: AttentionViewState<State, Change>;

  get state(): State {
    return structuredClone(this.choices.state);
  }

  set state(change: Change) {
    this.choices.merge(change);
  }

  get label(): string {
    return this.choices.label;
  }

  weights(request: WeightsRequest): Promise<Weights> {
    return this.choices.source.weights(request);
  }

  abstract hostConnected(): void;

  hostDisconnected(): void {
    this.choices.disconnect();
  }

  abstract render(): unknown;
}
