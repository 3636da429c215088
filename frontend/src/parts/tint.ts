import { over, type Rgba, toRgba } from "../color.js";
import { hexToRgba, inkOn, PALETTES } from "../palette.js";
import type { Scheme } from "../scheme.js";
import type { Paint } from "./flow.js";

const hex = (rgba: Rgba): string =>
  `#${rgba
    .slice(0, 3)
    .map((channel) => Math.round(channel).toString(16).padStart(2, "0"))
    .join("")}`;

/** Less of a colour than this is not seen. */
const SEEN = 0.02;

/** A share, 0 to 1, of a colour on the page's background, and an ink that can be read on it. */
export function tint(color: string, share: number, scheme: Scheme): Paint {
  if (!(share > SEEN)) return {};
  const [r, g, b] = hexToRgba(color);
  const background = hex(over([r, g, b, Math.min(1, share)], toRgba(scheme.background)));
  return { background, ink: inkOn(background) };
}

/** Blue for positive numbers, orange for negative ones; `most` takes the full colour. */
export function signedTint(value: number, most: number, scheme: Scheme): Paint {
  const [negative, positive] = (scheme.dark ? PALETTES.dark : PALETTES.light).signed as [string, string];
  return tint(value < 0 ? negative : positive, most > 0 ? Math.abs(value) / most : 0, scheme);
}

/** The one hue of what has no sign. */
export const accent = ({ dark }: Scheme): string => (dark ? PALETTES.dark : PALETTES.light).signed[1] as string;
