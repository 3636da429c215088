import { escapeXml, type Sheet, SvgPen } from "../charts/svg.js";
import { idOf } from "../element/link.js";
import { over, type Rgba } from "../lib/color.js";
import { hexToRgba, PALETTES } from "../lib/palette.js";
import { identities } from "./about.js";
import { type Legend, writeHeads, writeRamp } from "./legend.js";
import type { ViewState } from "./view-state.js";

/** The part of a reader's choices that a saved file needs. */
type Saved = Pick<ViewState<object>, "host" | "figure" | "title" | "note">;

const MARGIN = 16;
const TITLE_HEIGHT = 32;
const LEGEND_HEIGHT = 28;
const LINE_HEIGHT = 18;
/** The widths in px of a character in the title and in smaller lines. Fonts differ, so there is some to spare. */
const [TITLE_WIDTH, LINE_WIDTH] = [9, 7];
const PNG_SCALE = 2;

/** Return the colours of the present scheme in a form that any program reads. */
export function inks(dark: boolean, pale: number): { ink: string; pale: string; background: string } {
  const { text, background } = dark ? PALETTES.dark : PALETTES.light;
  const [r, g, b]: Rgba = hexToRgba(text);
  const faint = over([r, g, b, pale], hexToRgba(background));
  return { ink: text, pale: `rgb(${faint.slice(0, 3).map(Math.round).join(" ")})`, background };
}

/** Return the whole document: what is shown, model and text, picture, legend. */
export function svgOf(sheet: Sheet, { host, figure, title }: Saved, legend: Legend): string {
  const { ink, pale, background } = inks(host.scheme.dark, host.scheme.pale);
  const { source = "" } = figure;
  const small = { color: pale, size: 12 };
  const pen = new SvgPen(ink);
  pen.text(title, MARGIN, MARGIN + 14, { weight: 600, size: 15 });
  if (source) pen.text(source, MARGIN, MARGIN + 14 + LINE_HEIGHT, small);
  const top = TITLE_HEIGHT + (source ? LINE_HEIGHT : 0);
  pen.moveBy(MARGIN, MARGIN + top);
  sheet.draw(pen);
  pen.globalAlpha = 1;
  const { heads = [], ramp } = legend;
  const first = sheet.height + LEGEND_HEIGHT - 6;
  const squares = heads.length > 0 ? writeHeads(pen, heads, first, host.scheme.dark, pale) : 0;
  const below = first + (squares > 0 ? LINE_HEIGHT : 0);
  const scale = ramp ? writeRamp(pen, ramp, below, pale) : 0;
  const lines = [legend.text, legend.notes, host.about, ...(sheet.notes ?? []), identities(host.whole)].filter(
    (line): line is string => !!line,
  );
  const left = (i: number) => (i === 0 ? scale : 0);
  lines.forEach((line, i) => {
    pen.text(line, left(i), below + i * LINE_HEIGHT, small);
  });
  const ends = [squares, scale, ...lines.map((line, i) => left(i) + LINE_WIDTH * line.length)];
  const texts = [TITLE_WIDTH * title.length, LINE_WIDTH * source.length, ...ends];
  const width = Math.ceil(Math.max(sheet.width, ...texts) + 2 * MARGIN);
  const height = Math.ceil(below + 6 + LINE_HEIGHT * (lines.length - 1) + top + 2 * MARGIN);
  const font = escapeXml(getComputedStyle(host.element).fontFamily.replaceAll('"', "'"));
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${font}" font-size="14">
<title>${escapeXml(title)}</title>
<rect width="100%" height="100%" fill="${background}"/>
${pen}
</svg>
`;
}

function download(blob: Blob, choices: Saved, extension: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${idOf(choices.host.element) || "attention"}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  choices.note(`${link.download} saved`);
}

export function saveSvg(sheet: Sheet, choices: Saved, legend: Legend): void {
  download(new Blob([svgOf(sheet, choices, legend)], { type: "image/svg+xml" }), choices, "svg");
}

/** Return the picture as a PNG. Rejects if the browser has no canvas as large as this. */
async function png(sheet: Sheet, choices: Saved, legend: Legend): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(svgOf(sheet, choices, legend))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: image.width * PNG_SCALE, height: image.height * PNG_SCALE });
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done, fail) => {
    canvas.toBlob((blob) => (blob ? done(blob) : fail()));
  });
}

export async function savePng(sheet: Sheet, choices: Saved, legend: Legend): Promise<void> {
  try {
    download(await png(sheet, choices, legend), choices, "png");
  } catch {
    choices.note("Too large for a PNG here; an SVG can be saved");
  }
}

/** Return whether this browser lets a page put a picture on the clipboard. */
export const copiesImages = (): boolean => Boolean(navigator.clipboard?.write) && "ClipboardItem" in window;

/** Put the picture on the clipboard. Some browsers want to be asked before it is made. */
export async function copyImage(sheet: Sheet, choices: Saved, legend: Legend): Promise<void> {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": png(sheet, choices, legend) })]);
    choices.note("Image copied");
  } catch {
    choices.note("The image could not be copied; it can be saved");
  }
}
