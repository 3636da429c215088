import { isBarred, type Scene } from "../attention/scene.js";
import type { Side } from "../lib/geometry.js";
import type { Column } from "./column.js";
import type { Expansion } from "./neuron-drawing.js";
import type { NeuronStrips } from "./neuron-strips.js";
import type { NeuronToggles } from "./neuron-toggles.js";
import { Picture } from "./picture.js";

/** A button beside each token on the left; between the columns lines, as in the head view, or one token's neurons. */
export class NeuronPicture extends Picture {
  constructor(
    columns: Record<Side, Column>,
    private readonly toggles: NeuronToggles,
    private readonly strips: NeuronStrips,
    redraw: () => void,
  ) {
    super(columns, redraw);
    columns.left.element.after(toggles.element, strips.element);
  }

  protected override get beside(): number {
    return this.toggles.element.offsetWidth;
  }

  override show(scene: Scene | null): number {
    this.enter(null);
    return super.show(scene);
  }

  expand(expansion: Expansion, scene: Scene | null): void {
    this.enter(expansion);
    this.prepare(null);
    const focus = { side: "left", index: expansion.row } as const;
    this.columns.right.bar((col) => scene !== null && isBarred({ ...scene, focus }, col));
    const shown = this.inWindow(expansion.cols);
    const context = this.clearedCanvas();
    if (context) this.strips.draw(context, shown, this.window.top);
    this.strips.write(shown);
  }

  /** Lines run behind the tokens, strips scroll sideways between them: the canvas goes where it is needed. */
  private enter(expansion: Expansion | null): void {
    const place = expansion ? this.strips.sheet : this.sheet;
    if (this.canvas.parentElement !== place) place.prepend(this.canvas);
    this.sheet.classList.toggle("expanded", expansion !== null);
    this.strips.show(expansion);
  }
}
