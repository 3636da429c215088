/** Red, green, blue in 0…255 and opacity in 0…1. */
export type Rgba = readonly [number, number, number, number];

let probe: CanvasRenderingContext2D | null | undefined;
const known = new Map<string, Rgba>();

/** Any colour the browser understands (oklch, color-mix, system colours …), read back from a pixel. */
export function toRgba(color: string): Rgba {
  const rgba = known.get(color) ?? readBack(color);
  known.set(color, rgba);
  return rgba;
}

function readBack(color: string): Rgba {
  probe ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  if (!probe) return [0, 0, 0, 1];
  probe.clearRect(0, 0, 1, 1);
  probe.fillStyle = "#000";
  probe.fillStyle = color;
  probe.fillRect(0, 0, 1, 1);
  const [r = 0, g = 0, b = 0, a = 255] = probe.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

export function over(top: Rgba, bottom: Rgba): Rgba {
  const mix = (i: 0 | 1 | 2) => top[i] * top[3] + bottom[i] * (1 - top[3]);
  return [mix(0), mix(1), mix(2), 1];
}

/** Relative luminance of WCAG 2. */
export function luminance([r, g, b]: Rgba): number {
  const linear = (byte: number) => (byte <= 10.31475 ? byte / 3294.6 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

export function contrast(a: Rgba, b: Rgba): number {
  const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}
