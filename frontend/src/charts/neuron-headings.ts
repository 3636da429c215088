import { html, nothing, type TemplateResult } from "lit";
import { formatted, STRIPS } from "./neuron-columns.js";
import { type Expansion, legendGradient } from "./neuron-drawing.js";
import { GAP, type NeuronLayout } from "./neuron-layout.js";

/** Two digits, as there is room for. */
export const legendNumber = (value: number) => formatted(value, value < 1 ? 2 : value < 10 ? 1 : 0);

/** A heading over each column of an expanded token, with what its colours stand for. `explain` tells more. */
export function neuronHeadings(
  { head, columns, signed }: Expansion,
  layout: NeuronLayout,
  explain: (about: string | null) => void,
): TemplateResult {
  const gradient = legendGradient(signed);
  const pointing = (about: string) => ({ over: () => explain(about), out: () => explain(null) });
  const heading = (about: string, left: number, width: number, className: string, content: TemplateResult) => {
    const { over, out } = pointing(about);
    return html`<div
      class="neuron-heading ${className}"
      .style="left:${left}px;width:${width}px"
      title=${about}
      @pointerenter=${over}
      @pointerleave=${out}
      @click=${over}
    >${content}<span class="unseen">${about}</span></div>`;
  };
  const strips = (["q", "k", "product"] as const).map((part) => {
    const most = legendNumber(head.largest[part]);
    return heading(
      STRIPS[part].about,
      layout[part],
      layout.strip,
      "strip",
      html`<span>${STRIPS[part].heading}</span
        ><span class="spectrum" .style="background:${gradient}"></span
        ><span class="spectrum-ends" aria-label="Orange: down to −${most}; blue: up to ${most}" role="img"
          ><span>−${most}</span><span>0</span><span>${most}</span></span
        >`,
    );
  });
  const numbers = columns.map(({ heading: text, note, about }, i) =>
    heading(
      about,
      (layout.numbers[i] as number) - GAP + 2,
      layout.number + GAP - 2,
      "number-heading",
      html`<span>${text}</span>${note ? html`<span>${note}</span>` : nothing}`,
    ),
  );
  return html`<div class="neuron-headings-sheet" .style="width:${layout.width}px">${strips}${numbers}</div>`;
}
