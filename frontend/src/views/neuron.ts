import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import { headChoice, howText, layerSelect, pairSelect, stackSelect } from "../attention/controls.js";
import { attentionOf, findLayer } from "../attention/figure.js";
import { layerKey } from "../attention/layer-key.js";
import { type HeadNeurons, headNeurons, neuronBlobs, neuronLayer } from "../attention/neuron-scores.js";
import { initialState, mergeState, type NeuronChange, type NeuronState } from "../attention/neuron-state.js";
import { sharedKeys } from "../attention/shared-keys.js";
import { AttentionView } from "../attention/view.js";
import { AttentionViewState } from "../attention/view-state.js";
import type { WeightsRequest } from "../attention/weight-source.js";
import { NeuronStage } from "../charts/neuron-stage.js";
import { closeOptions, files, optionsButton } from "../controls/menu.js";
import { tableText } from "../controls/table.js";
import type { Figure } from "../element/figure.js";
import { NO_NEURONS, type ViewHost } from "../element/view.js";
import css from "./neuron.css";

class NeuronViewState extends AttentionViewState<NeuronState, NeuronChange> {
  override get where(): string {
    return [super.where, `head ${this.state.head}`, ...this.shared].join(", ");
  }

  /** The keys of the head, if it shares them. */
  get shared(): string[] {
    const { head, layer } = this.state;
    return sharedKeys(findLayer(this.stack, layer), head);
  }
}

/** One head: its lines; and, of a token that the reader expands, queries, keys and how weights come of them. */
export default class NeuronView extends AttentionView<NeuronState, NeuronChange> {
  static override readonly styles = [AttentionView.styles, unsafeCSS(css)];

  protected readonly choices: NeuronViewState;
  private stage: NeuronStage;

  constructor(host: ViewHost, given: Figure) {
    super();
    const figure = attentionOf(given);
    this.choices = new NeuronViewState(host, figure, initialState(figure), mergeState, () => this.summary());
    this.stage = new NeuronStage(this.choices);
    host.addController(this);
  }

  hostConnected(): void {
    this.stage.connect();
  }

  override hostDisconnected(): void {
    super.hostDisconnected();
    this.stage.disconnect();
  }

  hostUpdated(): void {
    this.stage.updated();
  }

  render(): TemplateResult {
    const { choices } = this;
    if (choices.state.stack !== this.stage.name) this.changeStage();
    return html`<div class="view neuron-view" @keydown=${this.keydown}>
      <div class="controls">
        ${stackSelect(choices)}${layerSelect(choices)}${headChoice(choices, choices.state.head, (head) => choices.choose({ head }))}${pairSelect(choices)}${howText({ how: choices.shared.join(" · ") })}${optionsButton(choices)}
      </div>
      ${this.options()}${this.stage.render()}${
        choices.open.table ? tableText(this.stage.table(choices.where)) : nothing
      }${choices.live}
    </div>`;
  }

  /** Return what the weights of one head come of. Rejects where the figure has no queries and keys. */
  async neurons(request: WeightsRequest): Promise<HeadNeurons> {
    const { host, source: weights } = this.choices;
    const { source, rows, cols, causal } = weights.requested(request);
    if (!source.neurons) throw new Error(NO_NEURONS);
    const load = neuronBlobs(source, rows.length, cols.length, (blob, decode) => host.load(blob, decode));
    return headNeurons(neuronLayer(source, rows.length, cols.length, causal, await Promise.all(load)), request.head);
  }

  private changeStage(): void {
    this.stage.disconnect();
    this.stage = new NeuronStage(this.choices);
    this.stage.connect();
  }

  private options(): TemplateResult | typeof nothing {
    const { choices } = this;
    if (!choices.open.options) return nothing;
    return html`<div class="options" role="group" aria-label="Options">
      ${files(choices, { sheet: () => this.stage.sheet(), legend: this.stage.legend })}
    </div>`;
  }

  private readonly keydown = (event: KeyboardEvent): void => {
    const { choices } = this;
    const { selected, expanded } = choices.state;
    if (layerKey(choices, event) || event.ctrlKey || event.metaKey) return;
    const away = event.key === "Escape";
    const inOptions = (event.target as Element).closest(".options");
    if (away && inOptions) closeOptions(choices, event);
    else if (away && selected) choices.choose({ selected: null });
    else if ((away || event.key === "-") && expanded !== null) choices.choose({ expanded: null });
    else if (event.key === "+" && this.stage.pointed !== null) this.expand(this.stage.pointed);
    else if (!away || !closeOptions(choices, event)) return;
    event.preventDefault();
  };

  private expand(expanded: number): void {
    this.choices.choose({ expanded, selected: null });
  }

  private summary(): string[] {
    const { selected, expanded } = this.choices.state;
    const how = expanded === null ? (selected ? ", locked" : "") : ", expanded";
    return [`${this.choices.where}${how}`, this.stage.text];
  }
}
