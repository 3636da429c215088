import type { Scheme } from "../element/scheme.js";
import { over, type Rgba, toRgba } from "../lib/color.js";
import { hexToRgba, inkOn, PALETTES } from "../lib/palette.js";
import type { Paint } from "./flow.js";

const hex = (rgba: Rgba): string =>
  `#${rgba
    .slice(0, 3)
    .map((channel) => Math.round(channel).toString(16).padStart(2, "0"))
    .join("")}`;

/** The share of a colour that stands for the most: an ink can be read on it. */
export const DEEPEST = 0.85;
/** Less of a colour than this is not seen. */
const SEEN = 0.02;

/** Return what a share, 0 to 1, of a colour looks like on the page's background. */
export function ground(color: string, share: number, scheme: Scheme): string {
  const [r, g, b] = hexToRgba(color);
  return hex(over([r, g, b, Math.min(1, share)], toRgba(scheme.background)));
}

/** A share, 0 to 1, of a colour on the page's background, and an ink that can be read on it. */
export function tint(color: string, share: number, scheme: Scheme): Paint {
  if (!(share > SEEN)) return {};
  const background = ground(color, share, scheme);
  return { background, ink: inkOn(background) };
}

/** The hue of numbers with this sign: blue for positive ones, orange for negative ones. */
export const signedColor = (value: number, { dark }: Scheme): string =>
  (dark ? PALETTES.dark : PALETTES.light).signed[value < 0 ? 0 : 1] as string;

/** Blue for positive numbers, orange for negative ones; `most` takes the full colour. */
export function signedTint(value: number, most: number, scheme: Scheme): Paint {
  return tint(signedColor(value, scheme), most > 0 ? Math.abs(value) / most : 0, scheme);
}

/** The one hue of what has no sign. */
export const accent = (scheme: Scheme): string => signedColor(1, scheme);
