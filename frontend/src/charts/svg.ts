/** The surface of a picture: a canvas, or an SVG that is to be saved. */
export type Pen = Pick<
  CanvasRenderingContext2D,
  | "globalAlpha"
  | "strokeStyle"
  | "fillStyle"
  | "lineWidth"
  | "beginPath"
  | "moveTo"
  | "quadraticCurveTo"
  | "stroke"
  | "fillRect"
>;

/** A picture for a file, in CSS pixels. */
export interface Sheet {
  width: number;
  height: number;
  /** The note below the legend: the part that is shown, and how much of the weight. */
  notes?: string[];
  draw(pen: SvgPen): void;
}

const XML: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
/** The characters that XML cannot hold, lone surrogates included. */
const FORBIDDEN = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu;

export function escapeXml(text: string): string {
  return text.replace(FORBIDDEN, "\ufffd").replace(/[&<>"]/g, (char) => XML[char] as string);
}

const short = (value: number): string => String(Math.round(value * 100) / 100);

export interface TextStyle {
  anchor?: "start" | "middle" | "end";
  color?: string;
  size?: number;
  weight?: number;
  /** Turned to read upwards. */
  upright?: boolean;
  /** All characters are as wide as each other. */
  mono?: boolean;
}

/** Understands as much of a canvas as our pictures need, and writes SVG. */
export class SvgPen implements Pen {
  globalAlpha = 1;
  strokeStyle = "#000";
  fillStyle = "#000";
  lineWidth = 1;
  private readonly parts: string[] = [];
  private path = "";
  private shift: [number, number] = [0, 0];

  constructor(private readonly ink: string) {}

  /** All that follows is moved by so much. */
  moveBy(x: number, y: number): void {
    this.shift = [this.shift[0] + x, this.shift[1] + y];
  }

  private get opacity(): string {
    return this.globalAlpha < 1 ? ` opacity="${short(this.globalAlpha)}"` : "";
  }

  private at(x: number, y: number): string {
    return `${short(x + this.shift[0])} ${short(y + this.shift[1])}`;
  }

  private box(x: number, y: number, width: number, height: number): string {
    const [left, top] = [short(x + this.shift[0]), short(y + this.shift[1])];
    return `x="${left}" y="${top}" width="${short(width)}" height="${short(height)}"`;
  }

  beginPath(): void {
    this.path = "";
  }

  moveTo(x: number, y: number): void {
    this.path += `M${this.at(x, y)}`;
  }

  quadraticCurveTo(x1: number, y1: number, x: number, y: number): void {
    this.path += `Q${this.at(x1, y1)} ${this.at(x, y)}`;
  }

  stroke(): void {
    const { path, strokeStyle, lineWidth, opacity } = this;
    this.parts.push(`<path d="${path}" fill="none" stroke="${strokeStyle}" stroke-width="${lineWidth}"${opacity}/>`);
  }

  fillRect(x: number, y: number, width: number, height: number): void {
    this.parts.push(`<rect ${this.box(x, y, width, height)} fill="${this.fillStyle}"${this.opacity}/>`);
  }

  /** A heat map: one pixel a cell, not smoothed. */
  image(url: string, x: number, y: number, width: number, height: number): void {
    const style = 'preserveAspectRatio="none" style="image-rendering:pixelated"';
    this.parts.push(`<image href="${escapeXml(url)}" ${this.box(x, y, width, height)} ${style}${this.opacity}/>`);
  }

  text(text: string, x: number, y: number, style: TextStyle = {}): void {
    const { anchor = "start", color = this.ink, size, weight, upright, mono } = style;
    const more = `${size ? ` font-size="${size}"` : ""}${weight ? ` font-weight="${weight}"` : ""}${mono ? ' font-family="ui-monospace,monospace"' : ""}`;
    const [left, top] = this.at(x, y).split(" ");
    const turn = upright ? ` transform="rotate(-90 ${left} ${top})"` : "";
    this.parts.push(
      `<text x="${left}" y="${top}" text-anchor="${anchor}" fill="${escapeXml(color)}"${more}${turn} xml:space="preserve">${escapeXml(text)}</text>`,
    );
  }

  toString(): string {
    return this.parts.join("\n");
  }
}
