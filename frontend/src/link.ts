import type { Choices } from "./choices.js";
import type { Change } from "./state.js";

/** The address of a figure's state: `#figure~layer=2&heads=3,5`. Only what differs from the first state is in it. */
export function encodeState<State extends object>(state: State, initial: State): string {
  const changed = Object.entries(state).filter(
    ([key, value]) => JSON.stringify(value) !== JSON.stringify(initial[key as keyof State]),
  );
  return changed.map(([key, value]) => `${key}=${encodeURIComponent(written(value)).replaceAll("%2C", ",")}`).join("&");
}

function written(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  if (Array.isArray(value)) return value.join();
  const { index, ...parts } = value as Record<string, unknown>;
  return Object.values("indices" in parts ? parts : value).join();
}

/** Throws where a part is unknown or not what it should be; `mergeState` checks the rest. */
export function decodeState(text: string): Change {
  return Object.fromEntries(
    text.split("&").map((part) => {
      const [key = "", value = ""] = part.split("=");
      return [key, read(key, decodeURIComponent(value))];
    }),
  );
}

function read(key: string, value: string): unknown {
  if (value === "null") return null;
  const items = value.split(",");
  if (key === "heads") return items.map(Number);
  if (key === "cell") return { row: Number(items[0]), col: Number(items[1]) };
  if (key === "open" || key === "beside") return { layer: Number(items[0]), head: Number(items[1]) };
  if (key === "selected" && items[1]) return { side: items[0], indices: items.slice(1).map(Number) };
  if (value === "true" || value === "false") return value === "true";
  return value === "" || Number.isNaN(Number(value)) ? value : Number(value);
}

/** What can be linked to is the figure, or the element itself. */
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

export function linkTo<State extends object>({ host }: Choices<State, never>): string {
  return `${location.href.replace(/#.*/, "")}#${encodeURIComponent(idOf(host))}~${encodeState(host.state, host.initial)}`;
}

/** Where the clipboard is closed to us, the link goes to the address bar. */
export async function copyLink<State extends object>(reader: Choices<State, never>): Promise<void> {
  const link = linkTo(reader);
  try {
    await navigator.clipboard.writeText(link);
    reader.note("Link copied");
  } catch {
    history.replaceState(history.state, "", link);
    reader.note("The link is in the address bar");
  }
}
