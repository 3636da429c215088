/** A part of a token's text; pale parts stand for what could not be seen otherwise. */
export interface Piece {
  text: string;
  pale: boolean;
}

const MARKS: Record<string, string> = { "\n": "⏎", "\t": "⇥", "\x7f": "␡", " ": "·", "\u00a0": "⍽" };

// Spaces at an edge or in a run, control characters, and marks that steer the direction of text.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are to be found
const INVISIBLE = /^ +| +$| {2,}|[\0-\x1f\x7f-\xa0\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
const ONLY_ZERO_WIDTH = /^\p{Default_Ignorable_Code_Point}+$/u;

function codePoint(char: string): string {
  return `U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
}

function mark(char: string): string {
  return MARKS[char] ?? (char < " " ? String.fromCharCode(0x2400 + char.charCodeAt(0)) : codePoint(char));
}

const marks = (text: string): Piece => ({ text: Array.from(text, mark).join(""), pale: true });

export function pieces(token: string): Piece[] {
  if (token === "") return [{ text: "∅", pale: true }];
  if (ONLY_ZERO_WIDTH.test(token)) return [{ text: Array.from(token, codePoint).join(" "), pale: true }];
  const found: Piece[] = [];
  let end = 0;
  for (const { 0: text, index } of token.matchAll(INVISIBLE)) {
    if (index > end) found.push({ text: token.slice(end, index), pale: false });
    found.push(marks(text));
    end = index + text.length;
  }
  // A combining mark with nothing to sit on gets a dotted circle.
  const rest = token.slice(end);
  if (rest) found.push({ text: /^\p{M}/u.test(rest) ? `◌${rest}` : rest, pale: false });
  return found;
}

/** The token as one line of plain text, for names, titles and the readout. */
export function plainText(token: string): string {
  const shown = pieces(token);
  const visible = shown.filter((piece) => !piece.pale);
  return (visible.length > 0 ? visible : shown).map((piece) => piece.text).join("");
}

export function tokenElement(token: string, special: boolean): HTMLSpanElement {
  const span = document.createElement("span");
  span.className = special ? "token pale" : "token";
  span.dir = "auto";
  span.append(...pieces(token).map((piece) => (piece.pale ? paleElement(piece.text) : piece.text)));
  return span;
}

function paleElement(text: string): HTMLSpanElement {
  const span = document.createElement("span");
  span.className = "pale";
  span.textContent = text;
  return span;
}

const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\u{1f300}-\u{1faff}]/gu;
const LONGEST = 20;

/** A width for the longest of the tokens, as CSS, found without laying them out. */
export function columnWidth(tokens: string[], next?: string[]): string {
  const widths = tokens.map((token, i) => {
    const text = pieces(next ? `${token} → ${next[i]}` : token)
      .map((piece) => piece.text)
      .join("");
    return text.length + (text.match(WIDE)?.length ?? 0);
  });
  return `${Math.min(LONGEST, Math.max(...widths))}ch`;
}
