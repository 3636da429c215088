import type { TemplateResult } from "lit";
import { unsafeCSS } from "lit";
import controlsCss from "../parts/controls.css";
import { howText, layerSelect, pairSelect } from "../parts/controls.js";
import { HeadPicture } from "../parts/head-picture.js";
import { headSquares } from "../parts/head-squares.js";
import type { OptionsOf } from "../parts/options.js";
import pictureCss from "../parts/picture.css";
import { ReaderView } from "../reader-view.js";
import { isolateHead, offeredHeads, toggleHead } from "../state.js";
import css from "./head.css";

/** Tokens left and right, lines between them: who attends to whom, head by head. */
export class HeadView extends ReaderView {
  static readonly styles = [unsafeCSS(pictureCss), unsafeCSS(controlsCss), unsafeCSS(css)];

  private readonly picture = new HeadPicture(this.reader);

  hostConnected(): void {
    this.picture.connect();
  }

  override hostDisconnected(): void {
    super.hostDisconnected();
    this.picture.disconnect();
  }

  hostUpdated(): void {
    this.picture.updated();
  }

  protected controls(): unknown {
    return [layerSelect(this.reader), pairSelect(this.reader), this.squares(), howText(this.reader)];
  }

  protected options(): OptionsOf {
    return { heads: true, tokens: true, legend: this.picture.legend, sheet: () => this.picture.sheet() };
  }

  protected body(): unknown {
    const table = this.table(); // asks for the weights, so they are fetched while the tokens are laid out
    return [this.picture.render(), table];
  }

  private squares(): TemplateResult | "" {
    const { reader, host } = this;
    const { layer, heads, across_layers } = reader.state;
    if (across_layers === "rollout") return "";
    const offered = offeredHeads(this.figure, reader.stack, layer);
    return headSquares({
      offered,
      active: heads,
      dark: host.scheme.dark,
      toggle: (head) => reader.choose({ heads: toggleHead(reader.state.heads, head) }),
      isolate: (head) => reader.choose({ heads: isolateHead(reader.state.heads, head, offered) }),
    });
  }

  protected free(): boolean {
    const locked = this.reader.state.selected !== null;
    if (locked) this.reader.choose({ selected: null });
    return locked;
  }

  protected summary(): string[] {
    const { selected } = this.reader.state;
    return [`${this.reader.where}${selected ? ", locked" : ""}`, this.picture.text];
  }
}
