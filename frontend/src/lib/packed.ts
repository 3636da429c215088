const MASKED = -32768;

/** Values of shape (groups, length), each row with a scale of its own; what is masked is NaN. */
export class Scaled {
  readonly length: number;
  private readonly rows: Float32Array[];

  constructor(bytes: Uint8Array, groups: number) {
    this.length = (bytes.length / groups - 4) / 2;
    if (!Number.isInteger(this.length)) throw new Error(`${bytes.length} bytes are not ${groups} scaled rows`);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    this.rows = Array.from({ length: groups }, (_, group) => {
      const scale = view.getFloat32(4 * group, true);
      const from = 4 * groups + 2 * group * this.length;
      return Float32Array.from({ length: this.length }, (_, i) => {
        const step = view.getInt16(from + 2 * i, true);
        return step === MASKED ? Number.NaN : step * scale;
      });
    });
  }

  row(group: number): Float32Array {
    return this.rows[group] as Float32Array;
  }
}

declare global {
  interface Uint8ArrayConstructor {
    fromBase64?(base64: string): Uint8Array<ArrayBuffer>;
  }
}

export function decodeBase64(base64: string): Uint8Array<ArrayBuffer> {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The most bytes that are inflated if the true size is unknown. */
const MOST = 1 << 26;

/** A zlib stream → its bytes, at most `most`: a short one may inflate to gigabytes. */
export async function inflate(deflated: Uint8Array<ArrayBuffer>, most = MOST): Promise<Uint8Array> {
  const { readable, writable } = new DecompressionStream("deflate");
  const writer = writable.getWriter();
  // what goes wrong is told by the reader
  writer.write(deflated).catch(() => {});
  writer.close().catch(() => {});
  const reader = readable.getReader();
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { value } = await reader.read();
    if (!value) break;
    length += value.length;
    if (length > most) throw new Error(`more than ${most} bytes`);
    parts.push(value);
  }
  const bytes = new Uint8Array(length);
  for (const part of parts.reverse()) {
    length -= part.length;
    bytes.set(part, length);
  }
  return bytes;
}

/** `decode`, for no more than so many bytes. */
export function upTo<T>(most: number, decode: (bytes: Uint8Array) => T): typeof decode & { most: number } {
  return Object.assign(decode, { most });
}
