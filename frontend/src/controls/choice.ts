import { html, type TemplateResult } from "lit";
import { grouped } from "../lib/grouped.js";

/** A quiet select with its label. `near` is called when a pointer or the keyboard comes to it; `group` names groups. */
export function choice<T extends string | number>(
  label: string,
  value: T,
  options: readonly (readonly [T, string])[],
  choose: (value: T) => void,
  near?: () => void,
  group: (value: T) => string = () => "",
): TemplateResult {
  const list = (some: typeof options) =>
    some.map(([option, name]) => html`<option value=${option} .selected=${option === value}>${name}</option>`);
  const change = ({ target }: Event) => {
    const [found] = options[(target as HTMLSelectElement).selectedIndex] ?? [];
    if (found !== undefined) choose(found);
  };
  return html`<label @pointerenter=${near} @focusin=${near}>${label} <select @change=${change}>
    ${grouped(options, ([option]) => group(option)).map(([name, some]) =>
      name ? html`<optgroup label=${name}>${list(some)}</optgroup>` : list(some),
    )}
  </select></label>`;
}

export const numbers = (values: number[]) => values.map((value) => [value, String(value)] as const);

export function check(label: string, title: string, on: boolean, change: (on: boolean) => void): TemplateResult {
  return html`<label class="check" title=${title}><input
    type="checkbox"
    .checked=${on}
    @change=${({ target }: Event) => change((target as HTMLInputElement).checked)}
  />${label}</label>`;
}
