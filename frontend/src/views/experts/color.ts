import { luminance } from "../../lib/color.js";
import { headColor, hexToRgba, PALETTES } from "../../lib/palette.js";

/** The angle in degrees between the hues of neighbours, and the lightness of even and of odd numbers. */
const GOLDEN = 137.508;
const LIGHTNESS = { light: [0.42, 0.56], dark: [0.62, 0.5] } as const;
/** The saturation, and the step in which lightness is changed until the contrast with the page is 3 to 1. */
const [SATURATION, STEP] = [0.62, 0.02];
/** The largest luminance on a light page, and the least on a dark one. */
const [LIGHTEST, DARKEST] = [0.3, 0.13];

/** The colour of an expert: one of those of heads, or on a wheel of hues if there are more experts. */
export function expertColor(expert: number, experts: number, dark: boolean): string {
  if (experts <= PALETTES.light.heads.length) return headColor(expert, dark);
  const hue = (expert * GOLDEN) % 360;
  let lightness = LIGHTNESS[dark ? "dark" : "light"][expert % 2] as number;
  let color = ofHue(hue, lightness);
  while (dark ? luminance(hexToRgba(color)) < DARKEST : luminance(hexToRgba(color)) > LIGHTEST) {
    lightness += dark ? STEP : -STEP;
    color = ofHue(hue, lightness);
  }
  return color;
}

function ofHue(hue: number, lightness: number): string {
  const spread = SATURATION * Math.min(lightness, 1 - lightness);
  const channel = (offset: number): string => {
    const at = (offset + hue / 30) % 12;
    const value = lightness - spread * Math.max(-1, Math.min(at - 3, 9 - at, 1));
    return Math.floor(255 * value + 0.5)
      .toString(16)
      .padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}
