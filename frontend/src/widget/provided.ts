import type { AttnViz } from "../element/element.js";
import { partsOf } from "../element/files.js";
import { decodeBase64 } from "../lib/packed.js";

/** Bytes as a host hands them over: Jupyter as a DataView, hosts that know JSON alone as base64. */
type Bytes = ArrayBuffer | ArrayBufferView<ArrayBuffer> | string;

/** The number of figures that have brought a data file. Its name is its content's digest, so they brought the same. */
const uses = new Map<string, number>();

/** Hand over data files, by name, to the page's figures. Return the function that forgets those that no figure needs. */
export function provide(data: Record<string, Bytes> | undefined): () => void {
  // The element may be another script's.
  const { files } = customElements.get("attn-viz") as typeof AttnViz;
  const names = Object.keys(data ?? {}).filter((name) => uses.has(name) || !files.has(name));
  for (const name of names) {
    uses.set(name, (uses.get(name) ?? 0) + 1);
    if (!files.has(name)) files.set(name, Promise.resolve(partsOf(toBytes(data?.[name] as Bytes))));
  }
  return () => {
    for (const name of names.splice(0)) {
      const left = (uses.get(name) ?? 1) - 1;
      if (left) uses.set(name, left);
      else {
        uses.delete(name);
        files.delete(name);
      }
    }
  };
}

function toBytes(bytes: Bytes): Uint8Array<ArrayBuffer> {
  if (typeof bytes === "string") return decodeBase64(bytes);
  return ArrayBuffer.isView(bytes)
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : new Uint8Array(bytes);
}
