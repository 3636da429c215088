import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import { headSelect, howText, layerSelect, pairSelect } from "../attention/controls.js";
import { findLayer } from "../attention/figure.js";
import { headSquares } from "../attention/head-squares.js";
import type { OptionsOf } from "../attention/options.js";
import { isolateHead, offeredHeads, toggleHead } from "../attention/state.js";
import { AttentionView } from "../attention/view.js";
import { BesideController, type WeightsController } from "../attention/weights-controller.js";
import { WeightsView } from "../attention/weights-view.js";
import { HeadPicture } from "../charts/head-picture.js";
import { sideBySide } from "../charts/saved-pair.js";
import type { Sheet } from "../charts/svg.js";
import { check } from "../controls/choice.js";
import { headColor } from "../lib/palette.js";
import css from "./head.css";

/** "2·8": layer and head. */
const nameOf = ({ state: { across_layers, layer, heads } }: WeightsController): string =>
  `${across_layers ?? layer}·${heads[0]}`;

/** Tokens left and right, lines between them: who attends to whom, head by head; or two heads, each with its picture. */
export default class HeadView extends WeightsView {
  static override readonly styles = [AttentionView.styles, unsafeCSS(css)];

  private readonly picture = new HeadPicture(this.choices);
  private readonly besideChoices = new BesideController(this.choices);
  /** Made once it is wanted. */
  private other: HeadPicture | undefined;

  hostConnected(): void {
    this.picture.connect();
    this.other?.connect();
  }

  override hostDisconnected(): void {
    super.hostDisconnected();
    this.picture.disconnect();
    this.other?.disconnect();
  }

  hostUpdated(): void {
    this.besideChoices.several = this.choices.several;
    this.beside?.updated();
    this.picture.updated();
  }

  /** The second picture, if there is one. */
  private get beside(): HeadPicture | null {
    if (this.choices.state.beside && !this.other) {
      this.other = new HeadPicture(this.besideChoices);
      this.other.connect();
    }
    const shown = this.choices.state.beside ? (this.other as HeadPicture) : null;
    this.picture.twin = shown;
    if (shown) shown.twin = this.picture;
    return shown;
  }

  protected controls(): unknown {
    const { choices } = this;
    if (choices.state.beside) return [pairSelect(choices), howText(choices)];
    return [layerSelect(choices), pairSelect(choices), this.squares(), howText(choices)];
  }

  protected options(): OptionsOf {
    const { choices, picture } = this;
    const { beside, across_layers } = choices.state;
    const pair = (on: boolean) => (on ? choices.choose({ beside: this.nextHead() }) : this.close(true));
    const more = check("Two heads side by side", "Each with a picture of its own", Boolean(beside), pair);
    return {
      heads: !beside,
      tokens: true,
      more: across_layers === "rollout" ? nothing : more,
      legend: picture.legend,
      sheet: () => this.sheet(),
    };
  }

  /** The head to begin with: the second one that is on, or the next one. */
  private nextHead(): { layer: number; head: number } {
    const { layer, heads } = this.choices.state;
    const [first = 0, second] = heads;
    const offered = offeredHeads(this.figure, this.choices.stack, layer);
    return { layer, head: second ?? offered[(offered.indexOf(first) + 1) % offered.length] ?? first };
  }

  protected body(): unknown {
    const { choices, besideChoices, picture, beside } = this;
    const table = this.table(); // asks for the weights, so they are fetched while the tokens are laid out
    if (!beside) return [picture.render(), table];
    return [
      html`<div class="pair">${this.one(choices, picture)}${this.one(besideChoices, beside)}</div>`,
      picture.legendLine,
      table,
      this.table(besideChoices, "Weights beside as a table"),
    ];
  }

  /** One of two pictures, with its own layer and head. */
  private one(choices: WeightsController, picture: HeadPicture): TemplateResult {
    const color = headColor(choices.state.heads[0] as number, this.host.scheme.dark);
    const close = () => this.close(choices !== this.choices);
    return html`<section class="one" aria-label=${choices.what}>
      <p class="heading"><i .style="background:${color}"></i><b>${nameOf(choices)}</b>${layerSelect(choices)}${headSelect(choices)}
        <button aria-label="Close ${nameOf(choices)}" data-tip="Close" @click=${close}>×</button></p>
      ${picture.render(nothing)}
    </section>`;
  }

  /** Leaves one head alone: the first, or the one beside it. */
  private close(first: boolean): void {
    const { layer, heads } = first ? this.choices.state : this.besideChoices.state;
    this.choices.choose({ layer, heads, beside: null });
    this.host.updateComplete.then(() => {
      this.host.element.shadowRoot?.querySelector<HTMLElement>(".square[aria-pressed=true]")?.focus();
    });
  }

  protected override at(event: Event): WeightsController {
    const section = (event.target as Element).closest(".one");
    return section?.previousElementSibling ? this.besideChoices : this.choices;
  }

  private sheet(): Sheet | null {
    const { choices, besideChoices, picture, beside } = this;
    if (!beside) return picture.sheet();
    const { dark } = this.host.scheme;
    const titled = (choices: WeightsController, picture: HeadPicture) => ({
      title: nameOf(choices),
      color: headColor(choices.state.heads[0] as number, dark),
      sheet: picture.sheet(),
    });
    return sideBySide(titled(choices, picture), titled(besideChoices, beside));
  }

  private squares(): unknown {
    const { choices, host } = this;
    const { layer, heads, across_layers } = choices.state;
    if (across_layers === "rollout") return "";
    const offered = offeredHeads(this.figure, choices.stack, layer);
    return headSquares({
      source: findLayer(choices.stack, layer),
      offered,
      active: heads,
      dark: host.scheme.dark,
      toggle: (head) => choices.choose({ heads: toggleHead(choices.state.heads, head) }),
      isolate: (head) => choices.choose({ heads: isolateHead(choices.state.heads, head, offered) }),
    });
  }

  protected free(): boolean {
    const locked = this.choices.state.selected !== null;
    if (locked) this.choices.choose({ selected: null });
    return locked;
  }

  protected summary(): string[] {
    const { choices, besideChoices, picture, beside } = this;
    const where = `${choices.where}${choices.state.selected ? ", locked" : ""}`;
    if (!beside) return [where, picture.text];
    const told = (choices: WeightsController, { text }: HeadPicture) => (text ? `${nameOf(choices)}: ${text}` : "");
    return [where, told(choices, picture), told(besideChoices, beside)];
  }
}
