import { over, type Rgba } from "../color.js";
import { hexToRgba, inkOn, PALETTES } from "../palette.js";
import type { Scheme } from "../scheme.js";
import type { Paint } from "./flow.js";

const hex = (rgba: Rgba): string =>
  `#${rgba
    .slice(0, 3)
    .map((channel) => Math.round(channel).toString(16).padStart(2, "0"))
    .join("")}`;

/** A share, 0 to 1, of a colour on the page's background, and an ink that can be read on it. */
export function tint(color: string, share: number, { dark }: Scheme): Paint {
  if (!(share > 0)) return {};
  const [r, g, b] = hexToRgba(color);
  const page = hexToRgba((dark ? PALETTES.dark : PALETTES.light).background);
  const background = hex(over([r, g, b, Math.min(1, share)], page));
  return { background, ink: inkOn(background) };
}

/** Blue for positive numbers, orange for negative ones; `most` takes the full colour. */
export function signedTint(value: number, most: number, scheme: Scheme): Paint {
  const [negative, positive] = (scheme.dark ? PALETTES.dark : PALETTES.light).signed as [string, string];
  return tint(value < 0 ? negative : positive, most > 0 ? Math.abs(value) / most : 0, scheme);
}

/** The one hue of what has no sign. */
export const accent = ({ dark }: Scheme): string => (dark ? PALETTES.dark : PALETTES.light).signed[1] as string;
