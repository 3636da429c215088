import type { ReactiveController } from "lit";
import type { Figure } from "./figure.js";
import type { View, ViewHost } from "./view.js";

/** A host within a host, for a view in a figure that has several; it is connected and disconnected by itself. */
export class SubHost implements ViewHost {
  readonly view: View;
  private readonly controllers = new Set<ReactiveController>();
  private isConnected = false;

  constructor(
    private readonly parent: ViewHost,
    readonly about: string,
    figure: Figure,
  ) {
    this.view = parent.make(figure, this);
  }

  addController(controller: ReactiveController): void {
    this.controllers.add(controller);
    if (this.isConnected) controller.hostConnected?.();
  }

  removeController(controller: ReactiveController): void {
    this.controllers.delete(controller);
  }

  connect(): void {
    this.isConnected = true;
    for (const controller of this.controllers) controller.hostConnected?.();
  }

  disconnect(): void {
    this.isConnected = false;
    for (const controller of this.controllers) controller.hostDisconnected?.();
  }

  update(): void {
    for (const controller of this.controllers) controller.hostUpdate?.();
  }

  updated(): void {
    for (const controller of this.controllers) controller.hostUpdated?.();
  }

  get element() {
    return this.parent.element;
  }

  get whole() {
    return this.parent.whole;
  }

  get scheme() {
    return this.parent.scheme;
  }

  get encoded() {
    return this.parent.encoded;
  }

  get isDrawn() {
    return this.parent.isDrawn;
  }

  get updateComplete() {
    return this.parent.updateComplete;
  }

  requestUpdate = (): void => this.parent.requestUpdate();
  drawn = (): void => this.parent.drawn();
  changed = (): void => this.parent.changed();
  blob: ViewHost["blob"] = (blob, decode) => this.parent.blob(blob, decode);
  load: ViewHost["load"] = (blob, decode) => this.parent.load(blob, decode);
  notice: ViewHost["notice"] = (what, blobs) => this.parent.notice(what, blobs);
  make: ViewHost["make"] = (figure, host) => this.parent.make(figure, host);
}
