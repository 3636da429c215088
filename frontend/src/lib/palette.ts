import palettes from "../../../mkdocs_attnviz/static/palette.json";
import { luminance, type Rgba } from "./color.js";

/**
 * Twelve colours for heads, as most models have, told apart also with deuteranopia and protanopia (test/palette.test.ts simulates both).
 * Each has a variant for light and one for dark pages, at least 3:1 against the page.
 */
export const PALETTES = palettes;

/** Colours repeat after twelve heads. */
export function headColor(head: number, dark: boolean): string {
  const { heads } = dark ? PALETTES.dark : PALETTES.light;
  return heads[head % heads.length] as string;
}

/** The colour of what is of no head. */
export const neutral = (dark: boolean): string => (dark ? PALETTES.dark : PALETTES.light).text;

export function hexToRgba(hex: string): Rgba {
  const channel = (at: number) => Number.parseInt(hex.slice(at, at + 2), 16);
  return [channel(1), channel(3), channel(5), 1];
}

/** Black or white, whichever reads better on a colour: at least 4.5:1 on any. */
export function inkOn(hex: string): string {
  return luminance(hexToRgba(hex)) > 0.179 ? "#000" : "#fff";
}
