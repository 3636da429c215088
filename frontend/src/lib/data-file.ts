/**
 * The bytes between a data file's quotes → its parts. `=` is followed by a byte XOR 64, which stands for the byte alone,
 * or by a comma, which stands between two parts.
 */
export function unpack(bytes: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const unpacked = new Uint8Array(bytes.length);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let from = 0;
  let to = 0;
  for (let i = 0; i < bytes.length; i++) {
    let byte = bytes[i] as number;
    if (byte === 61) {
      byte = bytes[++i] as number;
      if (byte === 44) {
        parts.push(unpacked.subarray(from, to));
        from = to;
        continue;
      }
      byte ^= 64;
    }
    unpacked[to++] = byte;
  }
  return [...parts, unpacked.subarray(from, to)];
}
