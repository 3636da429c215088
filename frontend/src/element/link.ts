import type { ViewState } from "../controls/view-state.js";
import type { Codec, Codecs } from "./view.js";

const PLAIN: Codec = { write: String, read: plain };
const codecOf = (codecs: Codecs, key: string) => (Object.hasOwn(codecs, key) ? codecs[key] : PLAIN) as Codec;

function plain(text: string): unknown {
  if (text === "true" || text === "false") return text === "true";
  return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
}

/** Return a state as a link writes it, `layer=2&heads=3,5`: only the parts that differ from the first state. */
export function encodeState<State extends object>(state: State, initial: State, codecs: Codecs = {}): string {
  const changed = Object.entries(state).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(initial[key as keyof State]),
  );
  const written = (key: string, value: unknown) =>
    value === null ? "null" : encodeURIComponent(codecOf(codecs, key).write(value)).replaceAll("%2C", ",");
  return changed.map(([key, value]) => `${key}=${written(key, value)}`).join("&");
}

/** Return the change of state in a link. Throws if a part cannot be read; the view checks the values. */
export function decodeState(text: string, codecs: Codecs = {}): object {
  return Object.fromEntries(
    text.split("&").map((part) => {
      const [key = "", value = ""] = part.split("=");
      return [key, value === "null" ? null : codecOf(codecs, key).read(decodeURIComponent(value))];
    }),
  );
}

/** Return the id that links use: that of the figure around the element, or the element's own. */
export function idOf(element: Element): string {
  return element.closest("figure[id]")?.id ?? element.id;
}

/** Return the state that the page's address asks of an element: "" to show it as it is, null if it asks nothing. */
export function asked(element: Element): string | null {
  const id = idOf(element);
  const [place = "", ...state] = location.hash.slice(1).split("~");
  return id && [place, decoded(place)].includes(id) ? state.join("~") : null;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function linkTo({ element, encoded }: ViewState<object, never>["host"]): string {
  return `${location.href.replace(/#.*/, "")}#${encodeURIComponent(idOf(element))}~${encoded}`;
}

/** Copy the link. If the clipboard is closed to us, put it into the address bar. */
export async function copyLink<State extends object>(choices: ViewState<State, never>): Promise<void> {
  const link = linkTo(choices.host);
  try {
    await navigator.clipboard.writeText(link);
    choices.note("Link copied");
  } catch {
    history.replaceState(history.state, "", link);
    choices.note("The link is in the address bar");
  }
}
