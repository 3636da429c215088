import { luminance, type Rgba } from "./color.js";

/**
 * Ten colours for heads, told apart also with deuteranopia and protanopia (test/palette.test.ts simulates both).
 * Each has a variant for light and one for dark pages, at least 3:1 against the page.
 */
// biome-ignore format: one scheme a line
export const PALETTES = {
  light: ["#1343a5", "#c66f10", "#0b9d5e", "#692f5a", "#4998d5", "#f4607a", "#9156ab", "#156d70", "#434a01", "#855b37"],
  dark: ["#6376f0", "#d85905", "#37925b", "#f76295", "#5da3bf", "#fea69c", "#bda7fc", "#85e2e2", "#facf41", "#c4a02f"],
};

/** Colours repeat after ten heads. */
export function headColor(head: number, dark: boolean): string {
  const palette = dark ? PALETTES.dark : PALETTES.light;
  return palette[head % palette.length] as string;
}

export function hexToRgba(hex: string): Rgba {
  const channel = (at: number) => Number.parseInt(hex.slice(at, at + 2), 16);
  return [channel(1), channel(3), channel(5), 1];
}

/** Black or white, whichever reads better on a colour: at least 4.5:1 on any. */
export function inkOn(hex: string): string {
  return luminance(hexToRgba(hex)) > 0.179 ? "#000" : "#fff";
}
