import { inflate } from "../lib/packed.js";
import type { Blob } from "./figure.js";
import { forgetFile, loadFile } from "./files.js";

/** Makes of a blob's bytes what a view reads. Throws if they do not fit. */
export interface Decode<T> {
  (bytes: Uint8Array): T;
  /** How many bytes there are at most, where that is known. */
  most?: number;
}

/** The decoded blobs of one figure; each is fetched and inflated when first asked for. */
export class Store {
  private readonly decoded = new Map<Blob, unknown>();
  private readonly pending = new Map<Blob, Promise<unknown>>();
  private readonly failed = new Set<Blob>();

  peek<T>(blob: Blob): T | undefined {
    return this.decoded.get(blob) as T | undefined;
  }

  hasFailed(blob: Blob): boolean {
    return this.failed.has(blob);
  }

  /** How much has been asked for, once all of it is here or has failed. */
  async settled(): Promise<number> {
    return (await Promise.allSettled(this.pending.values())).length;
  }

  /** Also tries again what has failed before. */
  load<T>(blob: Blob, decode: Decode<T>): Promise<T> {
    const running = this.pending.get(blob);
    if (running) return running as Promise<T>;
    const started = this.read(blob, decode);
    this.pending.set(blob, started);
    this.failed.delete(blob);
    started.then(
      (value) => this.decoded.set(blob, value),
      () => {
        this.pending.delete(blob);
        this.failed.add(blob);
      },
    );
    return started;
  }

  private async read<T>({ data, file = "", part = 0 }: Blob, decode: Decode<T>): Promise<T> {
    const base64 = data ?? (await loadFile(file))[part];
    try {
      return decode(await inflate(base64 ?? "", decode.most));
    } catch (error) {
      forgetFile(file);
      throw error;
    }
  }
}
