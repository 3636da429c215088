import type { View } from "../element/view.js";
import type { AttentionChoices, Chosen } from "./choices.js";
import { CODECS } from "./codecs.js";
import type { HeadNeurons } from "./neuron-scores.js";
import type { Weights, WeightsRequest } from "./weight-source.js";

/** A view of weights: it has a state that the reader chooses, a name for it, and answers to programs. */
export abstract class AttentionView<State extends Chosen, Change> implements View {
  readonly codecs = CODECS;
  readonly hasMenu = true;
  protected abstract readonly reader: AttentionChoices<State, Change>;

  get state(): State {
    return structuredClone(this.reader.state);
  }

  set state(change: Change) {
    this.reader.merge(change);
  }

  get label(): string {
    return this.reader.label;
  }

  weights(request: WeightsRequest): Promise<Weights> {
    return this.reader.source.weights(request);
  }

  neurons(request: WeightsRequest): Promise<HeadNeurons> {
    return this.reader.source.neurons(request);
  }

  abstract hostConnected(): void;

  hostDisconnected(): void {
    this.reader.disconnect();
  }

  abstract render(): unknown;
}
