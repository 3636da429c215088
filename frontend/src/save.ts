import type { Choices, Chosen } from "./choices.js";
import { over, type Rgba } from "./color.js";
import { idOf } from "./link.js";
import { hexToRgba, PALETTES } from "./palette.js";
import { escapeXml, type Sheet, SvgPen } from "./parts/svg.js";

/** Of what a reader has chosen: all that a file needs to know. */
type Saved = Pick<Choices<object>, "host" | "where" | "note"> & { state: Partial<Chosen> };

const MARGIN = 16;
const TITLE_HEIGHT = 32;
const LEGEND_HEIGHT = 28;
const LINE_HEIGHT = 18;
/** Of a character of the title, and of what stands below: fonts differ, so there is some to spare. */
const [TITLE_WIDTH, LINE_WIDTH] = [9, 7];
const PNG_SCALE = 2;

/** Colours of the present scheme, plain enough for any program. */
export function inks(dark: boolean, pale: number): { ink: string; pale: string; background: string } {
  const { text, background } = dark ? PALETTES.dark : PALETTES.light;
  const [r, g, b]: Rgba = hexToRgba(text);
  const faint = over([r, g, b, pale], hexToRgba(background));
  return { ink: text, pale: `rgb(${faint.slice(0, 3).map(Math.round).join(" ")})`, background };
}

/** The whole document: title, picture, legend. */
export function svgOf(sheet: Sheet, { host, where, state: { filter } }: Saved, legend: string): string {
  const { ink, pale, background } = inks(host.scheme.dark, host.scheme.pale);
  const title = !filter || filter === "all" ? where : `${where}, sentence ${[...filter].join(" → ").toUpperCase()}`;
  const lines = [legend, ...(host.about ? [host.about] : []), ...(sheet.notes ?? [])];
  const widths = [TITLE_WIDTH * title.length, ...lines.map((line) => LINE_WIDTH * line.length)];
  const width = Math.ceil(Math.max(sheet.width, ...widths) + 2 * MARGIN);
  const height = Math.ceil(sheet.height + TITLE_HEIGHT + LEGEND_HEIGHT + LINE_HEIGHT * (lines.length - 1) + 2 * MARGIN);
  const pen = new SvgPen(ink);
  pen.text(title, MARGIN, MARGIN + 14, { weight: 600, size: 15 });
  pen.moveBy(MARGIN, MARGIN + TITLE_HEIGHT);
  sheet.draw(pen);
  lines.forEach((line, i) => {
    pen.text(line, 0, sheet.height + LEGEND_HEIGHT - 6 + i * LINE_HEIGHT, { color: pale, size: 12 });
  });
  const font = escapeXml(getComputedStyle(host).fontFamily.replaceAll('"', "'"));
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${font}" font-size="14">
<title>${escapeXml(title)}</title>
<rect width="100%" height="100%" fill="${background}"/>
${pen}
</svg>
`;
}

function download(blob: Blob, reader: Saved, extension: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${idOf(reader.host) || "attention"}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  reader.note(`${link.download} saved`);
}

export function saveSvg(sheet: Sheet, reader: Saved, legend: string): void {
  download(new Blob([svgOf(sheet, reader, legend)], { type: "image/svg+xml" }), reader, "svg");
}

export async function savePng(sheet: Sheet, reader: Saved, legend: string): Promise<void> {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(svgOf(sheet, reader, legend))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: image.width * PNG_SCALE, height: image.height * PNG_SCALE });
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => blob && download(blob, reader, "png"));
}
